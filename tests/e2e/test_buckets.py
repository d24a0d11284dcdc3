"""Buckets between two real gateways: points of them, and buckets that come back.

What a bucket holds is read by boto3, from the gateways themselves."""

import datetime
import hashlib
import json
import os

from bucket_support import BucketCase  # finds the next one's folder
import gateway
from support import MIB, main

ODD_KEYS = ["plain", "/leading", "a//b", "a/../b", "./c", "sp ace", "plus+sign", "per%20cent", "ü/日本", "x" * 1024,
            "tab\tin", "quote\"and'", "a&b<c>", "semi;colon", "q?uery=1#frag"]


class Buckets(BucketCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for cluster in cls.clusters.values():
            cluster.log_bucket_changes()
            cls.addClassCleanup(cluster.log_bucket_changes, False)

    def fill(self, bucket):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket=bucket)
        for number, key in enumerate(ODD_KEYS):
            s3.put_object(Bucket=bucket, Key=key, Body=self.random.randbytes(self.random.randrange(0, 3000)),
                          ContentType="text/x-odd", Metadata={"number": str(number)}, Tagging="colour=blue&n=1")
        for number in range(60):
            s3.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=self.random.randbytes(self.random.randrange(20000)))
        s3.put_object(Bucket=bucket, Key="large", Body=self.random.randbytes(9 * MIB + 17))

    def test_buckets_named_in_the_host(self):
        """As radosgw takes it: what it may take for a path is not there."""
        self.fill("photos")
        for site, name in ((self.pair.tokyo, "a"), (self.pair.osaka, "b")):
            site.edit_config(self.users[name]["endpoint"], f"http://localhost:{self.clusters[name].rgw_port}")
            site.edit_config("s3: {", "s3: { addressing: virtual_host,")
        self.backup("photos")
        self.restore("--to-bucket", "back")
        self.assertEqual(self.content("b", "back"), self.content("a", "photos"))
        for name in ("a", "b"):
            log = os.path.join(self.clusters[name].dir, "log", "client.rgw.log")
            with open(log, errors="replace") as f:
                self.assertTrue(any('"GET /large ' in line or '"PUT /large' in line or '"POST /large' in line
                                    for line in f), "no request for a key at the top of a host")

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
        other = gateway.client(one)
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

    def test_suspended_versioning_with_null_versions(self):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket="photos")

        def put(key, text):
            s3.put_object(Bucket="photos", Key=key, Body=text.encode() * 200, Metadata={"text": text})

        def versioning(status):
            s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": status})
        for key in ("old", "over", "gone", "back"):
            put(key, f"{key} before versioning")
        versioning("Enabled")
        for number in range(2):
            for key in ("over", "gone", "back"):
                put(key, f"{key} version {number}")
        versioning("Suspended")
        put("over", "over while suspended")
        put("over", "over while suspended, again")  # in place of the one before
        s3.delete_object(Bucket="photos", Key="gone")  # a marker that is the null version
        put("late", "late while suspended")
        versioning("Enabled")
        put("back", "back at the end")
        versioning("Suspended")
        state = self.versions("a", "photos")
        point = self.backup("photos")
        self.assertEqual(self.backup("photos")["root"], point["root"])
        self.restore("--to-bucket", "back", "--versions")
        self.assertEqual(self.versions("b", "back"), state)
        self.assertEqual(self.s3["b"].get_bucket_versioning(Bucket="back")["Status"], "Suspended")
        self.restore("--to-bucket", "current")
        self.assertEqual(set(self.content("b", "current")), {"old", "over", "back", "late"})
        self.verify()

    def unlock(self, name, bucket):
        for page in self.s3[name].get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in page.get("Versions", []):
                where = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
                self.s3[name].put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
                self.s3[name].delete_object(**where, BypassGovernanceRetention=True)

    def settings(self, name):
        s3, stats = self.s3[name], self.clusters[name].radosgw_admin("bucket", "stats", "--bucket=photos")
        objects = {}
        for key in ("held", "kept", "public"):
            acl = s3.get_object_acl(Bucket="photos", Key=key)["Grants"]
            head = s3.head_object(Bucket="photos", Key=key)
            objects[key] = (sorted((g["Grantee"].get("URI", g["Grantee"].get("ID")), g["Permission"]) for g in acl),
                            head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate"),
                            head.get("ObjectLockLegalHoldStatus"), head.get("CacheControl"),
                            s3.get_object_tagging(Bucket="photos", Key=key)["TagSet"])
        return {"policy": json.loads(s3.get_bucket_policy(Bucket="photos")["Policy"]),
                "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"],
                "cors": s3.get_bucket_cors(Bucket="photos")["CORSRules"],
                "tags": s3.get_bucket_tagging(Bucket="photos")["TagSet"],
                "versioning": s3.get_bucket_versioning(Bucket="photos")["Status"],
                "lock": s3.get_object_lock_configuration(Bucket="photos")["ObjectLockConfiguration"],
                "quota": (stats["bucket_quota"]["enabled"], stats["bucket_quota"]["max_objects"]),
                "objects": objects}

    def test_settings_acls_and_locks_come_back(self):
        s3, until = self.s3["a"], datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
        s3.create_bucket(Bucket="photos", ObjectLockEnabledForBucket=True)
        for name in ("a", "b"):
            self.addCleanup(self.unlock, name, "photos")
        s3.put_object(Bucket="photos", Key="kept", Body=b"kept", ObjectLockMode="GOVERNANCE",
                      ObjectLockRetainUntilDate=until.replace(microsecond=0), Tagging="a=b&c=d")
        s3.put_object(Bucket="photos", Key="held", Body=b"held", ObjectLockLegalHoldStatus="ON")
        s3.put_object(Bucket="photos", Key="public", Body=b"public", ACL="public-read", CacheControl="max-age=60")
        s3.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": [{"Key": "team", "Value": "x"}]})
        s3.put_bucket_cors(Bucket="photos", CORSConfiguration={"CORSRules": [
            {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://a.example"], "MaxAgeSeconds": 60}]})
        s3.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration={"Rules": [
            {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 30}}]})
        s3.put_object_lock_configuration(Bucket="photos", ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
        s3.put_bucket_policy(Bucket="photos", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/somebody"]}, "Action": ["s3:GetObject"],
             "Resource": ["arn:aws:s3:::photos/*"]}]}))
        admin = self.clusters["a"].radosgw_admin
        admin("quota", "set", "--quota-scope=bucket", "--bucket=photos", "--max-objects=12345")
        admin("quota", "enable", "--quota-scope=bucket", "--bucket=photos")
        self.backup("photos")
        report = self.restore("--to-bucket", "photos", code=None)
        self.assertEqual(report["problems"], [])
        self.assertEqual(self.settings("b"), self.settings("a"))

    def test_what_is_not_there_is_said(self):
        self.pair.tokyo.run("backup", "s3/nothing", code=4)
        self.fill("photos")
        self.backup("photos")
        self.pair.osaka.run("restore", "tokyo:s3/photos", "--to", "rbd/x", code=2)
        self.pair.osaka.run("restore", "tokyo:s3/photos", "--key", "nothing", "--to-bucket", "none", code=4)


if __name__ == "__main__":
    main()
