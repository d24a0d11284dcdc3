"""Listings that fail, break off or come in small pages, errors and throttling, under backups and restores
of buckets (figure 19): nothing is missing from a point, and nothing is deleted, because a list was not
whole."""

import contextlib
import json
import os
import sys

from bucket_support import BucketCase, gateway
from s3_proxy import S3Proxy
from support import main, rounds

# Half a page at a time makes many lists out of one.
LIST_FAULTS = ("error", "throttle", "reset", "short", "half", "empty", "slow", "partial", "partial", "partial")
OTHER_FAULTS = ("error", "throttle", "reset", "short", "slow")
# Of lists and of all other requests: seldom, often, and so often that many runs have to give up.
RATES = ((0.5, 0.02), (0.8, 0.05), (0.95, 0.15))
KEYS = 1300  # more than a page


class Lists(BucketCase):
    def choose(self, lists, others):
        def misdeed(request):
            rate, faults = (lists, LIST_FAULTS) if request.lists else (others, OTHER_FAULTS)
            if self.random.random() >= rate:
                return None
            fault = self.random.choice(faults)
            self.list_faults += request.lists
            # What is not a GET is not repeated where it may have been done: only refused before that.
            return fault if request.method in ("GET", "HEAD") or fault in ("throttle", "slow") else "throttle"
        return misdeed

    @contextlib.contextmanager
    def through(self, site, name, lists, others):
        port, self.list_faults = self.clusters[name].rgw_port, 0
        with S3Proxy(port, self.choose(lists, others)) as proxy:
            site.edit_config(self.users[name]["endpoint"], proxy.endpoint)
            try:
                yield proxy
            finally:
                site.edit_config(proxy.endpoint, self.users[name]["endpoint"])

    def entries(self, name, bucket):
        """{key: [(is a marker, ETag) newest first]}"""
        found = {}
        for page in self.s3[name].get_paginator("list_object_versions").paginate(Bucket=bucket):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                found.setdefault(one["Key"], []).append(one)
        return {key: [("ETag" not in v, v.get("ETag")) for v in
                      sorted(versions, key=lambda v: (v["IsLatest"], v["LastModified"]), reverse=True)]
                for key, versions in found.items()}

    def change(self, bucket, count):
        def one(n):
            key = f"{n % 3}/{n:05}"
            if self.random.random() < 0.1:
                self.s3["a"].delete_object(Bucket=bucket, Key=key)
            else:
                self.s3["a"].put_object(Bucket=bucket, Key=key, Body=os.urandom(200))
        gateway.in_threads(one, self.random.sample(range(KEYS), count))

    def add(self, total, done):
        for misdeed, count in done.items():
            total[misdeed] = total.get(misdeed, 0) + count

    def run_rounds(self, versioned):
        self.s3["a"].create_bucket(Bucket="photos")
        if versioned:
            self.s3["a"].put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        versions = ["--versions"] if versioned else []
        gateway.in_threads(lambda n: self.s3["a"].put_object(
            Bucket="photos", Key=f"{n % 3}/{n:05}", Body=os.urandom(200)), range(KEYS))
        misdeeds, gave_up, points, states = {}, {"backup": 0, "restore": 0}, [], {}
        for number in range(rounds(2)):
            self.change("photos", 60)
            state = self.entries("a", "photos")
            lists, others = RATES[number % len(RATES)]
            with self.through(self.pair.tokyo, "a", lists, others) as proxy:
                done = self.pair.tokyo.run("--json", "--quiet", "backup", "s3/photos", code=None, timeout=400)
            self.add(misdeeds, {**proxy.done, "lists": self.list_faults})
            if done.returncode:
                gave_up["backup"] += 1
                self.assertIn(done.returncode, (1, 6), done.errors)
                self.error(done.errors)
                self.assertEqual(self.points(), points, "a point of a backup that failed")
                point = self.backup("photos")
            else:
                point = json.loads(done.text)["points"][0]
            points.insert(0, point["id"])
            points = self.in_order(points)
            states[point["id"]] = state
            # A list of the target that is not whole must not delete either, nor write what is there.
            with self.through(self.pair.osaka, "b", lists, others) as proxy:
                done = self.pair.osaka.run("--json", "--quiet", "restore", "tokyo:s3/photos", "--to-bucket", "back",
                                           "--delete-extra", *versions, code=None, timeout=400)
            self.add(misdeeds, {**proxy.done, "lists": self.list_faults})
            if done.returncode:
                gave_up["restore"] += 1
                self.restore("--to-bucket", "back", "--delete-extra", *versions)
            self.assertEqual(self.entries("b", "back"), state, f"round {number}, {point['mode']}")
        for number, id in enumerate(points[:3]):
            self.restore("--point", id, "--to-bucket", f"again-{number}", *versions)
            self.assertEqual(self.entries("b", f"again-{number}"), states[id])
        self.verify()
        self.assertGreater(misdeeds["lists"], 0)
        print(f"{rounds(2)} rounds, misdeeds {misdeeds}; gave up {gave_up}; 0 entries dropped, 0 wrong restores",
              file=sys.stderr)

    def in_order(self, points):
        listed = self.points()
        self.assertEqual(set(listed), set(points))
        return listed

    def test_lists_that_fail(self):
        self.run_rounds(versioned=False)

    def test_lists_of_versions_that_fail(self):
        self.run_rounds(versioned=True)


if __name__ == "__main__":
    main()
