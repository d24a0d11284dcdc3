"""Backing up and restoring a volume: tidemark beside rbd export-diff, restic and borg, on the same data.

Two real clusters, an agent at each site, mutual TLS and encryption; a 3 GiB image with an ext4 file system
of real files. Every round measures each contender once, in another order; the table shows the medians.
"""

import os
import random
import shutil
import subprocess

import rados
import rbd
from measure import Runner
from sites import SitesBench, tree_bytes

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
IMAGE_MIB = 3072
TREE_BYTES = 1100 * MIB
TREES = ("/usr/share", "/usr/lib/python3", "/usr/include", "/usr/bin", "/usr/lib/x86_64-linux-gnu")
WRITES, WRITE_BYTES = 3072, 4 * KIB
FEATURES = "layering,exclusive-lock,object-map,fast-diff"
LARGE_BYTES, LARGE_OBJECTS, OBJECT_BYTES = 1 << 40, 100_000, 4 * MIB
ASSET = "tokyo:rbd/rbd/vol"


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system, or not allowed
        shutil.copyfile(source, target)


def gather_tree(target, budget):
    """Brings real files together until `budget` bytes are reached; the file system's own blocks are counted."""
    for tree in TREES:
        for folder, _, names in os.walk(tree):
            for name in sorted(names):
                source = os.path.join(folder, name)
                try:
                    info = os.lstat(source)
                    if os.path.islink(source) or not os.path.isfile(source):
                        continue
                    size = (info.st_size + 4095) & ~4095
                    if size > budget:
                        return
                    place = target + folder
                    os.makedirs(place, exist_ok=True)
                    link_or_copy(source, os.path.join(place, name))
                    budget -= size
                except OSError:
                    continue  # not readable, or gone meanwhile


class Volumes(SitesBench):
    def __init__(self, options, directory, figures):
        super().__init__(options, directory, figures)
        self.random = random.Random(options.seed)
        self.runner.env = {"RESTIC_PASSWORD": "bench", "BORG_PASSPHRASE": "bench",
                           "RESTIC_CACHE_DIR": self.path("restic-cache"), "BORG_BASE_DIR": self.path("borg")}
        self.connections = []

    # --- setting up, cleaning up

    def make_file_system(self):
        self.say("making a file system from files of this system")
        tree, image = self.path("tree"), self.path("fs.img")
        os.makedirs(tree)
        gather_tree(tree, self.options.tree_mib * MIB)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image, f"{IMAGE_MIB}M"],
                       check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(tree)
        self.figures.raw["image"] = {"file_system_bytes": os.stat(image).st_blocks * 512,
                                     "size_bytes": IMAGE_MIB * MIB}

    def fresh_image(self):
        """Anew for every round: a write into a hole makes an object that stays."""
        if "vol" in rbd.RBD().list(self.io_a):
            self.remove_points()
            self.a.rbd("rm", "--no-progress", "rbd/vol")
        self.a.rbd("import", "--no-progress", "--image-feature", FEATURES, self.path("fs.img"), "rbd/vol")
        self.find_blocks()

    def close(self):
        for connection in self.connections:
            connection.shutdown()
        super().close()

    def open_io(self, cluster):
        # Writes to a cluster that is full, or lost its OSD, would wait for ever.
        connection = rados.Rados(conffile=cluster.conf, conf={"rados_osd_op_timeout": "120"})
        connection.connect()
        self.connections.append(connection)
        return connection.open_ioctx("rbd")

    def fresh_store(self, number):
        """A pair of sites with an empty store; empty repositories for the peers."""
        if self.pair:
            self.pair.stop()
        self.fresh_image()
        for name in ("restic", "restic-cache", "borg", "full.diff.zst", "more.diff.zst"):
            shutil.rmtree(self.path(name), ignore_errors=True)
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        self.fresh_pair(policy_extra="    check_unchanged: 0%\n")
        self.start_store()
        setup = Runner(self.runner.log_path)
        setup.env = self.runner.env
        os.makedirs(self.path("borg"))
        setup.run(["restic", "-q", "init", "-r", self.path("restic")])
        setup.run(["borg", "init", "-e", "repokey-blake2", self.path("borg/repo")])
        self.a.rbd("snap", "create", "--no-progress", f"rbd/vol@a{number}")

    def remove_points(self):
        self.a.rbd("snap", "purge", "--no-progress", "rbd/vol")

    # --- what is measured

    def backup_image(self):
        return self.backup("rbd/rbd/vol")

    def piped(self, source, sink, stored=None):
        def run():
            before = tree_bytes(self.path(stored)) if stored and os.path.isdir(self.path(stored)) else 0
            result = self.runner.run(f"{source} | {sink}")
            if stored:
                place = self.path(stored)
                result["stored"] = (tree_bytes(place) if os.path.isdir(place) else os.path.getsize(place))
                result["added"] = result["stored"] - before
            return result
        return run

    def save_points(self, what, number, snapshot, diff_from=None):
        rbd_a = f"rbd -c {self.a.conf} --no-progress"
        export = f"{rbd_a} export rbd/vol@{snapshot} -"
        since = f"--from-snap {diff_from} " if diff_from else ""
        file = "more.diff.zst" if diff_from else "full.diff.zst"
        contenders = [
            ("tidemark", self.backup_image),
            ("export-diff | zstd", self.piped(f"{rbd_a} export-diff {since}rbd/vol@{snapshot} -",
                                              f"zstd -q -1 -f -o {self.path(file)}", file)),
            ("restic", self.piped(export, f"restic -q -r {self.path('restic')} backup --stdin "
                                          "--stdin-filename vol", "restic")),
            ("borg", self.piped(export, f"borg create -C zstd,1 {self.path('borg/repo')}::{snapshot} -",
                                "borg/repo")),
            ("rbd export", self.piped(export, "cat >/dev/null")),
        ]
        self.contend(what, contenders, number)

    def save_increment_within_data(self, number):
        rbd_a = f"rbd -c {self.a.conf} --no-progress"
        self.contend("incremental, no holes", [
            ("tidemark", self.backup_image),
            ("export-diff | zstd", self.piped(
                f"{rbd_a} export-diff --from-snap b{number} rbd/vol@c{number} -",
                f"zstd -q -1 -f -o {self.path('more.diff.zst')}", "more.diff.zst"))], number)

    def find_blocks(self):
        """Where data lies."""
        extents = []
        with rbd.Image(self.io_a, "vol", read_only=True) as image:
            image.diff_iterate(0, image.size(), None,
                               lambda at, size, exists: extents.append((at, size)) if exists else None)
        self.blocks = [at for start, size in extents
                       for at in range(start, start + size - WRITE_BYTES + 1, WRITE_BYTES)]

    def overwrite(self, count, blocks=None):
        """Random bytes into randomly chosen blocks, each at most once; without `blocks`, of those that
        hold data."""
        with rbd.Image(self.io_a, "vol") as target:
            for at in self.random.sample(blocks or self.blocks, count):
                target.write(self.random.randbytes(WRITE_BYTES), at)

    def restore_to_file(self, number):
        out, peer_out = self.path("restored.img"), self.path("peer.img")

        def ours():
            if os.path.exists(out):
                os.unlink(out)
            return self.tidemark(self.pair.tokyo, "restore", ASSET, "--to-file", out)

        def peer(command):
            return lambda: self.runner.run(f"{command} > {peer_out}")
        snapshot = f"b{number}"
        self.contend("restore to a file", [
            ("tidemark", ours),
            ("restic", peer(f"restic -q -r {self.path('restic')} dump latest /vol")),
            ("borg", peer(f"borg extract --stdout {self.path('borg/repo')}::{snapshot}"))], number)
        self.check_restored(out, snapshot)
        os.unlink(out)
        os.unlink(peer_out)

    def check_restored(self, path, snapshot):
        """A fast restore of wrong bytes would be no restore."""
        difference = (f"rbd -c {self.a.conf} --no-progress export rbd/vol@{snapshot} - | cmp - {path}")
        self.runner.run(difference)

    def restore_to_image(self, number):
        """The first point on both sides, so that both write the same bytes."""
        rbd_b = f"rbd -c {self.b.conf} --no-progress"
        first = self.figures.raw["first point"]["tidemark"][-1]["answer"]["points"][0]["id"]

        def ours():
            return self.tidemark(self.pair.osaka, "restore", ASSET, "--point", first, "--to", "rbd/ours")

        def peer():
            self.b.rbd("create", "rbd/peer", "--size", f"{IMAGE_MIB}M", "--image-feature", FEATURES)
            return self.runner.run(f"zstd -q -dc {self.path('full.diff.zst')} | {rbd_b} import-diff - rbd/peer")
        self.contend("restore to a new image",
                     [("tidemark", ours), ("zstd -d | import-diff", peer)], number)
        self.b.rbd("snap", "purge", "--no-progress", "rbd/peer")
        for name in ("ours", "peer"):
            self.b.rbd("rm", "--no-progress", f"rbd/{name}")

    def restore_in_place(self, number):
        for label, count in (("in place, few changes", 300), ("in place, 10x the changes", 3000)):
            self.overwrite(count)
            self.contend(label, [("tidemark", lambda: self.tidemark(
                self.pair.tokyo, "restore", ASSET, "--to", "rbd/vol", "--in-place"))], number)
            written = self.figures.raw[label]["tidemark"][-1]
            written["written_bytes"] = written["answer"]["written_bytes"]

    def round(self, number):
        self.say(f"round {number + 1} of {self.options.rounds}")
        self.fresh_store(number)
        self.save_points("first point", number, f"a{number}")
        # Anywhere in the image: many hit holes, and what export-diff ships for those are zeros.
        self.overwrite(WRITES, range(0, IMAGE_MIB * MIB, WRITE_BYTES))
        self.a.rbd("snap", "create", "--no-progress", f"rbd/vol@b{number}")
        self.save_points("incremental", number, f"b{number}", f"a{number}")
        self.contend("nothing changed", [("tidemark", self.backup_image)], number)
        self.restore_to_file(number)
        self.overwrite(WRITES)
        self.a.rbd("snap", "create", "--no-progress", f"rbd/vol@c{number}")
        self.save_increment_within_data(number)
        self.restore_to_image(number)
        self.restore_in_place(number)

    def large(self):
        """1 TiB with 100,000 objects that exist: how long it takes to find one changed object."""
        self.say(f"making a 1 TiB image with {LARGE_OBJECTS} objects")
        rbd.RBD().create(self.io_a, "large", LARGE_BYTES, old_format=False, features=1 | 4 | 8 | 16)
        objects = self.random.sample(range(LARGE_BYTES // OBJECT_BYTES), LARGE_OBJECTS)
        with rbd.Image(self.io_a, "large") as image:
            data, waiting = self.random.randbytes(WRITE_BYTES), []
            for number in objects:
                # At the start of the object: anything before the data would be made up by memstore.
                waiting.append(image.aio_write(data, number * OBJECT_BYTES, lambda _: None))
                if len(waiting) >= 128:
                    waiting.pop(0).wait_for_complete_and_cb()
            for one in waiting:
                one.wait_for_complete_and_cb()
        self.contend("1 TiB, first point", [("tidemark", lambda: self.backup("rbd/rbd/large"))], 0)
        for number in range(self.options.rounds):
            with rbd.Image(self.io_a, "large") as image:
                image.write(self.random.randbytes(WRITE_BYTES), objects[number] * OBJECT_BYTES)
            self.contend("1 TiB, one write", [("tidemark", lambda: self.backup("rbd/rbd/large"))], number)

    def run(self):
        self.boot()
        self.io_a = self.open_io(self.a)
        self.make_file_system()
        for number in range(self.options.rounds):
            self.round(number)
        if self.options.large:
            self.large()

    # --- the result

    def add_rows(self, table):
        median = self.figures.median
        peers = {"first point": {"restic": 0.4, "export-diff | zstd": 1.0},
                 "incremental": {"restic": 0.15, "export-diff | zstd": 0.4},
                 "incremental, no holes": {},
                 "restore to a file": {"restic": 0.4},
                 "restore to a new image": {"zstd -d | import-diff": 0.7}}
        for what, targets in peers.items():
            for who in self.figures.raw.get(what, {}):
                if who != "tidemark":
                    table.against(what, median(what, "tidemark"), who, median(what, who), "s",
                                  targets.get(who))
        for who, target in (("restic", 1.1), ("export-diff | zstd", None), ("borg", None)):
            table.against("first point, stored", median("first point", "tidemark", "stored"), who,
                          median("first point", who, "stored"), "bytes", target)
        table.against("incremental, shipped", median("incremental", "tidemark", "shipped_bytes"),
                      "bytes written", WRITES * WRITE_BYTES, "bytes", 1.2)
        for who in ("export-diff | zstd", "restic", "borg"):
            table.against("incremental, shipped or added",
                          median("incremental", "tidemark", "shipped_bytes"), who,
                          median("incremental", who, "added" if who != "export-diff | zstd" else "stored"), "bytes")
        table.alone("nothing changed", median("nothing changed", "tidemark"), "s", 1.0, strict=True)
        table.alone("nothing changed, read from the image",
                    median("nothing changed", "tidemark", "read_bytes"), "bytes", 0)
        for label in ("in place, few changes", "in place, 10x the changes"):
            table.alone(label, median(label, "tidemark"), "s")
            table.alone(label + ", written", median(label, "tidemark", "written_bytes"), "bytes")
        table.alone("1 TiB, 100,000 objects, first point", median("1 TiB, first point", "tidemark"), "s")
        table.alone("1 TiB, 100,000 objects, one write", median("1 TiB, one write", "tidemark"), "s", 60.0,
                    strict=True)
        table.alone("peak memory, source", median("first point", "tidemark", "peak_rss"), "bytes", 300 * MIB,
                    strict=True)
        table.alone("peak memory, the store's agent", median("first point", "tidemark", "agent_rss"),
                    "bytes", 300 * MIB, strict=True)
