"""What the end-to-end tests of buckets share: two real gateways, a pair of sites, what a bucket holds.

It is read by boto3, from the gateways themselves."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import botocore.exceptions
from support import BINARY, CLUSTERS, SEED  # finds the next ones' folder
import gateway
from cluster import Cluster
from site_pair import Pair


class BucketCase(unittest.TestCase):
    """A test with a pair of sites of its own and two gateways without a bucket."""

    pair_options = {}

    @classmethod
    def setUpClass(cls):
        cls.clusters, cls.users, cls.s3 = {}, {}, {}
        for name in ("a", "b"):
            cls.clusters[name] = Cluster(os.path.join(CLUSTERS, name), name).start(rgw=True)
            cls.users[name] = gateway.user_with_caps(cls.clusters[name], "tidemark-e2e")
            cls.s3[name] = gateway.client(cls.users[name])

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"TM_SEED={SEED}", file=sys.stderr)
        self.dir = tempfile.mkdtemp(prefix="tidemark-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        for name in ("a", "b"):
            self.empty(name)
        self.pair = Pair(os.path.join(self.dir, "sites"), BINARY, self.clusters["a"], self.clusters["b"],
                         s3={"tokyo": self.users["a"], "osaka": self.users["b"]}, **self.pair_options)
        self.pair.setup()
        self.addCleanup(self.pair.stop)
        self.pair.osaka.start_agent()

    def empty(self, name):
        for bucket in self.s3[name].list_buckets()["Buckets"]:
            try:
                gateway.remove_bucket(self.s3[name], bucket["Name"])
            except botocore.exceptions.ClientError:  # its index is damaged
                self.clusters[name].radosgw_admin("bucket", "rm", f"--bucket={bucket['Name']}", "--purge-objects",
                                                  json=False, timeout=300)

    def content(self, name, bucket):
        """{key: (sha256, content type, metadata, tags)}"""
        return gateway.content(self.s3[name], bucket)

    def versions(self, name, bucket):
        """{key: [(is a marker, sha256, metadata) from the newest]}"""
        s3, out = self.s3[name], {}
        entries = []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries += [(v["Key"], v["LastModified"], v["IsLatest"], False, v["VersionId"])
                        for v in page.get("Versions", [])]
            entries += [(m["Key"], m["LastModified"], m["IsLatest"], True, m["VersionId"])
                        for m in page.get("DeleteMarkers", [])]
        for key, _, _, marker, version in sorted(entries, key=lambda e: (e[0], -e[1].timestamp(), not e[2])):
            body, metadata = None, None
            if not marker:
                got = s3.get_object(Bucket=bucket, Key=key, VersionId=version)
                body, metadata = hashlib.sha256(got["Body"].read()).hexdigest(), got["Metadata"]
            out.setdefault(key, []).append((marker, body, metadata))
        return out

    def backup(self, bucket, *args):
        return self.pair.tokyo.json("backup", f"s3/{bucket}", *args)["points"][0]

    def start_backup(self, bucket="photos"):
        return subprocess.Popen(self.pair.tokyo.command("--json", "--quiet", "backup", f"s3/{bucket}"),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def restore(self, *args, site=None, code=0, bucket="photos"):
        done = (site or self.pair.osaka).run("--json", "--quiet", "restore", f"tokyo:s3/{bucket}", *args, code=code)
        return json.loads(done.text) if done.text else None

    def verify(self):
        report = self.pair.osaka.json("verify", "--read-data")
        self.assertEqual(report["damaged"], [])
        return report

    def error(self, output, code=None):
        """The error of a failed command: one JSON document with a code and a message."""
        error = json.loads(output.strip().splitlines()[-1])["error"]
        self.assertTrue(error["message"])
        if code:
            self.assertEqual(error["code"], code, error)
        return error

    def points(self):
        return [p["id"] for p in self.pair.osaka.json("points")["points"]]


class Workers:
    """function(number, a random source of its own) in a loop in some threads, until the block ends. An
    error in one of them is raised there."""

    def __init__(self, count, function, seed):
        self.stop, self.errors = threading.Event(), []
        self.threads = [threading.Thread(target=self.run, args=(function, n, random.Random(seed + n)))
                        for n in range(count)]

    def run(self, function, number, source):
        try:
            while not self.stop.is_set():
                function(number, source)
        except Exception as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
