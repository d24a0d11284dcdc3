"""Several images and buckets at one instant, and the choice of assets by labels."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import rbd

from bucket_support import BucketCase
from support import Case, main, rounds

# Writes n to two images in turn, for ever, each write on the disk before the next begins. So at any
# instant the second has what the first has, or one less.
WRITER = """
import itertools, os, sys, time
import rados, rbd
pause = sys.argv[2]
with rados.Rados(conffile=sys.argv[1]) as cluster, cluster.open_ioctx("rbd") as io:
    with rbd.Image(io, "first") as first, rbd.Image(io, "second") as second:
        for n in itertools.count(1):
            while os.path.exists(pause):
                open(pause + "d", "w").close()
                time.sleep(0.002)
            for image in (first, second):
                image.write(n.to_bytes(8, "little"), 0)
                image.flush()
            if n == 1:
                print("writing", flush=True)
"""


class Sets(Case):
    def setUp(self):
        super().setUp()
        self.tokyo, self.osaka = self.pair.tokyo, self.pair.osaka
        self.tokyo.edit_config(", \"rbd/rbd/tenant/*\"", "")
        # The writer stops where this file is, and says so.
        self.pause = os.path.join(self.dir, "pause")

    def writer(self):
        process = subprocess.Popen([sys.executable, "-c", WRITER, self.a.conf, self.pause], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"writing\n")
        return process

    def points(self):
        return self.osaka.json("points")["points"]

    def take(self, *assets, name="shop", code=0):
        taken = self.tokyo.run("backup", *[f"rbd/rbd/{asset}" for asset in assets], "--set", name, "--json", code=code)
        return taken

    def counter(self, asset, set_id):
        path = os.path.join(self.dir, "restored.img")
        if os.path.exists(path):
            os.unlink(path)
        self.osaka.run("restore", f"tokyo:rbd/rbd/{asset}", "--set", set_id, "--to-file", path)
        with open(path, "rb") as f:
            return int.from_bytes(f.read(8), "little")

    def hooks(self, before, after):
        """As programs of the policy."""
        paths = []
        for name, text in (("before", before), ("after", after)):
            path = os.path.join(self.dir, name)
            with open(path, "w") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(path, 0o755)
            paths.append(path)
        self.tokyo.edit_config("    to: osaka\n", f"""    to: osaka
    hooks: {{ before: {{ command: [ {paths[0]} ] }}, after: {{ command: [ {paths[1]} ] }} }}
""")

    def test_images_are_frozen_together_and_no_client_is_harmed(self):
        for name in ("first", "second"):
            self.create(name, mib=8)
        writer = self.writer()
        ids, windows = [], []
        for _ in range(rounds(8)):
            points = self.pair.backup("rbd/rbd/first", "rbd/rbd/second", "--set", "shop")
            self.assertEqual(len({point["time"] for point in points}), 1)
            self.assertEqual(len({point["set"] for point in points}), 1)
            labels = points[0]["labels"]
            self.assertEqual((labels["set.members"], labels["set.guarantee"]), ("2", "frozen"))
            windows.append(int(labels["set.window_us"]))
            ids.append(points[0]["set"])
        self.assertIsNone(writer.poll(), "the writer goes on")
        writer.kill()
        print(f"snapshots of a set within {sorted(windows)[len(windows) // 2]} us", file=sys.stderr)
        counters = []
        for set_id in ids:
            self.assertRegex(set_id, r"^shop-[0-9a-f]{8}$")
            first, second = self.counter("first", set_id), self.counter("second", set_id)
            self.assertIn(first - second, (0, 1), "not of one instant")
            counters.append(first)
        self.assertEqual(counters, sorted(counters))
        self.assertGreater(counters[-1], counters[0])
        self.assertEqual(self.counter("first", "latest"), counters[-1])
        shown = self.osaka.json("points", "show", self.points()[0]["id"])
        self.assertTrue(shown["set_complete"])
        self.assertEqual(len([s for s in self.snapshots("first") if s.startswith("tidemark.")]), 1)
        self.assert_good_store()

    def test_a_moment_that_is_missed_comes_again(self):
        # A client that stands still with the lock of an image, once all members are ready.
        for name in ("first", "second"):
            self.create(name, mib=8)
        writer = self.writer()
        stalled = os.path.join(self.dir, "stalled")
        self.hooks(f"[ -e {stalled} ] || {{ touch {stalled}; kill -STOP {writer.pid}; }}",
                   f"kill -CONT {writer.pid}")
        taken = self.take("first", "second")
        points = json.loads(taken.text)["points"]
        self.assertEqual({point["labels"]["set.guarantee"] for point in points}, {"frozen"})
        self.assertIn("its moment was missed", taken.errors)
        self.assertEqual(len(self.points()), 2)
        self.assertIsNone(writer.poll(), "the writer goes on")
        set_id = points[0]["set"]
        self.assertIn(self.counter("first", set_id) - self.counter("second", set_id), (0, 1))
        self.assertEqual(len([s for s in self.snapshots("first") if s.startswith("tidemark.")]), 1)
        self.assert_good_store()

    def test_without_the_lock_hooks_can_hold_the_writers_and_the_set_says_which_it_was(self):
        for name in ("first", "second"):
            self.create(name, mib=8, features=1)
        writer = self.writer()
        points = self.pair.backup("rbd/rbd/first", "rbd/rbd/second", "--set", "shop")
        self.assertEqual({point["labels"]["set.guarantee"] for point in points}, {"together"})
        self.hooks(f"touch {self.pause}; while ! [ -e {self.pause}d ]; do sleep 0.01; done",
                   f"rm {self.pause} {self.pause}d")
        ids = []
        for _ in range(rounds(3)):
            points = self.pair.backup("rbd/rbd/first", "rbd/rbd/second", "--set", "shop")
            self.assertEqual({point["labels"]["set.guarantee"] for point in points}, {"quiesced"})
            ids.append(points[0]["set"])
        self.assertIsNone(writer.poll(), "the writer goes on")
        for set_id in ids:
            self.assertIn(self.counter("first", set_id) - self.counter("second", set_id), (0, 1))

    def test_all_or_nothing_before_the_instant(self):
        self.create("first", mib=4)
        failed = self.take("first", "absent", code=None)
        self.assertEqual(failed.returncode, 4)
        self.assertEqual(self.points(), [])
        self.assertEqual(self.snapshots("first"), [])
        twice = self.take("first", "first", code=None)
        self.assertEqual(twice.returncode, 2)
        self.assertIn("named twice", twice.errors)

    def test_hooks_run_once_for_the_set(self):
        for name in ("first", "second"):
            self.create(name, mib=4)
        log = os.path.join(self.dir, "log")
        self.hooks(*[f"echo $TIDEMARK_PHASE $TIDEMARK_ASSET >> {log}"] * 2)
        self.tokyo.edit_config("    to: osaka\n", "    to: osaka\n    set: true\n")
        points = self.pair.backup("--policy", "all")
        self.assertEqual(len(points), 2)
        self.assertTrue(points[0]["set"].startswith("all-"))
        with open(log) as f:
            self.assertEqual(f.read().splitlines(), ["before rbd/rbd/first,rbd/rbd/second",
                                                     "after rbd/rbd/first,rbd/rbd/second"])

    def test_the_agent_takes_sets_and_goes_on_after_kills(self):
        for name in ("first", "second"):
            self.create(name, mib=8)
        self.tokyo.edit_config("    to: osaka\n", "    to: osaka\n    set: true\n    every: 2s\n")
        writer = self.writer()

        def complete():
            members = {}
            for point in self.points():
                members.setdefault(point["set"], []).append(point)
            return {set_id for set_id, points in members.items() if len(points) == 2}

        def more(than):
            deadline = time.monotonic() + 90
            while len(complete()) < than:
                if time.monotonic() > deadline:
                    with open(self.tokyo.log_path, errors="replace") as f:
                        self.fail("no more sets\n" + f.read()[-3000:])
                time.sleep(0.5)
        for _ in range(rounds(2)):
            self.tokyo.start_agent()
            more(len(complete()) + 2)
            time.sleep(self.random.uniform(0, 2))
            self.tokyo.stop_agent(signal.SIGKILL)
        self.assertEqual(len(self.pair.backup("--policy", "all")), 2)
        self.assertIsNone(writer.poll(), "the writer goes on")
        for set_id in complete():
            self.assertIn(self.counter("first", set_id) - self.counter("second", set_id), (0, 1))
        for name in ("first", "second"):
            self.assertEqual(len([s for s in self.snapshots(name) if s.startswith("tidemark.")]), 1)
        self.assert_good_store()

    def test_labels_choose_images(self):
        for name, tier in (("gold", "gold"), ("golden", "golden"), ("silver", "silver"), ("none", None)):
            self.create(name, mib=4)
            if tier:
                with rbd.Image(self.io["a"], name) as image:
                    image.metadata_set("tier", tier)
        self.tokyo.edit_config("    to: osaka\n", "    to: osaka\n    labels: { tier: \"gold*\" }\n")
        points = self.pair.backup("--policy", "all")
        self.assertEqual(sorted(point["asset"] for point in points), ["rbd/rbd/gold", "rbd/rbd/golden"])
        self.assertEqual(self.tokyo.run("backup", "rbd/rbd/silver", code=None).returncode, 4)
        with rbd.Image(self.io["a"], "silver") as image:
            image.metadata_set("tier", "gold")
        self.assertEqual(len(self.pair.backup("--policy", "all")), 3)


class BucketsInSets(BucketCase):
    def test_a_bucket_takes_part_and_tags_choose_buckets(self):
        s3 = self.s3["a"]
        for bucket in ("shop", "other"):
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="a", Body=b"a" * 1000)
        s3.put_bucket_tagging(Bucket="shop", Tagging={"TagSet": [{"Key": "tier", "Value": "gold"}]})
        tokyo = self.pair.tokyo
        tokyo.edit_config("    to: osaka\n", "    to: osaka\n    labels: { tier: gold }\n    set: true\n")
        tokyo.edit_config("\"rbd/rbd/*\", \"rbd/rbd/tenant/*\", ", "")
        for _ in range(2):
            points = tokyo.json("backup", "--policy", "all")["points"]
            self.assertEqual([point["asset"] for point in points], ["s3/shop"])
            self.assertTrue(re.match("all-[0-9a-f]{8}$", points[0]["set"]))
            self.assertEqual(points[0]["labels"]["set.guarantee"], "together")
            s3.put_object(Bucket="shop", Key="b", Body=b"b" * 1000)


if __name__ == "__main__":
    main()
