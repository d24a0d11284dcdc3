"""Buckets of the lab's gateways, for the demo, the tests and the benchmarks: a client, keys that are odd,
many objects quickly, and rclone as somebody else who reads them."""

import concurrent.futures
import hashlib
import io
import json
import os
import subprocess

import boto3
import botocore.config
from boto3.s3.transfer import TransferConfig

MIB = 1 << 20
PART_BYTES = 8 * MIB
# Keys that a file system, a URL or a careless parser would change. rclone cannot ask for the last ones.
NOT_FOR_RCLONE = ("/leading", "two//slashes", "up/../parent", "./dot")
ODD_KEYS = ("sp ace", "plus+sign", "per%20cent", "ü/日本", "quote\"and'", "a&b<c>", "semi;colon", "q?uery=1#frag",
            "tab\tin", "x" * 200, *NOT_FOR_RCLONE)


def client(user, **config):
    """boto3 as a user of create_s3_user(). Safe from any thread."""
    return boto3.client(
        "s3", endpoint_url=user["endpoint"], aws_access_key_id=user["access_key"],
        aws_secret_access_key=user["secret_key"], region_name="us-east-1",
        config=botocore.config.Config(**{"s3": {"addressing_style": "path"}, "signature_version": "s3v4",
                                         "max_pool_connections": 64, "retries": {"max_attempts": 3}, **config}))


def user_with_caps(cluster, uid):
    """An S3 user who may also ask for what an agent asks: quotas, index logs."""
    user = cluster.create_s3_user(uid)
    cluster.radosgw_admin("caps", "add", "--uid", uid, "--caps", "buckets=*;metadata=*;bilog=*;users=read")
    return user


def in_threads(function, items, threads=16):
    """function(item) for each, a few at a time; an error in one is raised here."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def put_in_parts(s3, bucket, key, data, part_bytes=PART_BYTES, **extra):
    s3.upload_fileobj(io.BytesIO(data), bucket, key, ExtraArgs=extra, Config=TransferConfig(
        multipart_threshold=1, multipart_chunksize=part_bytes, max_concurrency=2))


def remove_bucket(s3, bucket):
    """With all versions of all it holds."""
    def remove(page):
        names = [{"Key": one["Key"], "VersionId": one["VersionId"]}
                 for one in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        if names:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": names, "Quiet": True})
    in_threads(remove, s3.get_paginator("list_object_versions").paginate(Bucket=bucket), threads=4)
    s3.delete_bucket(Bucket=bucket)


def content(s3, bucket, without=()):
    """{key: (sha256, content type, metadata, tags)} of the current objects, but for those of some keys."""
    def read(key):
        got = s3.get_object(Bucket=bucket, Key=key)
        tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        return (hashlib.sha256(got["Body"].read()).hexdigest(), got["ContentType"], got["Metadata"],
                sorted((tag["Key"], tag["Value"]) for tag in tags))
    keys = [entry["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for entry in page.get("Contents", []) if entry["Key"] not in without]
    return dict(zip(keys, in_threads(read, keys)))


class Wrong(Exception):
    """A bucket is not what it has to be, or rclone could not read it."""


class Rclone:
    """rclone with a remote for each {name: user}; nothing of the caller's configuration is used."""

    def __init__(self, users):
        # An AWS_CA_BUNDLE, for one, makes rclone 1.60 fail.
        self.env = {"RCLONE_CONFIG": os.devnull, "AWS_CA_BUNDLE": ""}
        for name, user in users.items():
            values = {"type": "s3", "provider": "Ceph", "access_key_id": user["access_key"],
                      "secret_access_key": user["secret_key"], "endpoint": user["endpoint"],
                      "region": "us-east-1", "no_check_bucket": "true"}
            for key, value in values.items():
                self.env[f"RCLONE_CONFIG_{name.upper()}_{key.upper()}"] = value

    def run(self, *args):
        left_out = "{" + ",".join(key.rpartition("/")[2] for key in NOT_FOR_RCLONE) + "}"
        done = subprocess.run(["rclone", "--quiet", "--exclude", left_out, *args], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, **self.env})
        if done.returncode:
            raise Wrong(f"rclone {' '.join(args)}: exit {done.returncode}\n{done.stderr[-3000:]}")
        return done.stdout

    def sums(self, where):
        """Lines of "sha256  key", of the bytes that it downloads."""
        return self.run("hashsum", "SHA-256", "--download", where)

    def check(self, sums_file, where):
        """Raises an error for an object that is missing, differs, or is not in the file."""
        self.run("checksum", "SHA-256", sums_file, where, "--download")

    def listed(self, where):
        """{key: (size, content type, metadata)}; times are those of the writing and left out."""
        out = {}
        for one in json.loads(self.run("lsjson", "-R", "-M", "--files-only", where)):
            metadata = {k: v for k, v in (one.get("Metadata") or {}).items() if k not in ("mtime", "btime")}
            out[one["Path"]] = (one["Size"], one["MimeType"], metadata)
        return out
