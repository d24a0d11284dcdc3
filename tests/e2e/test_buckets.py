"""Buckets between two real gateways: points of them, and buckets that come back.

What a bucket holds is read by boto3, from the gateways themselves."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import unittest

import boto3
import botocore.config
import botocore.exceptions
from support import CLUSTERS, MIB, SEED, main  # finds the next ones' folder
from cluster import Cluster
from site_pair import Pair
from support import BINARY

import random

ODD_KEYS = ["plain", "/leading", "a//b", "a/../b", "./c", "sp ace", "plus+sign", "per%20cent", "ü/日本", "x" * 1024,
            "tab\tin", "quote\"and'", "a&b<c>", "semi;colon", "q?uery=1#frag"]


class Buckets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.clusters, cls.users, cls.s3 = {}, {}, {}
        for name in ("a", "b"):
            one = Cluster(os.path.join(CLUSTERS, name), name).start(rgw=True)
            one.log_bucket_changes()
            user = one.create_s3_user("tidemark-e2e")
            one.radosgw_admin("caps", "add", "--uid", user["uid"], "--caps", "buckets=*;metadata=*;bilog=*;users=read")
            cls.clusters[name], cls.users[name] = one, user
            cls.s3[name] = boto3.client(
                "s3", endpoint_url=user["endpoint"], aws_access_key_id=user["access_key"],
                aws_secret_access_key=user["secret_key"], region_name="us-east-1",
                config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4",
                                              retries={"max_attempts": 3}))

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"TM_SEED={SEED}", file=sys.stderr)
        self.dir = tempfile.mkdtemp(prefix="tidemark-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        for name in ("a", "b"):
            self.empty(name)
        self.pair = Pair(os.path.join(self.dir, "sites"), BINARY, self.clusters["a"], self.clusters["b"],
                         s3={"tokyo": self.users["a"], "osaka": self.users["b"]})
        self.pair.setup()
        self.addCleanup(self.pair.stop)
        self.pair.osaka.start_agent()

    def empty(self, name):
        s3 = self.s3[name]
        for bucket in s3.list_buckets()["Buckets"]:
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
                for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                    s3.delete_object(Bucket=bucket["Name"], Key=one["Key"], VersionId=one["VersionId"])
            s3.delete_bucket(Bucket=bucket["Name"])

    def content(self, name, bucket):
        """{key: (sha256, content type, metadata, tags)}"""
        s3, out = self.s3[name], {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                got = s3.get_object(Bucket=bucket, Key=entry["Key"])
                tags = s3.get_object_tagging(Bucket=bucket, Key=entry["Key"])["TagSet"]
                out[entry["Key"]] = (hashlib.sha256(got["Body"].read()).hexdigest(), got["ContentType"],
                                     got["Metadata"], sorted((t["Key"], t["Value"]) for t in tags))
        return out

    def versions(self, name, bucket):
        """{key: [(is a marker, sha256) from the newest]}"""
        s3, out = self.s3[name], {}
        entries = []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries += [(v["Key"], v["LastModified"], False, v["VersionId"]) for v in page.get("Versions", [])]
            entries += [(m["Key"], m["LastModified"], True, m["VersionId"]) for m in page.get("DeleteMarkers", [])]
        for key, _, marker, version in sorted(entries, key=lambda e: (e[0], -e[1].timestamp())):
            body = None if marker else hashlib.sha256(
                s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()).hexdigest()
            out.setdefault(key, []).append((marker, body))
        return out

    def fill(self, bucket):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket=bucket)
        for number, key in enumerate(ODD_KEYS):
            s3.put_object(Bucket=bucket, Key=key, Body=self.random.randbytes(self.random.randrange(0, 3000)),
                          ContentType="text/x-odd", Metadata={"number": str(number)}, Tagging="colour=blue&n=1")
        for number in range(60):
            s3.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=self.random.randbytes(self.random.randrange(20000)))
        s3.put_object(Bucket=bucket, Key="large", Body=self.random.randbytes(9 * MIB + 17))

    def backup(self, bucket, *args):
        return self.pair.tokyo.json("backup", f"s3/{bucket}", *args)["points"][0]

    def restore(self, *args, site=None, code=0):
        done = (site or self.pair.osaka).run("--json", "--quiet", "restore", "tokyo:s3/photos", *args, code=code)
        return json.loads(done.text) if done.text else None

    def verify(self):
        report = self.pair.osaka.json("verify", "--read-data")
        self.assertEqual(report["damaged"], [])

    def test_a_bucket_and_its_changes_come_back_on_another_gateway(self):
        s3 = self.s3["a"]
        self.fill("photos")
        s3.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": [{"Key": "team", "Value": "x"}]})
        first_state, first = self.content("a", "photos"), self.backup("photos")
        self.assertEqual(first["size_bytes"], sum(
            e["Size"] for e in s3.list_objects_v2(Bucket="photos")["Contents"]))
        again = self.backup("photos")
        self.assertEqual((again["objects_read"], again["root"]), (0, first["root"]))
        s3.put_object(Bucket="photos", Key="many/0007", Body=b"changed")
        s3.put_object(Bucket="photos", Key="new", Body=b"new")
        s3.delete_object(Bucket="photos", Key="a//b")
        second_state, second = self.content("a", "photos"), self.backup("photos")
        self.assertEqual(second["objects_read"], 2)
        self.verify()
        diff = self.pair.osaka.json("diff", first["id"], second["id"])
        self.assertEqual(len(diff["keys"]), 3, diff)
        self.restore("--to-bucket", "back")
        self.assertEqual(self.content("b", "back"), second_state)
        self.assertEqual(self.s3["b"].get_bucket_tagging(Bucket="back")["TagSet"], [{"Key": "team", "Value": "x"}])
        report = self.restore("--to-bucket", "back")
        self.assertEqual(report["objects_written"], 0, "only what differs is written")
        plan = self.restore("--point", first["id"], "--to-bucket", "back", "--delete-extra", "--plan")
        self.assertEqual(self.content("b", "back"), second_state, "a plan writes nothing")
        report = self.restore("--point", first["id"], "--to-bucket", "back", "--delete-extra")
        self.assertEqual(report["objects_written"], plan["objects_written"])
        self.assertEqual(self.content("b", "back"), first_state)

    def test_parts_of_a_bucket_and_a_directory(self):
        self.fill("photos")
        state = self.content("a", "photos")
        self.backup("photos")
        self.restore("--prefix", "many/", "--to-bucket", "many")
        self.assertEqual(self.content("b", "many"), {k: v for k, v in state.items() if k.startswith("many/")})
        self.restore("--key", "ü/日本", "--to-bucket", "one")
        self.assertEqual(self.content("b", "one"), {"ü/日本": state["ü/日本"]})
        out = os.path.join(self.dir, "out")
        self.restore("--to-dir", out)
        files = [os.path.join(at, n) for at, _, names in os.walk(out) for n in names]
        hashes = set()
        for path in files:
            self.assertTrue(os.path.realpath(path).startswith(os.path.realpath(out) + "/"))
            with open(path, "rb") as f:
                hashes.add(hashlib.sha256(f.read()).hexdigest())
        self.assertLessEqual({v[0] for v in state.values()}, hashes)

    def test_versions_come_back_in_their_order(self):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket="photos")
        s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        for number in range(4):
            for key in ("a", "b/c", "d"):
                s3.put_object(Bucket="photos", Key=key, Body=f"{key} {number}".encode() * 300)
        s3.delete_object(Bucket="photos", Key="d")
        state = self.versions("a", "photos")
        point = self.backup("photos")
        self.assertEqual(self.backup("photos")["root"], point["root"])
        self.restore("--to-bucket", "back", "--versions")
        self.assertEqual(self.versions("b", "back"), state)
        self.restore("--to-bucket", "current")
        self.assertEqual(set(self.content("b", "current")), {"a", "b/c"})
        self.verify()

    def change(self, bucket, keys):
        """A random change of each of some keys."""
        s3 = self.s3["a"]
        for key in keys:
            choice = self.random.randrange(5)
            if choice == 0:
                s3.delete_object(Bucket=bucket, Key=key)
            elif choice == 1:
                upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
                part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1,
                                      Body=self.random.randbytes(self.random.randrange(1, 20000)))
                s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={
                    "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=self.random.randbytes(self.random.randrange(20000)))

    def test_the_log_of_the_index_tells_what_changed(self):
        s3 = self.s3["a"]
        self.fill("photos")
        keys = [key for key in ODD_KEYS if key.isprintable() and len(key) < 100] + ["_under", "__two"] + [
            f"many/{number:04}" for number in range(10)]
        self.assertEqual(self.backup("photos")["changes_from"], "listing")
        admin = self.clusters["a"].radosgw_admin

        def compare(expected):
            point = self.backup("photos")
            full = self.backup("photos", "--full")
            self.assertEqual((point["changes_from"], full["changes_from"]), (expected, "listing"))
            self.assertEqual((full["root"], full["size_bytes"]), (point["root"], point["size_bytes"]))

        for _ in range(3):
            self.change("photos", self.random.sample(keys, 6))
            compare("index log")
        admin("bucket", "reshard", "--bucket", "photos", "--num-shards", "5", "--yes-i-really-mean-it",
              json=False, timeout=300)
        self.change("photos", ["plain"])
        compare("listing")
        self.change("photos", ["plain", "new"])
        compare("index log")
        s3.put_object(Bucket="photos", Key="plain", Body=b"trimmed")
        admin("bilog", "trim", "--bucket", "photos", json=False)
        compare("listing")
        s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        for key in keys:  # in every shard, so that the log is seen to be on
            s3.put_object(Bucket="photos", Key=key, Body=b"with a version")
        compare("listing")
        for _ in range(3):
            self.change("photos", self.random.sample(keys, 6))
            compare("index log")
        self.assertEqual(self.backup("photos")["changes_from"], "index log")
        self.verify()

    def test_another_users_object_leaves_the_point_in_part(self):
        self.fill("photos")
        one = self.clusters["a"].create_s3_user("tidemark-other")
        other = boto3.client(
            "s3", endpoint_url=one["endpoint"], aws_access_key_id=one["access_key"],
            aws_secret_access_key=one["secret_key"], region_name="us-east-1",
            config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
        self.s3["a"].put_bucket_acl(Bucket="photos", GrantFullControl='id="tidemark-e2e"', GrantWrite=f'id="{one["uid"]}"')
        other.put_object(Bucket="photos", Key="theirs", Body=b"not for the bucket's owner")
        done = self.pair.tokyo.run("--json", "--quiet", "backup", "s3/photos", code=3)
        point = json.loads(done.text)["points"][0]
        self.assertEqual(point["keys_unsettled"], 1)
        self.assertEqual([(one["key"], one["code"]) for one in point["unsettled"]], [("theirs", "permission_denied")])
        shown = self.pair.tokyo.json("points", "show", point["id"])["bucket"]
        self.assertEqual((shown["keys_unsettled"], shown["unsettled"]), (1, point["unsettled"]))
        self.verify()
        other.put_object_acl(Bucket="photos", Key="theirs", GrantFullControl='id="tidemark-other"',
                             GrantRead='id="tidemark-e2e"', GrantReadACP='id="tidemark-e2e"')
        again = self.backup("photos")
        self.assertEqual((again["objects_read"], again["keys_unsettled"]), (1, 0))
        self.restore("--key", "theirs", "--to-bucket", "back", code=None)
        self.assertEqual(set(self.content("b", "back")), {"theirs"})

    def test_what_is_not_there_is_said(self):
        self.pair.tokyo.run("backup", "s3/nothing", code=4)
        self.fill("photos")
        self.backup("photos")
        self.pair.osaka.run("restore", "tokyo:s3/photos", "--to", "rbd/x", code=2)
        self.pair.osaka.run("restore", "tokyo:s3/photos", "--key", "nothing", "--to-bucket", "none", code=4)


if __name__ == "__main__":
    main()
