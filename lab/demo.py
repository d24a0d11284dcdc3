"""The demo: protect an image of one cluster in another, lose it, and get a point in time back."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster  # noqa: E402
from site_pair import Pair  # noqa: E402

SIZE_MIB = 1024
steps = []


def step(title, function):
    """Runs one step and remembers how long it took."""
    print(f"  {title} ...", end="", flush=True)
    began = time.monotonic()
    result = function()
    took = time.monotonic() - began
    steps.append((title, took))
    print(f" {took:.1f} s")
    return result


def sh(*args, **kwargs):
    return subprocess.run(args, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **kwargs).stdout


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()


class FileSystem:
    """An ext4 file system in a local file, changed with debugfs (no mount is needed) and brought into
    the image as a guest would write it: only the blocks that changed."""

    def __init__(self, directory, cluster):
        self.path = os.path.join(directory, "fs.img")
        self.old = os.path.join(directory, "fs.old")
        self.cluster = cluster

    def make(self, tree):
        sh("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, self.path, f"{SIZE_MIB}M")
        self.cluster.rbd("import", "--image-feature", "layering,exclusive-lock,object-map,fast-diff",
                         self.path, "rbd/vol")
        shutil.copy(self.path, self.old)

    def change(self, commands):
        subprocess.run(
            ["debugfs", "-w", "-f", "-", self.path], input="\n".join(commands) + "\n", text=True,
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.write_blocks()

    def write_blocks(self):
        """Writes what differs, through the rbd command's import-diff."""
        block = 1 << 16
        diff = bytearray(b"rbd diff v1\ns" + (SIZE_MIB << 20).to_bytes(8, "little"))
        with open(self.path, "rb") as new, open(self.old, "rb") as old:
            offset = 0
            while data := new.read(block):
                if data != old.read(block):
                    diff += b"w" + offset.to_bytes(8, "little") + len(data).to_bytes(8, "little") + data
                offset += len(data)
        self.cluster.rbd("import-diff", "-", "rbd/vol", input=bytes(diff + b"e"), text=False)
        shutil.copy(self.path, self.old)


def mounted_files(path):
    """The names and digests of the files in a file system, mounted read-only; None where the kernel
    allows no loop mount."""
    where = tempfile.mkdtemp(prefix="tidemark-mount-")
    try:
        done = subprocess.run(["mount", "-o", "ro,loop,noload", path, where], stderr=subprocess.PIPE)
        if done.returncode != 0:
            return None
        try:
            out = sh("find", ".", "-type", "f", "-exec", "sha256sum", "{}", "+", cwd=where)
            return sorted(out.decode(errors="replace").splitlines())
        finally:
            sh("umount", where)
    finally:
        os.rmdir(where)


def bytes_text(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.1f} {unit}" if unit != "B" else f"{n} B"
        n /= 1024


def demo(options, directory):
    a, b = Cluster(os.path.join(directory, "a"), "tokyo"), Cluster(os.path.join(directory, "b"), "osaka")
    pair = Pair(os.path.join(directory, "sites"), options.binary, a, b, backend=options.backend)
    try:
        step("boot two Ceph clusters", lambda: (a.start(), b.start()))
        if options.backend == "rados":
            b.create_pool("tidemark", app="tidemark")
        step("create certificates and the store, start an agent at each site",
             lambda: pair.setup().start())
        run(options, directory, pair, a, b)
        if options.keep:
            print_keep(pair, a, b)
            return
    finally:
        if not options.keep:
            pair.stop()
            for cluster in (a, b):
                cluster.destroy()


def run(options, directory, pair, a, b):
    tree = os.path.join(directory, "tree")
    os.makedirs(tree)
    for name in ("perl", "python3", "doc", "cmake-3.25"):
        if os.path.isdir(f"/usr/share/{name}"):
            sh("sh", "-c", f"cp -r /usr/share/{name} {tree}/ 2>/dev/null || true")
    fs = FileSystem(directory, a)
    step("write an ext4 file system with real files into image rbd/vol", lambda: fs.make(tree))
    first = step("first point", lambda: pair.backup("rbd/rbd/vol"))[0]
    note = os.path.join(directory, "note")
    with open(note, "w") as f:
        f.write("the state that we want back\n" * 1000)
    fs.change([f"write {note} note.txt", "mkdir accounts"])
    wanted, wanted_files = digest(fs.path), mounted_files(fs.path)
    middle = step("change files, second point", lambda: pair.backup("rbd/rbd/vol"))[0]
    fs.change(["rm note.txt", "rmdir accounts"])
    last = step("delete them again, third point", lambda: pair.backup("rbd/rbd/vol"))[0]
    for snapshot in a.rbd("snap", "ls", "rbd/vol", json=True):
        a.rbd("snap", "rm", f"rbd/vol@{snapshot['name']}")
    step("disaster: the image is destroyed", lambda: a.rbd("rm", "rbd/vol", "--no-progress"))
    restored = []
    for site, cluster in ((pair.tokyo, a), (pair.osaka, b)):
        report = step(f"restore the middle point at {site.name}", lambda: site.json(
            "restore", "tokyo:rbd/rbd/vol", "--point", middle["id"], "--to", "rbd/vol-restored"))
        out = os.path.join(directory, f"{site.name}.img")
        cluster.rbd("export", "--no-progress", "rbd/vol-restored", out)
        if digest(out) != wanted:
            sys.exit(f"the image restored at {site.name} DIFFERS from the second state")
        restored.append((site.name, report))
    print("  both restored images are identical to the second state, byte for byte")
    files = mounted_files(os.path.join(directory, "osaka.img"))
    if files is None or wanted_files is None:
        print("  (this kernel allows no loop mount: the file system was not mounted)")
    elif files != wanted_files or not any("note.txt" in line for line in files):
        sys.exit("the mounted file system DIFFERS")
    else:
        print(f"  mounted read-only: {len(files)} files, note.txt among them, all as they were")
    verified = step("verify every point, reading all data",
                    lambda: pair.osaka.json("verify", "--read-data"))
    print()
    print(pair.osaka.run("points").text)
    print(f"  {'':34}{'changed':>12}{'shipped':>12}{'stored':>12}{'time':>9}")
    for title, point in (("first point", first), ("second point", middle), ("third point", last)):
        print(f"  {title:34}{bytes_text(point['changed_bytes']):>12}"
              f"{bytes_text(point['shipped_bytes']):>12}{bytes_text(point['stored_bytes']):>12}"
              f"{point['duration_ms'] / 1000:>7.2f} s")
    for name, report in restored:
        print(f"  {'restore at ' + name:34}{bytes_text(report['written_bytes']):>12}"
              f"{bytes_text(report['fetched_bytes']):>12}{'':>12}{report['duration_ms'] / 1000:>7.2f} s")
    print(f"  {'verify':34}{'':>12}{bytes_text(verified['bytes_read']):>12}"
          f"{'':>12}{'':>7}   {len(verified['damaged'])} damaged")


def print_keep(pair, a, b):
    print(f"""
  Everything keeps running. Look around:
    export PATH={os.path.dirname(pair.tokyo.binary)}:$PATH
    tidemark --config {pair.tokyo.config_path} points
    tidemark --config {pair.osaka.config_path} store status
    rbd -c {b.conf} ls -l
    rbd -c {a.conf} ls -l
  Logs: {pair.tokyo.log_path}
        {pair.osaka.log_path}
  End it:
    kill {pair.tokyo.agent.pid} {pair.osaka.agent.pid}
    {os.path.dirname(os.path.abspath(__file__))}/cluster down {a.dir} --purge
    {os.path.dirname(os.path.abspath(__file__))}/cluster down {b.dir} --purge
    rm -r {os.path.dirname(a.dir)}""")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--backend", choices=("file", "rados"), default="file")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    directory = tempfile.mkdtemp(prefix="tidemark-demo-")
    began = time.monotonic()
    try:
        demo(options, directory)
        print(f"\n  done in {time.monotonic() - began:.0f} s")
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
