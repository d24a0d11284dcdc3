"""Keeping an image ready at the other site: a backup and the standby that follows it beside Debian's
rbd-mirror by snapshots, between the same two clusters, each on an image of its own with the same content.

What is timed ends, on either side, when the cluster at the other site says so: our snapshot of the point is
there under the image's name, their snapshot is marked complete. `rbd mirror image status` tells that up to
half a minute later.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time

import rbd
from cluster import wait_for
from measure import Failed, cpu_seconds
from rbd_mirror import OPTIONS, RbdMirror
from volumes import FEATURES, MIB, WRITE_BYTES, WRITES, Volumes, gather_tree

IMAGE_BYTES = 2048 * MIB
RANDOM_PART = 1 / 3  # of the data; as of media files, or of what is encrypted
SECONDS_MAX = 300
PEER = "rbd-mirror"
IMAGES = {"tidemark": "ours", PEER: "theirs"}


class Standby(Volumes):
    def __init__(self, options, directory, figures):
        super().__init__(options, directory, figures)
        self.mirror = RbdMirror(self.a, self.b, self.path("mirror"))

    # --- setting up, cleaning up

    def make_content(self):
        """A file system of real files and of random bytes; the rest is holes."""
        self.say("making a file system from files of this system")
        tree, image = self.path("tree"), self.path("fs.img")
        os.makedirs(tree)
        random_bytes = int(self.options.tree_mib * RANDOM_PART) * MIB
        gather_tree(tree, self.options.tree_mib * MIB - random_bytes)
        with open(os.path.join(tree, "random"), "wb") as f:
            for _ in range(random_bytes // MIB):
                f.write(self.random.randbytes(MIB))
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image, f"{IMAGE_BYTES // MIB}M"],
                       check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        self.figures.raw["standby's image"] = {"file_system_bytes": os.stat(image).st_blocks * 512,
                                               "size_bytes": IMAGE_BYTES, "random_bytes": random_bytes,
                                               "rbd_mirror_options": OPTIONS}

    def fresh_images(self):
        """The same content at the source in two images of which nobody knows yet; nothing at the other site."""
        names = rbd.RBD().list(self.io_a)
        if IMAGES[PEER] in names:
            self.a.rbd("mirror", "image", "disable", "rbd/theirs")
            self.mirror.wait("rbd-mirror to remove its copy", lambda: not list(rbd.RBD().trash_list(self.io_b)) and
                             IMAGES[PEER] not in rbd.RBD().list(self.io_b))
        if self.pair:
            self.pair.stop()
        for cluster, io in ((self.a, self.io_a), (self.b, self.io_b)):
            for name in rbd.RBD().list(io):
                cluster.rbd("snap", "purge", "--no-progress", f"rbd/{name}")
                cluster.rbd("rm", "--no-progress", f"rbd/{name}")
        for name in IMAGES.values():
            self.a.rbd("import", "--no-progress", "--image-feature", FEATURES, self.path("fs.img"), f"rbd/{name}")

    def fresh_sites(self):
        """An empty store, and an agent there that keeps a standby of our image."""
        self.fresh_pair()
        with open(self.pair.osaka.config_path, "a") as f:
            f.write('standby: { all: { assets: [ "tokyo:rbd/rbd/ours" ], pool: rbd } }\n')
        self.start_store(**{PEER: self.mirror.pid})

    def close(self):
        self.mirror.stop()
        super().close()

    def overwrite_both(self):
        """The same random bytes into the same randomly chosen blocks, anywhere in the images."""
        writes = [(at, self.random.randbytes(WRITE_BYTES))
                  for at in self.random.sample(range(0, IMAGE_BYTES, WRITE_BYTES), WRITES)]
        for name in IMAGES.values():
            with rbd.Image(self.io_a, name) as image:
                waiting = [image.aio_write(data, at, lambda _: None) for at, data in writes]
                for one in waiting:
                    one.wait_for_complete_and_cb()
                    if one.get_return_value() < 0:
                        raise Failed(f"write into {name}: {os.strerror(-one.get_return_value())}")
                image.flush()

    # --- what is measured

    def timed(self, run, reached):
        """`run` gives what its command took; the whole lasts until `reached` is true of that."""
        before = {name: cpu_seconds(pid) for name, pid in self.runner.daemons.items()}
        began = time.monotonic()
        result = run()
        ended = time.monotonic()
        reached(result)
        result["command_seconds"] = result["seconds"]
        result["after_seconds"] = round(time.monotonic() - ended, 3)
        result["seconds"] = round(time.monotonic() - began, 3)
        result["daemons_cpu"] = {name: round(cpu_seconds(pid) - before[name], 2)
                                 for name, pid in self.runner.daemons.items()}
        return result

    def ours(self):
        return self.timed(lambda: self.tidemark(self.pair.tokyo, "backup", "rbd/rbd/ours"), self.wait_for_standby)

    def wait_for_standby(self, result):
        """Notes also when the standby began with it, to be seen by the mark of the image."""
        point, asked = result["answer"]["points"][0], time.monotonic()
        result["backup_seconds"] = point["duration_ms"] / 1000
        result["shipped_bytes"] = point["shipped_bytes"]

        def look():
            there, working = self.standby_state(point["id"])
            if there or working:
                result.setdefault("wake_seconds", round(time.monotonic() - asked, 3))
            return there
        wait_for("the standby at the point", look, SECONDS_MAX, 0.02)

    def standby_state(self, point):
        """(the image is that point, it is on its way there)"""
        with contextlib.suppress(rbd.ImageNotFound), rbd.Image(self.io_b, "ours", read_only=True) as image:
            if any(s["name"] == f"tidemark-standby.{point}" for s in image.list_snaps()):
                return True, True
            return False, json.loads(image.metadata_get("tidemark.standby"))["applying"] == point
        return False, "ours.tidemark-restoring" in rbd.RBD().list(self.io_b)

    def theirs(self, *command):
        """Enabling takes the first snapshot by itself."""
        before = self.mirror.counters()

        def wait(_):
            newest = self.mirror.newest_primary(self.io_a, "theirs")
            self.mirror.wait("rbd-mirror's copy", lambda: self.mirror.has(self.io_b, "theirs", newest))
        result = self.timed(lambda: self.runner.run(
            ["rbd", "-c", self.a.conf, "mirror", "image", *command], profile=True), wait)
        # A moment later it has counted what has just ended.
        after = self.mirror.wait("rbd-mirror to count its sync", lambda: self.counted(before["syncs"]))
        result["sync_seconds"] = round(after["seconds"] - before["seconds"], 3)
        result["shipped_bytes"] = after["bytes"] - before["bytes"]
        return result

    def counted(self, syncs):
        after = self.mirror.counters()
        return after if after["syncs"] > syncs else None

    def keep_up(self, what, number, *command):
        self.contend(what, [("tidemark", self.ours), (PEER, lambda: self.theirs(*command))], number)
        for who in IMAGES:
            self.say(f"    {who}: " + ", ".join(f"{key} {value:.2f}" for key, value in self.figures.raw[what][who]
                                                [-1].items() if key.endswith("_seconds")))
        self.check_copies()

    def check_copies(self):
        """A fast copy of other bytes would be no copy. The two sources are equal too."""
        exports = [f"rbd -c {cluster.conf} --no-progress export rbd/{name} -"
                   for cluster in (self.a, self.b) for name in IMAGES.values()]
        for other in exports[1:]:
            self.runner.run(f"cmp <({exports[0]}) <({other})")

    def round(self, number):
        self.say(f"round {number + 1} of {self.options.rounds}")
        self.fresh_images()
        self.fresh_sites()
        self.keep_up("standby, first", number, "enable", "rbd/theirs", "snapshot")
        self.overwrite_both()
        self.keep_up("standby, delta", number, "snapshot", "rbd/theirs")

    def run(self):
        self.boot()
        self.io_a, self.io_b = self.open_io(self.a), self.open_io(self.b)
        self.make_content()
        self.mirror.start()
        self.say(f"{PEER} with " + ", ".join(f"{key} = {value}" for key, value in OPTIONS.items()))
        for number in range(self.options.rounds):
            self.round(number)

    # --- the result

    def add_rows(self, table):
        median = self.figures.median
        for what, label, target in (("standby, first", "standby, first copy", 0.8),
                                    ("standby, delta", f"standby, {WRITES} writes", 0.2)):
            ours = median(what, "tidemark")
            table.against(label, ours, PEER, median(what, PEER), "s", target)
            table.against(label, ours, "its own sync time", median(what, PEER, "sync_seconds"), "s")
            table.against(label + ", shipped", median(what, "tidemark", "shipped_bytes"), PEER,
                          median(what, PEER, "shipped_bytes"), "bytes")
            table.alone(label + ", of which the backup", median(what, "tidemark", "command_seconds"), "s")
            table.alone(label + ", until the standby begins", median(what, "tidemark", "wake_seconds"), "s")
            table.alone(label + ", after the backup", median(what, "tidemark", "after_seconds"), "s")
