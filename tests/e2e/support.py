"""What the end-to-end tests share: the clusters, a pair of sites, images and their contents."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
sys.path.insert(0, os.path.join(ROOT, "lab"))

import rados  # noqa: E402
import rbd  # noqa: E402
from cluster import Cluster  # noqa: E402
from site_pair import CommandFailed, Pair  # noqa: E402,F401

MIB = 1 << 20
BINARY = os.environ.get("TM_BINARY", os.path.join(ROOT, "build/agent/tidemark"))
CLUSTERS = os.environ.get("TM_CLUSTERS", os.path.join(ROOT, "build/clusters"))
BUILD = os.environ.get("TM_BUILD", os.path.join(ROOT, "build"))
SEED = int(os.environ.get("TM_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS = int(os.environ.get("TM_ROUNDS", "0"))  # 0: each test's own small number


def rounds(default):
    return ROUNDS or default


class Case(unittest.TestCase):
    """A test with a pair of sites of its own and empty rbd pools on both clusters."""

    backend = "file"
    pair_options = {}

    def setUp(self):
        self.random = random.Random(SEED)
        print(f"TM_SEED={SEED}", file=sys.stderr)
        self.a = Cluster(os.path.join(CLUSTERS, "a"), "a")
        self.b = Cluster(os.path.join(CLUSTERS, "b"), "b")
        self.dir = tempfile.mkdtemp(prefix="tidemark-e2e-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.io = {}
        for name, cluster in (("a", self.a), ("b", self.b)):
            connection = rados.Rados(conffile=cluster.conf)
            connection.connect()
            self.addCleanup(connection.shutdown)
            io = connection.open_ioctx("rbd")
            self.addCleanup(io.close)
            self.io[name] = io
            self.addCleanup(self.remove_free_images, io)
        for io in self.io.values():
            self.remove_images(io)
        self.pair = Pair(os.path.join(self.dir, "sites"), BINARY, self.a, self.b,
                         backend=self.backend, **self.pair_options)
        self.pair.setup()
        self.addCleanup(self.pair.stop)
        self.pair.osaka.start_agent()

    def remove_images(self, io):
        """All of them, also those that a client had that was killed."""
        self.wait_for("the images to go", lambda: not self.remove_free_images(io), killed=True)

    def remove_free_images(self, io):
        """Those that nobody has open; the others' names."""
        busy = []
        for _ in self.namespaces(io):
            for left in (2, 1, 0):  # children before parents
                for name in rbd.RBD().list(io):
                    try:
                        self.remove_image(io, name)
                    except rbd.ImageHasSnapshots:
                        pass
                    except rbd.ImageBusy:
                        busy += [name] if left == 0 else []
        return busy

    @staticmethod
    def namespaces(io):
        """The pool's, each in force for `io` in its turn; the default one is first, and again in force at the end."""
        for namespace in ["", *rbd.RBD().namespace_list(io)]:
            io.set_namespace(namespace)
            yield namespace
        io.set_namespace("")

    def end_dead_watches(self):
        """Ceph 16 now and then forgets to end the watch of a client that was killed while it opened an image (one
        kill of 75 right then). Nobody can remove that image, until 30 s after its placement group has peered anew."""
        for name, cluster in (("a", self.a), ("b", self.b)):
            if watched := list(self.watched_images(self.io[name])):
                print(f"cluster {name}: peers anew, for {watched} are watched", file=sys.stderr)
                cluster.ceph("osd", "down", "0", json=False)
                cluster.wait_healthy()

    def watched_images(self, io):
        for _ in self.namespaces(io):
            for name in rbd.RBD().list(io):
                try:
                    with rbd.Image(io, name, read_only=True) as image:
                        if list(image.watchers_list()):
                            yield name
                except rbd.ImageNotFound:
                    pass

    @staticmethod
    def remove_image(io, name):
        try:
            with rbd.Image(io, name) as image:
                remove_snapshots(image)
        except rbd.ImageNotFound:
            pass  # an interrupted removal left its entry: removing goes on where it stopped
        rbd.RBD().remove(io, name)

    # --- images

    def create(self, name="vol", mib=32, io=None, **options):
        options.setdefault("old_format", False)
        options.setdefault("features", 1 | 4 | 8 | 16)
        rbd.RBD().create(io or self.io["a"], name, mib * MIB, **options)

    def write(self, offset, data, name="vol", io=None):
        with rbd.Image(io or self.io["a"], name) as image:
            image.write(data, offset)

    def fill(self, mib, name="vol", start=0):
        """Random data, incompressible."""
        with rbd.Image(self.io["a"], name) as image:
            for at in range(start * MIB, (start + mib) * MIB, 4 * MIB):
                image.write(self.random.randbytes(min(4 * MIB, (start + mib) * MIB - at)), at)

    def content(self, name="vol", io=None, snapshot=None):
        """All bytes of an image, read through librbd by someone else than us."""
        with rbd.Image(io or self.io["a"], name, snapshot=snapshot, read_only=True) as image:
            size, out = image.size(), bytearray()
            while len(out) < size:
                out += image.read(len(out), min(4 * MIB, size - len(out)))
            return bytes(out)

    def snapshots(self, name="vol", io=None):
        with rbd.Image(io or self.io["a"], name, read_only=True) as image:
            return [s["name"] for s in image.list_snaps()]

    # --- points

    def backup(self, *args, asset="rbd/rbd/vol", **kwargs):
        return self.pair.backup(asset, *args, **kwargs)[0]

    def restored(self, point=None, asset="tokyo:rbd/rbd/vol", site=None):
        path = os.path.join(self.dir, "restored.img")
        self.pair.restore_to_file(path, point=point, asset=asset, site=site)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        return data

    def wait_for(self, what, condition, timeout=90, killed=False):
        """What `condition` gives, once that is true. `killed`: it needs images that a killed client had open."""
        began, peered = time.monotonic(), False
        while True:
            found = condition()
            if found:
                return found
            waited = time.monotonic() - began
            if killed and waited > 40 and not peered:  # a watch ends after 30 s
                peered = True
                self.end_dead_watches()
            if waited > timeout:
                logs = map(self.end_of_log, (self.pair.tokyo, self.pair.osaka)) if hasattr(self, "pair") else ()
                self.fail(f"{what}: not after {timeout} s\n" + "\n".join(logs))
            time.sleep(0.2)

    @staticmethod
    def end_of_log(site):
        if not os.path.exists(site.log_path):
            return ""
        with open(site.log_path, errors="replace") as log:
            return f"--- {site.log_path}\n{log.read()[-4000:]}"

    def assert_same(self, got, want, what=""):
        """Equal bytes; says where the first difference is instead of printing megabytes."""
        if got == want:
            return
        if len(got) != len(want):
            self.fail(f"{what}: {len(got)} bytes instead of {len(want)}")
        at = next(i for i in range(0, len(want), 512) if got[i:i + 512] != want[i:i + 512])
        self.fail(f"{what}: differs from byte {at} on")

    def assert_good_store(self):
        report = self.pair.osaka.json("verify", "--read-data")
        self.assertEqual(report["damaged"], [])
        return report


def remove_snapshots(image):
    """All that can go: those that a clone depends on stay."""
    for snapshot in list(image.list_snaps()):
        if snapshot["namespace"] != rbd.RBD_SNAP_NAMESPACE_TYPE_USER:
            image.remove_snap_by_id(snapshot["id"])
            continue
        if image.is_protected_snap(snapshot["name"]):
            try:
                image.unprotect_snap(snapshot["name"])
            except rbd.ImageBusy:
                continue
        image.remove_snap(snapshot["name"])


def sha(data):
    return hashlib.sha256(data).hexdigest()


def sh(*args, **kwargs):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


class Result(unittest.TextTestResult):
    """Says at once what went wrong: of a long log, often only the beginning is kept."""

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(err)

    def tell(self, err):
        self.stream.writeln(str(err[1])[-2000:])
        self.stream.flush()


def main():
    unittest.main(verbosity=2, testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2))
