#!/usr/bin/env python3
"""Self-test of the lab: boots two real clusters side by side and treats them badly.

`site-a` is memstore with a radosgw, `site-b` is bluestore in a directory too long for unix
sockets.  Prints what each step took; exits 1 if anything was not as it should be.
"""

import concurrent.futures
import datetime
import hashlib
import hmac
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

from cluster import Cluster, LabError  # noqa: E402

SYSTEM_FOLDERS = ("/etc/ceph", "/var/lib/ceph", "/var/run/ceph", "/var/log/ceph")
BEGAN = time.monotonic()


def step(label, function, *args, **options):
    """Run one step and print its duration."""
    began = time.monotonic()
    result = function(*args, **options)
    print("%6.2f s  %-58s (at %5.1f s)" % (time.monotonic() - began, label,
                                           time.monotonic() - BEGAN), flush=True)
    return result


def fails(function, *args, **options):
    """The LabError that function must raise."""
    try:
        function(*args, **options)
    except LabError as error:
        return str(error)
    raise AssertionError("no error from %s" % function)


def system_listing():
    """Name and change time of all that is in the machine's own Ceph directories."""
    found = []
    for folder in SYSTEM_FOLDERS:
        for parent, folders, files in os.walk(folder):
            for name in folders + files:
                path = os.path.join(parent, name)
                found.append((path, os.lstat(path).st_mtime_ns))
    return sorted(found)


def processes_naming(text):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open("/proc/%s/cmdline" % entry, "rb") as cmdline:
                    if text.encode() in cmdline.read():
                        found.append(int(entry))
            except OSError:
                pass
    return found


def listening_elsewhere(pids):
    """Listening TCP sockets of these processes that are not on 127.0.0.1."""
    out = subprocess.run(["ss", "-ltnpH"], stdout=subprocess.PIPE, universal_newlines=True).stdout
    return [line for line in out.splitlines()
            if any("pid=%d," % pid in line for pid in pids) and " 127.0.0.1:" not in line]


# --- the smallest S3 client ------------------------------------------------------------------

def s3(user, method, path, body=b""):
    """One request signed with AWS signature 4; returns (status, body)."""
    host = user["endpoint"].split("//")[1]
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = "\n".join([method, path, "", "host:" + host, "x-amz-content-sha256:" + digest,
                           "x-amz-date:" + now, "", names, digest])
    scope = "%s/us-east-1/s3/aws4_request" % now[:8]
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + user["secret_key"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(user["endpoint"] + path, method=method, data=body or None)
    request.add_header("x-amz-date", now)
    request.add_header("x-amz-content-sha256", digest)
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, "
                       "Signature=%s" % (user["access_key"], scope, names, signature))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# --- the steps -------------------------------------------------------------------------------

def boot_both(site_a, site_b):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [pool.submit(step, "up memstore + radosgw", site_a.start, rgw=True,
                            osd_bytes="2G"),
                pool.submit(step, "up bluestore", site_b.start, objectstore="bluestore",
                            osd_bytes="4G")]
        for job in jobs:
            job.result()


def check_image(cluster):
    """Import, snapshot, overwrite, export: the snapshot still has the imported bytes."""
    data = os.urandom(1 << 20) * 24
    cluster.rbd("import", "--no-progress", "-", "vm", input=data, text=False)
    cluster.rbd("snap", "create", "--no-progress", "vm@one")
    cluster.rbd("bench", "vm", "--io-type", "write", "--io-size", "64K", "--io-total", "16M",
                "--io-pattern", "rand")
    assert cluster.rbd("export", "--no-progress", "vm@one", "-", text=False) == data
    head = cluster.rbd("export", "--no-progress", "vm", "-", text=False)
    assert head != data and len(head) == len(data)
    return hashlib.sha256(head).hexdigest()


def head_digest(cluster):
    return hashlib.sha256(cluster.rbd("export", "--no-progress", "vm", "-",
                                      text=False)).hexdigest()


def check_user(cluster):
    """A user of one pool can list that pool, with its keyring found by --id, and no other."""
    keyring = cluster.create_user("reader", {"mon": "profile rbd", "osd": "profile rbd pool=rbd"})
    assert os.stat(keyring).st_mode & 0o077 == 0
    assert cluster.rbd("--id", "reader", "ls").split() == ["vm"]
    assert "not permitted" in fails(cluster.rbd, "--id", "reader", "ls", "other")
    assert cluster.create_user("reader", {"mon": "profile rbd", "osd": "profile rbd"}) == keyring
    assert cluster.rbd("--id", "reader", "ls", "other") == ""


def check_s3(cluster):
    user = cluster.create_s3_user("tester")
    assert cluster.create_s3_user("tester") == user
    assert s3(user, "PUT", "/box")[0] == 200
    data = os.urandom(3 << 20)
    assert s3(user, "PUT", "/box/thing", data)[0] == 200
    assert s3(user, "GET", "/box/thing") == (200, data)
    assert s3(dict(user, secret_key="wrong"), "GET", "/box/thing")[0] == 403


def check_osd_kill(cluster, digest):
    """While the OSD is gone reads hang; afterwards the data is what it was."""
    assert cluster.kill_osd()
    assert cluster.pid("osd") is None
    assert "no end after" in fails(cluster.rados, "-p", "rbd", "stat", "rbd_info", timeout=2)
    cluster.start_osd()
    assert head_digest(cluster) == digest


def check_power_cut(cluster, digest):
    cluster.kill_all(signal.SIGKILL)
    assert not cluster.running()
    cluster.start()
    assert head_digest(cluster) == digest


def check_memstore(cluster, digest):
    """A clean stop keeps the data; after a kill the cluster says so and can be made anew."""
    port = cluster.mon_port
    cluster.stop()
    cluster.start()
    assert head_digest(cluster) == digest
    cluster.kill_osd()
    assert "lost its data" in fails(cluster.start)
    cluster.start(recreate=True)
    assert cluster.rbd("ls") == "" and cluster.mon_port == port


def check_command_line(cluster):
    """The command line sees the same cluster from another process."""
    program = os.path.join(HERE, "cluster")

    def run(*args):
        return subprocess.run([sys.executable, program] + list(args), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
    assert run("status", cluster.dir).returncode == 0
    assert run("up", cluster.dir).returncode == 0
    assert "export CEPH_CONF=%s\n" % cluster.conf in run("env", cluster.dir).stdout
    assert run("down", cluster.dir).returncode == 0
    assert run("down", cluster.dir).returncode == 0
    assert run("status", cluster.dir).returncode == 1
    assert not cluster.running()


def check_foreign_directory(folder):
    """A directory with things of somebody else is left as it is."""
    os.makedirs(os.path.join(folder, "log"))
    assert "not a directory of the lab" in fails(Cluster(folder).start)
    Cluster(folder).destroy()
    assert os.listdir(folder) == ["log"]


def run_all(top):
    site_a = Cluster(os.path.join(top, "a"), name="site-a")
    site_b = Cluster(os.path.join(top, "b" + "-long" * 20), name="site-b")
    try:
        boot_both(site_a, site_b)
        pids = list(site_a.running().values()) + list(site_b.running().values())
        assert len(pids) == 7 and not listening_elsewhere(pids)
        digest_a = step("image on memstore", check_image, site_a)
        digest_b = step("image on bluestore", check_image, site_b)
        step("create a pool", site_a.create_pool, "other")
        step("user with caps", check_user, site_a)
        step("S3", check_s3, site_a)
        step("bluestore: kill -9 of the OSD", check_osd_kill, site_b, digest_b)
        step("bluestore: kill -9 of everything", check_power_cut, site_b, digest_b)
        step("memstore: clean stop, then a kill", check_memstore, site_a, digest_a)
        step("command line", check_command_line, site_b)
        step("foreign directory", check_foreign_directory, os.path.join(top, "foreign"))
    finally:
        step("stop", lambda: (site_a.stop(), site_b.stop()))
        left = processes_naming(top)
        step("destroy", lambda: (site_a.destroy(), site_b.destroy()))
    assert not left, left
    assert os.listdir(top) == ["foreign"], os.listdir(top)


def main():
    before = system_listing()
    top = tempfile.mkdtemp(prefix="lab-test-")
    try:
        run_all(top)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    assert system_listing() == before, "the machine's own Ceph directories changed"
    print("all good in %.1f s" % (time.monotonic() - BEGAN))


if __name__ == "__main__":
    main()
