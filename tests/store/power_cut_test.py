#!/usr/bin/env python3
"""Cuts the power of a disk on which the `file` backend is writing, and looks at what is left.

The disk is an image on an XFS with reflinks.  While a writer commits blobs in it and says of each what
was acknowledged, the image is cloned at random moments: a clone holds exactly what the filesystem had
handed to its disk by then, as a power cut would leave it.  Each clone is mounted, which replays its
journal, and checked without any code of the program under test:

  * every blob acknowledged before the cut is there and whole;
  * nothing that is there is half a blob;
  * a control blob holds one whole version, and none older than the last acknowledged one;
  * what was acknowledged as removed has not come back.

At the end the same is done with fsync switched off by a preloaded library; blobs must then be missing,
or the harness would not notice if the backend forgot to sync.

    power_cut_test.py TOOL SHIM          TM_CUTS=300 for more cuts, TM_SEED to repeat a run

Exit code 77 where loop mounts are not possible.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

SKIP = 77
CUTS_PER_DISK = 6
DISK_BYTES = 2 << 30
OUTER_BYTES = 24 << 30  # sparse
THREADS = 4


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Mounts:
    """Everything mounted here, so that it can be unmounted whatever happens."""

    def __init__(self):
        self.paths = []

    def mount(self, image, path, options="loop"):
        os.makedirs(path, exist_ok=True)
        run("mount", "-o", options, image, path)
        self.paths.append(path)

    def unmount(self, path):
        for _ in range(50):
            if subprocess.run(["umount", path], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "-l", path])
        self.paths.remove(path)

    def unmount_all(self):
        for path in reversed(list(self.paths)):
            self.unmount(path)


class Writer:
    """backend_tool at work; its lines are kept in the order in which they came."""

    def __init__(self, tool, directory, seed, preload=None):
        environment = dict(os.environ)
        if preload:
            environment.update(LD_PRELOAD=preload, TM_IO_FAULT="sync:1:0:swallow",
                               ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
        self.process = subprocess.Popen([tool, "commit", str(THREADS), str(seed), directory],
                                        stdout=subprocess.PIPE, env=environment, text=True)
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def stop(self):
        ended_early = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        if ended_early is not None:
            raise SystemExit(f"the writer ended by itself ({ended_early}): {self.lines[-1:]}")


def expected_state(before, until_later):
    """What the lines that were seen before the cut prove, and which removals may have begun by then."""
    present, absent, heads = set(), set(), {}
    for line in before:
        kind, name, *rest = line.split()
        if kind == "put":
            present.add(name)
        elif kind == "head":
            heads[name] = int(rest[0])
        elif kind == "removed":
            absent.add(name)
    maybe = {line.split()[1] for line in until_later if line.startswith("removing ")}
    return present - maybe, absent, heads


def check_head(path, at_least):
    with open(path, "rb") as file:
        text = file.read().decode()
    number, _, filling = text.partition(":")
    number = int(number)
    if filling != chr(ord("a") + number % 26) * (5000 + number % 3000):
        return [f"{path}: a mix of versions"]
    return [f"{path}: version {number}, {at_least} was acknowledged"] if number < at_least else []


def check_store(directory, present, absent, heads):
    """What is wrong with a store after a cut; nothing where all is well."""
    wrong = []
    for folder in ("packs", "points"):
        for parent, _, names in os.walk(os.path.join(directory, folder)):
            for name in names:
                with open(os.path.join(parent, name), "rb") as file:
                    if hashlib.sha256(file.read()).hexdigest() != name:
                        wrong.append(f"{folder}: half a blob: {name}")
    for name in present:
        if not os.path.isfile(os.path.join(directory, name)):
            wrong.append(f"lost: {name}")
    for name in absent:
        if os.path.exists(os.path.join(directory, name)):
            wrong.append(f"came back: {name}")
    for name, number in heads.items():
        path = os.path.join(directory, name)
        wrong += check_head(path, number) if os.path.isfile(path) else [f"lost: {name}"]
    return wrong


def check_writable(tool, directory):
    """The store can be locked again, and its unfinished files go away by that."""
    process = subprocess.Popen([tool, "lock", "after the cut", directory], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    answer = process.stdout.readline().strip()
    process.communicate("")
    wrong = [] if answer == "held" else [f"the lock: {answer}"]
    left = os.path.join(directory, "tmp")
    return wrong + [f"left over: {n}" for n in (os.listdir(left) if os.path.isdir(left) else [])]


class Harness:
    def __init__(self, tool, shim, work, mounts, seed):
        self.tool, self.shim, self.work, self.mounts = tool, shim, work, mounts
        self.random = random.Random(seed)
        self.outer = os.path.join(work, "outer")
        self.acknowledged = self.cuts = 0

    def prepare(self):
        image = os.path.join(self.work, "outer.img")
        with open(image, "wb") as file:
            file.truncate(OUTER_BYTES)
        run("mkfs.xfs", "-q", "-m", "reflink=1", image)
        self.mounts.mount(image, self.outer)

    def one_disk(self, filesystem, cuts, preload=None):
        """Makes a disk, cuts it so often, and gives what was wrong."""
        disk = os.path.join(self.outer, "disk.img")
        inner = os.path.join(self.work, "inner")
        with open(disk, "wb") as file:
            file.truncate(DISK_BYTES)
        run(f"mkfs.{filesystem}", *(["-q", "-F"] if filesystem == "ext4" else ["-q", "-f"]), disk)
        self.mounts.mount(disk, inner)
        writer = Writer(self.tool, os.path.join(inner, "store"), self.random.randrange(1 << 30),
                        preload)
        states = []
        try:
            for i in range(cuts):
                time.sleep(self.random.uniform(0.1, 1.2))
                before = list(writer.lines)
                clone = os.path.join(self.outer, f"cut{i}.img")
                run("cp", "--reflink=always", disk, clone)
                time.sleep(0.3)  # for lines that were under way
                states.append((clone, before, list(writer.lines)))
        finally:
            writer.stop()
            self.mounts.unmount(inner)
        wrong = []
        for clone, before, later in states:
            wrong += self.check_clone(clone, filesystem, expected_state(before, later))
            os.remove(clone)
        os.remove(disk)
        return wrong

    def check_clone(self, clone, filesystem, state):
        path = os.path.join(self.work, "cut")
        self.mounts.mount(clone, path)
        try:
            present, absent, heads = state
            self.cuts += 1
            self.acknowledged += len(present) + len(absent) + len(heads)
            store = os.path.join(path, "store")
            wrong = check_store(store, present, absent, heads)
            if os.path.isdir(store):
                wrong += check_writable(self.tool, store)
            return [f"{filesystem}: {text}" for text in wrong]
        finally:
            self.mounts.unmount(path)

    def run(self, cuts):
        wrong, left, turn = [], cuts, 0
        while left > 0 and not wrong:
            wrong = self.one_disk(("ext4", "xfs")[turn % 2], min(left, CUTS_PER_DISK))
            left, turn = left - CUTS_PER_DISK, turn + 1
        print(f"{self.cuts} cuts, {self.acknowledged} acknowledged blobs, heads and removals looked "
              f"for, {len(wrong)} wrong", flush=True)
        for text in wrong[:20]:
            print("  " + text)
        if wrong or self.acknowledged == 0:
            return 1
        noticed = self.one_disk("ext4", 2, preload=self.shim)
        lost = sum("lost" in text for text in noticed)
        print(f"without fsync, 2 cuts: {len(noticed)} wrong, of which {lost} lost", flush=True)
        if lost == 0:
            print("the harness did not notice that nothing was synced")
            return 1
        return 0


def main():
    tool, shim = sys.argv[1], sys.argv[2]
    seed = int(os.environ.get("TM_SEED", random.randrange(1 << 30)))
    print(f"TM_SEED={seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = tempfile.mkdtemp(prefix="tidemark-power-cut-")
    mounts = Mounts()
    try:
        harness = Harness(tool, shim, work, mounts, seed)
        try:
            harness.prepare()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"skipped: no loop mounts of XFS here: {error} {getattr(error, 'stderr', b'')}")
            return SKIP
        return harness.run(int(os.environ.get("TM_CUTS", "8")))
    finally:
        mounts.unmount_all()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
