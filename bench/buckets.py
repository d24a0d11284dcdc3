"""Backing up and restoring buckets: tidemark beside `rclone sync` between the same two gateways, on the same
objects: many of 1 to 64 KiB in one bucket, some of 256 MiB in another."""

import os
import random
import shutil

import gateway
from sites import SitesBench

KIB, MIB = 1 << 10, 1 << 20
SMALL_MIN, SMALL_MAX = KIB, 64 * KIB
PER_FOLDER = 500
# As its documentation advises for many objects: few large listings, many at a time, and what is the same
# told by checksums, which come with the listing, and not by times, which take a request for each object.
RCLONE_SYNC = ["rclone", "sync", "--transfers", "32", "--checkers", "32", "--fast-list", "--checksum"]


class Buckets(SitesBench):
    def __init__(self, options, directory, figures):
        super().__init__(options, directory, figures)
        self.random = random.Random(options.seed)
        self.counts = {"small": options.small, "large": options.large_objects}
        self.counts = {bucket: count for bucket, count in self.counts.items() if count}

    # --- setting up

    def connect(self):
        self.users = {c.name: gateway.user_with_caps(c, "bench") for c in (self.a, self.b)}
        self.s3 = {name: gateway.client(user) for name, user in self.users.items()}
        self.rclone = gateway.Rclone(self.users)
        self.runner.env = self.rclone.env

    def make_objects(self):
        for bucket in self.counts:
            self.s3["tokyo"].create_bucket(Bucket=bucket)
        self.say(f"making {self.counts} objects")
        self.make_small()
        for number in range(self.counts.get("large", 0)):
            # randbytes() of the whole is more than it can do at once.
            body = b"".join(self.random.randbytes(MIB) for _ in range(self.options.large_mib))
            gateway.put_in_parts(self.s3["tokyo"], "large", f"{number:04}.bin", body)
        self.figures.raw["buckets"] = {bucket: sum(size for size, _ in self.listed("tokyo", bucket).values())
                                       for bucket in self.counts}

    @staticmethod
    def small_key(number):
        return f"{number // PER_FOLDER:04}/{number:07}.dat"

    def some_bytes(self):
        return self.random.randbytes(self.random.randrange(SMALL_MIN, SMALL_MAX + 1))

    def make_small(self):
        """Through a directory and rclone, which puts them faster than Python."""
        top = self.path("small")
        for number in range(self.counts.get("small", 0)):
            path = os.path.join(top, self.small_key(number))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(self.some_bytes())
        if os.path.isdir(top):
            self.rclone.run("copy", "--transfers", "32", "--s3-no-head", top, "tokyo:small")
            shutil.rmtree(top)

    def change(self):
        """One object in a hundred, anywhere, at least one."""
        count = max(1, self.counts["small"] // 100)
        for number in self.random.sample(range(self.counts["small"]), count):
            self.s3["tokyo"].put_object(Bucket="small", Key=self.small_key(number), Body=self.some_bytes())

    def empty(self, name, bucket):
        """Its space is free at the end, not later while something else is timed."""
        if bucket in {b["Name"] for b in self.s3[name].list_buckets()["Buckets"]}:
            gateway.remove_bucket(self.s3[name], bucket)
            (self.a if name == "tokyo" else self.b).radosgw_admin("gc", "process", "--include-all", timeout=1800)

    def fresh_store(self):
        self.fresh_pair(s3=self.users)
        self.start_store(**{"rgw": self.a.pid("rgw"), "store's rgw": self.b.pid("rgw")})
        for bucket in self.counts:
            self.empty("osaka", bucket)
            self.s3["osaka"].create_bucket(Bucket=bucket)

    # --- what is measured

    def listed(self, name, bucket):
        """{key: (size, ETag)}; the ETag of an object in parts tells its parts' digests."""
        return {entry["Key"]: (entry["Size"], entry["ETag"])
                for page in self.s3[name].get_paginator("list_objects_v2").paginate(Bucket=bucket)
                for entry in page.get("Contents", [])}

    def rclone_sync(self, source, target):
        return lambda: self.runner.run([*RCLONE_SYNC, source, target], profile=True)

    def save(self, what, bucket, number):
        self.contend(f"{bucket}, {what}", [
            ("tidemark", lambda: self.backup(f"s3/{bucket}")),
            ("rclone sync", self.rclone_sync(f"tokyo:{bucket}", f"osaka:{bucket}"))], number)

    def restore(self, bucket, number):
        """To the source's gateway, into buckets that are new."""
        targets = {"tidemark": f"{bucket}-ours", "rclone sync": f"{bucket}-peer"}
        self.s3["tokyo"].create_bucket(Bucket=targets["rclone sync"])
        self.contend(f"{bucket}, restore", [
            ("tidemark", lambda: self.tidemark(self.pair.tokyo, "restore", f"tokyo:s3/{bucket}",
                                               "--to-bucket", targets["tidemark"])),
            ("rclone sync", self.rclone_sync(f"osaka:{bucket}", f"tokyo:{targets['rclone sync']}"))], number)
        # A fast restore of wrong bytes would be no restore.
        if self.listed("tokyo", targets["tidemark"]) != self.listed("tokyo", bucket):
            raise gateway.Wrong(f"the restored bucket {bucket} differs from the source")
        sizes = [{key: size for key, (size, _) in self.listed("tokyo", name).items()}
                 for name in (targets["rclone sync"], bucket)]
        if sizes[0] != sizes[1]:
            raise gateway.Wrong(f"rclone's copy of {bucket} differs from the source")
        for target in targets.values():
            self.empty("tokyo", target)

    def round(self, number):
        self.say(f"round {number + 1} of {self.options.rounds}")
        self.fresh_store()
        for bucket in self.counts:
            self.save("first point", bucket, number)
        if "small" in self.counts:
            self.change()
            self.save("1 % changed", "small", number)
            self.save("nothing changed", "small", number)
        for bucket in self.counts:
            self.restore(bucket, number)

    def run(self):
        self.boot(rgw=True)
        self.connect()
        self.make_objects()
        for number in range(self.options.rounds):
            self.round(number)

    # --- the result

    def rate(self, what, who, count):
        seconds = self.figures.median(what, who)
        return count / seconds if seconds else None

    def add_rows(self, table):
        peer = "rclone sync"

        def rates(what, label, count, unit, at_least):
            table.against(label, self.rate(what, "tidemark", count), peer, self.rate(what, peer, count), unit,
                          at_least=at_least)
        for bucket, count in self.counts.items():
            amount, unit = (count, "objects/s") if bucket == "small" else (count * self.options.large_mib * MIB,
                                                                           "bytes/s")
            rates(f"{bucket}, first point", f"bucket, {bucket} objects, first point", amount, unit, 2.0)
            rates(f"{bucket}, restore", f"bucket, {bucket} objects, restore", amount, unit, 1.5)
        for what, target in (("1 % changed", 0.5), ("nothing changed", None)):
            table.against(f"bucket, small objects, {what}", self.figures.median(f"small, {what}", "tidemark"), peer,
                          self.figures.median(f"small, {what}", peer), "s", target)
        for label, key in (("source", "peak_rss"), ("the store's agent", "agent_rss")):
            table.alone(f"bucket, peak memory, {label}", self.peak(key), "bytes", 300 * MIB, strict=True)

    def peak(self, key):
        """Of all backups and restores."""
        ours = [r[key] for what, by in self.figures.raw.items() if what.startswith(("small, ", "large, "))
                for r in by.get("tidemark", [])]
        return max(ours, default=None)
