"""The demo: protect an image and a bucket of one cluster in another, lose both, and get a point in time
back."""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gateway  # noqa: E402
from cluster import Cluster, wait_for  # noqa: E402
from disaster import disaster  # noqa: E402
from site_pair import Pair  # noqa: E402

SIZE_MIB = 1024
IMAGE, BUCKET = "rbd/rbd/vol", "s3/photos"
LARGE_MIB = 20
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


class Photos:
    """The bucket: small objects, odd keys, one object in parts; headers, metadata, tags, a CORS rule."""

    def __init__(self, directory, users):
        self.sums = os.path.join(directory, "photos.sha256")
        self.clients = {name: gateway.client(user) for name, user in users.items()}
        self.s3, self.rclone = self.clients["tokyo"], gateway.Rclone(users)
        self.random = random.Random(1)

    def put(self, key, size):
        self.s3.put_object(Bucket="photos", Key=key, Body=self.random.randbytes(size), ContentType="image/x-demo",
                           Metadata={"camera": f"number {size}"}, Tagging=f"year=2026&size={size}")

    def make(self):
        self.s3.create_bucket(Bucket="photos")
        self.s3.put_bucket_cors(Bucket="photos", CORSConfiguration={"CORSRules": [
            {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://photos.example"]}]})
        for number in range(40):
            self.put(f"2026/{number:03}.jpg", self.random.randrange(100_000))
        for key in gateway.ODD_KEYS:
            self.put(key, self.random.randrange(5000))
        gateway.put_in_parts(self.s3, "photos", "film.mp4", self.random.randbytes(LARGE_MIB << 20),
                             Metadata={"length": "3 minutes"})

    def change(self):
        for number in range(5):
            self.put(f"2026/{number:03}.jpg", 50_000 + number)
        self.put("2026/new.jpg", 70_000)
        self.s3.delete_object(Bucket="photos", Key="2026/010.jpg")

    def spoil(self):
        for number in range(20, 40):
            self.s3.delete_object(Bucket="photos", Key=f"2026/{number:03}.jpg")
        self.put("film.mp4", 10)

    def destroy(self):
        gateway.remove_bucket(self.s3, "photos")

    def remember(self):
        """As it is now, by rclone and, for what rclone does not ask for or cannot name, by boto3."""
        with open(self.sums, "w") as f:
            f.write(self.rclone.sums("tokyo:photos"))
        self.wanted = self.seen("tokyo")

    def seen(self, name):
        s3 = self.clients[name]
        return (self.rclone.listed(f"{name}:photos"), gateway.content(s3, "photos"),
                s3.get_bucket_cors(Bucket="photos")["CORSRules"])

    def check(self, name):
        """How many objects rclone and boto3 compared; an error where one differs."""
        self.rclone.check(self.sums, f"{name}:photos")
        seen = self.seen(name)
        if seen != self.wanted:
            sys.exit(f"the bucket restored at {name} DIFFERS from the second state")
        return len(seen[0]), len(seen[1])


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


def boot(clusters):
    gateway.in_threads(lambda cluster: cluster.start(rgw=True), clusters)


def demo(options, directory):
    a, b = Cluster(os.path.join(directory, "a"), "tokyo"), Cluster(os.path.join(directory, "b"), "osaka")
    pair = None
    try:
        step("boot two Ceph clusters with their gateways", lambda: boot((a, b)))
        if options.backend == "rados":
            b.create_pool("tidemark", app="tidemark")
        users = {c.name: gateway.user_with_caps(c, "demo") for c in (a, b)}
        pair = Pair(os.path.join(directory, "sites"), options.binary, a, b, backend=options.backend, s3=users)
        step("create certificates and the store, start an agent at each site",
             lambda: pair.setup().start())
        run(directory, pair, a, b, Photos(directory, users))
        if options.keep:
            print_keep(pair, a, b)
    finally:
        if not options.keep:
            if pair:
                pair.stop()
            for cluster in (a, b):
                cluster.destroy()


def run(directory, pair, a, b, photos):
    tree = os.path.join(directory, "tree")
    os.makedirs(tree)
    for name in ("perl", "python3", "doc", "cmake-3.25"):
        if os.path.isdir(f"/usr/share/{name}"):
            sh("sh", "-c", f"cp -r /usr/share/{name} {tree}/ 2>/dev/null || true")
    fs = FileSystem(directory, a)
    step("write an ext4 file system with real files into image rbd/vol", lambda: fs.make(tree))
    step(f"put photos into bucket photos, with odd keys and {LARGE_MIB} MiB in parts", photos.make)

    def take_points():
        return {point["asset"]: point for point in pair.backup(IMAGE, BUCKET)}
    points = [step("first points, of both", take_points)]
    note = os.path.join(directory, "note")
    with open(note, "w") as f:
        f.write("the state that we want back\n" * 1000)
    fs.change([f"write {note} note.txt", "mkdir accounts"])
    photos.change()
    wanted, wanted_files = digest(fs.path), mounted_files(fs.path)
    photos.remember()
    points.append(step("change files and objects, second points", take_points))
    fs.change(["rm note.txt", "rmdir accounts"])
    photos.spoil()
    points.append(step("delete some again, third points", take_points))
    for snapshot in a.rbd("snap", "ls", "rbd/vol", json=True):
        a.rbd("snap", "rm", f"rbd/vol@{snapshot['name']}")
    step("disaster: the image is destroyed", lambda: a.rbd("rm", "rbd/vol", "--no-progress"))
    step("disaster: the bucket is deleted with all it held", photos.destroy)
    restored = restore_image(directory, pair, points[1][IMAGE], wanted, wanted_files)
    restored += restore_bucket(pair, points[1][BUCKET], photos)
    verified = step("verify every point, reading all data",
                    lambda: pair.osaka.json("verify", "--read-data"))
    print_tables(pair, points, restored, verified)


def restore_image(directory, pair, point, wanted, wanted_files):
    reports = []
    for site in (pair.tokyo, pair.osaka):
        report = step(f"restore the image's middle point at {site.name}", lambda: site.json(
            "restore", "tokyo:" + IMAGE, "--point", point["id"], "--to", "rbd/vol-restored"))
        out = os.path.join(directory, f"{site.name}.img")
        site.cluster.rbd("export", "--no-progress", "rbd/vol-restored", out)
        if digest(out) != wanted:
            sys.exit(f"the image restored at {site.name} DIFFERS from the second state")
        reports.append((f"image, restore at {site.name}", report))
    print("  both restored images are identical to the second state, byte for byte")
    files = mounted_files(os.path.join(directory, "osaka.img"))
    if files is None or wanted_files is None:
        print("  (this kernel allows no loop mount: the file system was not mounted)")
    elif files != wanted_files or not any("note.txt" in line for line in files):
        sys.exit("the mounted file system DIFFERS")
    else:
        print(f"  mounted read-only: {len(files)} files, note.txt among them, all as they were")
    return reports


def restore_bucket(pair, point, photos):
    reports = []
    for site in (pair.tokyo, pair.osaka):
        report = step(f"restore the bucket's middle point at {site.name}", lambda: site.json(
            "restore", "tokyo:" + BUCKET, "--point", point["id"], "--to-bucket", "photos"))
        reports.append((f"bucket, restore at {site.name}", report))
    for site in (pair.tokyo, pair.osaka):
        by_rclone, by_boto = photos.check(site.name)
        print(f"  bucket at {site.name}: {by_rclone} objects downloaded and compared by rclone, {by_boto} by boto3,\n"
              "    with their types, metadata and tags: all as in the second state")
    return reports


def print_tables(pair, points, restored, verified):
    print()
    print(pair.osaka.run("points").text)
    print(f"  {'':34}{'changed':>12}{'shipped':>12}{'stored':>12}{'time':>9}")
    for what, asset in (("image", IMAGE), ("bucket", BUCKET)):
        for number, taken in zip(("first", "second", "third"), points):
            point = taken[asset]
            print(f"  {f'{what}, {number} point':34}{bytes_text(point['changed_bytes']):>12}"
                  f"{bytes_text(point['shipped_bytes']):>12}{bytes_text(point['stored_bytes']):>12}"
                  f"{point['duration_ms'] / 1000:>7.2f} s")
    print(f"  {'':34}{'written':>12}{'fetched':>12}{'objects':>12}{'time':>9}")
    for what, report in restored:
        fetched = bytes_text(report["fetched_bytes"]) if "fetched_bytes" in report else ""
        print(f"  {what:34}{bytes_text(report['written_bytes']):>12}{fetched:>12}"
              f"{report.get('objects_written', ''):>12}{report['duration_ms'] / 1000:>7.2f} s")
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
  The gateways, with the keys in {pair.tokyo.dir} and {pair.osaka.dir}:
    {a.rgw_endpoint} and {b.rgw_endpoint}
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
    parser.add_argument("--disaster", action="store_true",
                        help="lose a whole cluster, go on at the other site, and come back")
    parser.add_argument("--page", help="where the report of its drill is written (with --disaster)")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    if options.disaster and not options.page:
        handle, options.page = tempfile.mkstemp(prefix="tidemark-drill-", suffix=".html")
        os.close(handle)
    directory = tempfile.mkdtemp(prefix="tidemark-demo-")
    began = time.monotonic()
    try:
        if options.disaster:
            disaster(options, directory, step, wait_for)
        else:
            demo(options, directory)
        print(f"\n  done in {time.monotonic() - began:.0f} s")
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
