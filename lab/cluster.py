"""Small, real Ceph clusters for tests and benchmarks: one mon, one mgr, one OSD, maybe one radosgw.

Why this exists.  A backup of RBD images can only be judged against a real
cluster: diffs, snapshots, exclusive locks and full disks have no useful
imitation.  Two sites need two clusters, so any number may run side by side,
each wholly below its own directory, bound to 127.0.0.1 and to its own ports.
Nothing reads or writes the system-wide Ceph directories.

Choices worth knowing:

* Keys are made here and handed to `ceph-mon --mkfs` in one keyring, so no
  `ceph auth` round trips are needed at boot.  cephx is always on.
* Every cluster owns a block of consecutive ports below the kernel's ephemeral
  range.  The block is chosen under a machine-wide lock, remembered in a
  registry and in the directory, and kept over restarts.
* Readiness is asked on the daemons' admin sockets, which cost a millisecond;
  each run of the `ceph` command costs a third of a second or more.
* Daemons run in the foreground mode of Ceph in a session of their own, with
  their output in log/NAME.out.  A pid counts as ours only while its command
  line names this cluster's ceph.conf, so a reused pid is never signalled.
* bluestore on a sparse file is what is booted unless memstore is asked for.
  memstore is up sooner, but keeps data in memory and saves it only in a clean
  stop: after a kill -9 its data is gone, and the cluster refuses to start until
  told to `recreate`.  Worse, it loses count of its space: after rounds of
  snapshots and removals a nearly empty one calls itself full, and writes hang.

Only the standard library is used, so the system's python3 can run it.
"""

import argparse
import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

import ports

DAEMONS = ("mon", "mgr", "osd", "rgw")
DEFAULT_OSD_BYTES = {"memstore": 12 << 30, "bluestore": 32 << 30}
# An OSD notices only after a second or so that it is full.  A fast writer would pass the end of
# the device in that time, and bluestore then aborts; so the device is larger than what may be used.
HEADROOM = 1 << 30
PORTS_PER_CLUSTER = 40
FIRST_PORT, LAST_PORT = 10000, 24000  # ports.py gives those above
UNIX_PATH_MAX = 107

# Everything below the cluster's directory that belongs to the lab.  cluster.json, which shows that
# the directory is the lab's, goes last, so that an interrupted removal can be repeated.
OWN_ENTRIES = ("ceph.conf", "mon", "mgr", "osd", "rgw", "keys", "log", "run",
               "crash", "tmp", "osd.started", "mon.pid", "mgr.pid", "osd.pid", "rgw.pid",
               "cluster.json")

# All manager modules but rbd_support.  Even those that are "always on" can be left out; it saves
# 100 MiB, a second of start-up and the pool that devicehealth would make.  The mgr then counts
# them as failed, so that one health check is muted when the cluster is created.
MGR_MODULES_OFF = ("alerts balancer crash devicehealth diskprediction_local influx insights iostat "
                   "localpool mirroring nfs orchestrator osd_perf_query osd_support pg_autoscaler "
                   "progress prometheus restful selftest snap_schedule stats status telegraf "
                   "telemetry test_orchestrator volumes zabbix")

CONF = """\
# Written by lab/cluster.py at every start; changes made here are lost.
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {dir}/keys/$name.keyring
run dir = {run}
crash dir = {dir}/crash
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr1 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd failsafe full ratio = 0.98
osd scrub min interval = 31536000
osd scrub max interval = 63072000
osd deep scrub interval = 63072000
rbd default pool = {rbd_pool}

[mon]
mon data = {dir}/mon
log file = {dir}/log/$name.log
admin socket = {run}/mon.asok
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000
mon data avail warn = 1
mon data avail crit = 0
mon osd full ratio = {full:.4f}
mon osd backfillfull ratio = {backfillfull:.4f}
mon osd nearfull ratio = {nearfull:.4f}
mon osd down out interval = 0
mon warn on osd down out interval zero = false
mon cluster log file = {dir}/log/cluster.log
mon election timeout = 1
paxos propose interval = 0.02
paxos min wait = 0.01
debug mon = 1/1
debug paxos = 0/0
debug rocksdb = 0/0
debug ms = 0/0

[mgr]
mgr data = {dir}/mgr
log file = {dir}/log/$name.log
admin socket = {run}/mgr.asok
public addr = 127.0.0.1
ms bind port min = {bind_min}
ms bind port max = {bind_max}
mgr initial modules =
mgr disabled modules = {mgr_modules_off}
mgr stats period = 1
mgr tick period = 1
debug mgr = 1/1
debug ms = 0/0

[osd]
osd data = {dir}/osd
osd journal =
log file = {dir}/log/$name.log
admin socket = {run}/osd.asok
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = {bind_min}
ms bind port max = {bind_max}
osd objectstore = {objectstore}
osd crush initial weight = 1
osd heartbeat interval = 1
osd snap trim sleep hdd = 0
osd snap trim sleep ssd = 0
osd snap trim sleep hybrid = 0
osd delete sleep hdd = 0
osd delete sleep ssd = 0
osd delete sleep hybrid = 0
osd pg max concurrent snap trims = 8
osd op num shards = 2
osd class update on start = false
memstore device bytes = {device_bytes}
bluestore block create = true
bluestore block size = {device_bytes}
bluestore cache autotune = false
bluestore cache size = 268435456
osd fast shutdown = {fast_shutdown}
debug osd = 0/1
debug bluestore = 0/0
debug bdev = 0/0
debug bluefs = 0/0
debug rocksdb = 0/0
debug ms = 0/0

[client.rgw]
rgw data = {dir}/rgw
log file = {dir}/log/$name.log
admin socket = {run}/rgw.asok
rgw frontends = beast endpoint=127.0.0.1:{rgw_port}
# Hosts below this one name buckets.
rgw dns name = localhost
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
rgw run sync thread = false
rgw gc obj min wait = 5
rgw gc processor period = 5
debug rgw = 1/1
debug ms = 0/0
"""


class LabError(Exception):
    """Anything a lab cluster could not do, with the reason."""


# --- small helpers ---------------------------------------------------------------------------

def parse_size(text):
    """'8G', '512M', '1048576' -> bytes."""
    text = str(text).strip().upper()
    if text.endswith("B"):
        text = text[:-1]
    if text.endswith("I"):
        text = text[:-1]
    for exponent, letter in enumerate("KMGT", 1):
        if text.endswith(letter):
            return int(float(text[:-1]) * 1024 ** exponent)
    return int(text)


def make_key():
    """A cephx secret: type 1, creation time, length, 16 random bytes, in base64."""
    raw = struct.pack("<hiih", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)
    return base64.b64encode(raw).decode()


def write_file(path, text, mode=0o644):
    """Replace a file as a whole, so that a reader never sees half of it."""
    temporary = "%s.new.%d" % (path, os.getpid())
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as out:
        out.write(text)
    os.replace(temporary, path)


def tail(path, lines=15):
    try:
        with open(path, errors="replace") as text:
            return "".join(text.readlines()[-lines:])
    except OSError:
        return ""


@contextlib.contextmanager
def file_lock(path):
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def wait_for(what, ready, timeout, interval=0.05):
    """Call ready() until it gives something true, and return that."""
    deadline = time.monotonic() + timeout
    while True:
        result = ready()
        if result:
            return result
        if time.monotonic() > deadline:
            raise LabError("%s: not within %.0f s" % (what, timeout))
        time.sleep(interval)


def asok_command(path, prefix):
    """Ask a daemon's admin socket; None while it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(path)
            sock.sendall(json.dumps({"prefix": prefix, "format": "json"}).encode() + b"\0")
            stream = sock.makefile("rb")
            (length,) = struct.unpack(">I", stream.read(4))
            return json.loads(stream.read(length))
    except (OSError, ValueError, struct.error):
        return None


# --- ports -----------------------------------------------------------------------------------

def _registry():
    return os.path.join(ports.registry_folder(), "ports.json")


def _load_registry(path):
    try:
        with open(path) as text:
            return json.load(text)
    except (OSError, ValueError):
        return {}


def _last_port():
    """Stay below the ephemeral range: there, any outgoing connection could sit on our port."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as text:
            return min(LAST_PORT, int(text.read().split()[0]) - 1)
    except (OSError, ValueError):
        return LAST_PORT


def reserve_ports(directory):
    """First port of a block that no other lab directory holds and nobody listens on."""
    path = _registry()
    with file_lock(path + ".lock"):
        held = {base: owner for base, owner in _load_registry(path).items()
                if os.path.isdir(owner) and owner != directory}
        for base in range(FIRST_PORT, _last_port() - PORTS_PER_CLUSTER, PORTS_PER_CLUSTER):
            block = range(base, base + PORTS_PER_CLUSTER)
            if str(base) not in held and all(ports.is_free(port) for port in block):
                held[str(base)] = directory
                write_file(path, json.dumps(held, indent=1))
                return base
    raise LabError("no free block of %d ports" % PORTS_PER_CLUSTER)


def release_ports(directory):
    path = _registry()
    with file_lock(path + ".lock"):
        held = {base: owner for base, owner in _load_registry(path).items() if owner != directory}
        write_file(path, json.dumps(held, indent=1))


# --- the cluster -----------------------------------------------------------------------------

class Cluster:
    """One cluster below one directory.  The object holds no truth: another process may make
    its own Cluster of the same directory and see and do the same."""

    def __init__(self, dir, name=None):
        self.dir = os.path.realpath(dir)
        if set(self.dir) & set(" \t\n\"'#;$[]="):
            raise LabError("the directory's path has characters ceph.conf cannot hold: " + self.dir)
        self.conf = os.path.join(self.dir, "ceph.conf")
        self._children = {}
        self._state = {}
        self._load_state()
        if name:
            self._state["name"] = name
        self.name = self._state.setdefault("name", os.path.basename(self.dir))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # -- state

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def _load_state(self):
        try:
            with open(self.path("cluster.json")) as text:
                self._state = json.load(text)
        except FileNotFoundError:
            pass

    def _save_state(self):
        write_file(self.path("cluster.json"), json.dumps(self._state, indent=1) + "\n", 0o600)

    @contextlib.contextmanager
    def _locked(self):
        os.makedirs(self.dir, exist_ok=True)
        with file_lock(self.path(".lab.lock")):
            self._load_state()
            yield

    def _is_lab(self):
        return os.path.exists(self.path("cluster.json"))

    @property
    def created(self):
        return bool(self._state.get("created"))

    @property
    def mon_port(self):
        return self._state["base_port"]

    @property
    def rgw_port(self):
        return self._state["base_port"] + 1

    @property
    def mon_host(self):
        return "v2:127.0.0.1:%d" % self.mon_port

    @property
    def rgw_endpoint(self):
        return "http://127.0.0.1:%d" % self.rgw_port if self._state.get("rgw") else None

    @property
    def daemons(self):
        return DAEMONS if self._state.get("rgw") else DAEMONS[:3]

    # -- start

    def start(self, rgw=False, objectstore=None, osd_bytes=None, rbd_pool=None, extra_conf=None,
              recreate=False, timeout=180):
        """Create the cluster if need be and bring every daemon up; returns self when ready.

        None means: as it was created, or bluestore, its default size, pool "rbd".
        extra_conf is text appended to ceph.conf, sections and all.
        recreate throws away a memstore cluster whose data a kill has lost."""
        self._refuse_foreign()
        with self._locked():
            if self.created and self._memstore_lost():
                if not recreate:
                    raise LabError("%s: memstore lost its data as its OSD was not stopped cleanly; "
                                   "start with recreate=True (up --recreate)" % self.dir)
                self._wipe(keep_ports=True)
            if not self.created:
                self._wipe(keep_ports=True)
                self._choose(objectstore, osd_bytes, rbd_pool)
            self._check_same(objectstore, osd_bytes, rbd_pool)
            if extra_conf is not None:
                self._state["extra_conf"] = extra_conf
            self._state["rgw"] = bool(rgw or self._state.get("rgw"))
            self._write_conf()
            self._save_state()
            self._boot(timeout)
        return self

    def _refuse_foreign(self):
        """What the lab would wipe on the way to a fresh cluster must be the lab's."""
        if not self._is_lab():
            strange = [entry for entry in OWN_ENTRIES if os.path.lexists(self.path(entry))]
            if strange:
                raise LabError("%s has %s but no cluster.json: not a directory of the lab"
                               % (self.dir, ", ".join(strange)))

    def _choose(self, objectstore, osd_bytes, rbd_pool):
        objectstore = objectstore or "bluestore"
        if objectstore not in DEFAULT_OSD_BYTES:
            raise LabError("objectstore is memstore or bluestore, not %s" % objectstore)
        base = self._state.get("base_port") or reserve_ports(self.dir)
        self._state = {"name": self.name, "base_port": base, "objectstore": objectstore,
                       "osd_bytes": parse_size(osd_bytes or DEFAULT_OSD_BYTES[objectstore]),
                       "rbd_pool": rbd_pool or "rbd", "fsid": str(uuid.uuid4()),
                       "osd_uuid": str(uuid.uuid4()), "s3": {}}
        self._save_state()

    def _check_same(self, objectstore, osd_bytes, rbd_pool):
        wanted = {"objectstore": objectstore, "rbd_pool": rbd_pool,
                  "osd_bytes": parse_size(osd_bytes) if osd_bytes else None}
        for key, value in wanted.items():
            if value is not None and value != self._state[key]:
                raise LabError("%s was created with %s = %s, not %s"
                               % (self.dir, key, self._state[key], value))

    def _memstore_lost(self):
        """memstore writes the file osd/collections at the very end of a clean stop."""
        if self._state["objectstore"] != "memstore" or self.pid("osd"):
            return False
        try:
            started = os.stat(self.path("osd.started")).st_mtime_ns
        except FileNotFoundError:
            return False
        try:
            return os.stat(self.path("osd", "collections")).st_mtime_ns < started
        except FileNotFoundError:
            return True

    def _run_dir(self):
        """Where the admin sockets go: below the directory unless that path is too long."""
        own = self.path("run")
        if len(own) + len("/client.rgw.asok") < UNIX_PATH_MAX:
            return own
        run = self._state.get("run_dir")
        if not run or not os.path.isdir(run):
            run = tempfile.mkdtemp(prefix="ceph-lab-", dir="/tmp")
            self._state["run_dir"] = run
        return run

    def _write_conf(self):
        for folder in ("keys", "log", "run", "crash", "tmp"):
            os.makedirs(self.path(folder), exist_ok=True)
        base, state = self._state["base_port"], self._state
        device_bytes = state["osd_bytes"] + HEADROOM
        full = state["osd_bytes"] / device_bytes
        text = CONF.format(
            dir=self.dir, run=self._run_dir(), fsid=state["fsid"], mon_port=base, rgw_port=base + 1,
            bind_min=base + 2, bind_max=base + PORTS_PER_CLUSTER - 1, rbd_pool=state["rbd_pool"],
            objectstore=state["objectstore"], device_bytes=device_bytes, full=full,
            backfillfull=full - 0.01, nearfull=full - 0.02,
            mgr_modules_off=MGR_MODULES_OFF,
            fast_shutdown="false" if state["objectstore"] == "memstore" else "true")
        if state.get("extra_conf"):
            text += "\n" + state["extra_conf"].strip() + "\n"
        write_file(self.conf, text)

    def _boot(self, timeout):
        deadline = time.monotonic() + timeout
        osd_mkfs = None
        if not self.created:
            self._make_keyrings()
            osd_mkfs = self._spawn_osd_mkfs()
            self._mon_mkfs()
        self._spawn("mon")
        self._wait_mon(deadline)
        self._spawn("mgr")
        if osd_mkfs:
            self.ceph("osd", "new", self._state["osd_uuid"], "0", json=False)
            if osd_mkfs.wait():
                raise LabError("ceph-osd --mkfs failed:\n" + tail(self.path("log", "osd-mkfs.out")))
        self._spawn("osd")
        if not self.created:
            self.ceph("health", "mute", "MGR_MODULE_ERROR", "--sticky", json=False)
            self.ceph("osd", "pool", "create", self._state["rbd_pool"], "16", json=False)
        self._wait_osd(deadline)
        if not self.created:
            self.rbd("pool", "init", self._state["rbd_pool"])
            self._state["created"] = True
            self._save_state()
        if self._state["rgw"]:
            self._spawn("rgw")
            self._wait_rgw(deadline)
        self.wait_healthy(max(5, deadline - time.monotonic()))

    def _mon_mkfs(self):
        """With a map of our own: without it the mon would settle on the default ports."""
        monmap = self.path("tmp", "monmap")
        self._run("monmaptool", "--create", "--clobber", "--fsid", self._state["fsid"],
                  "--addv", "a", "[%s]" % self.mon_host, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--fsid", self._state["fsid"],
                  "--monmap", monmap, "--keyring", self.path("keys", "initial.keyring"))

    def _make_keyrings(self):
        everything = "".join([
            self._keyring("mon.", {"mon": "allow *"}),
            self._keyring("client.admin", {who: "allow *" for who in ("mon", "mgr", "osd", "mds")}),
            self._keyring("mgr.x", {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"}),
            self._keyring("osd.0", {"mon": "allow profile osd", "mgr": "allow profile osd",
                                    "osd": "allow *"}),
            self._keyring("client.rgw", {"mon": "allow rw", "mgr": "allow rw", "osd": "allow rwx"}),
        ])
        write_file(self.path("keys", "initial.keyring"), everything, 0o600)

    def _keyring(self, entity, caps):
        """Write one entity's own keyring and return its text with the capabilities."""
        text = "[%s]\n\tkey = %s\n" % (entity, make_key())
        if entity != "mon.":
            write_file(self.path("keys", entity + ".keyring"), text, 0o600)
        return text + "".join('\tcaps %s = "%s"\n' % item for item in caps.items())

    def _spawn_osd_mkfs(self):
        os.makedirs(self.path("osd"), exist_ok=True)
        with open(self.path("log", "osd-mkfs.out"), "ab") as out:
            return subprocess.Popen(
                self.cmd("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", self._state["osd_uuid"],
                         "--no-mon-config"),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env())

    # -- daemons

    def _argv(self, daemon):
        who = {"mon": ("ceph-mon", "-i", "a"), "mgr": ("ceph-mgr", "-i", "x"),
               "osd": ("ceph-osd", "-i", "0"), "rgw": ("radosgw", "-n", "client.rgw")}[daemon]
        return self.cmd(*who, "-f")

    def _spawn(self, daemon):
        """Start a daemon unless it runs; returns its pid without waiting for readiness."""
        if self.pid(daemon):
            return self.pid(daemon)
        os.makedirs(self.path(daemon), exist_ok=True)
        if daemon == "osd":
            write_file(self.path("osd.started"), "")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._asok(daemon))
        with open(self.path("log", daemon + ".out"), "ab") as out:
            child = subprocess.Popen(self._argv(daemon), stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=out, start_new_session=True, cwd=self.dir,
                                     env=self.env())
        self._children[daemon] = child
        write_file(self.path(daemon + ".pid"), "%d\n" % child.pid)
        return child.pid

    def _asok(self, daemon):
        return os.path.join(self._run_dir(), daemon + ".asok")

    def pid(self, daemon):
        """The pid of a running daemon of this cluster, or None."""
        child = self._children.get(daemon)
        if child is not None:
            child.poll()  # reaps our own child if it ended
        try:
            with open(self.path(daemon + ".pid")) as text:
                pid = int(text.read())
            if child is not None and child.pid == pid:  # right after exec, cmdline is still empty
                return pid if child.returncode is None else None
            with open("/proc/%d/cmdline" % pid, "rb") as text:
                return pid if self.conf.encode() in text.read().split(b"\0") else None
        except (OSError, ValueError):
            return None

    def running(self):
        """{daemon: pid} of what runs."""
        return {daemon: self.pid(daemon) for daemon in DAEMONS if self.pid(daemon)}

    def start_daemon(self, daemon, wait=True, timeout=180):
        """Start one stopped or killed daemon and wait until it serves."""
        if daemon == "osd" and self._memstore_lost():
            raise LabError("%s: memstore lost its data; start(recreate=True)" % self.dir)
        pid = self._spawn(daemon)
        if wait:
            waits = {"mon": self._wait_mon, "mgr": self._wait_mgr, "osd": self._wait_osd,
                     "rgw": self._wait_rgw}
            waits[daemon](time.monotonic() + timeout)
        return pid

    def kill(self, daemon, sig=signal.SIGKILL, timeout=180):
        """Signal one daemon.  SIGKILL and SIGTERM return once it is gone (SIGSTOP, SIGCONT and
        others at once).  Returns False if it did not run."""
        pid = self.pid(daemon)
        if not pid:
            return False
        self._signal(pid, sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            wait_for("%s to end" % daemon, lambda: not self.pid(daemon), timeout, 0.02)
        return True

    def kill_all(self, sig=signal.SIGKILL):
        """The power cut: every daemon gets the signal before any is waited for."""
        for pid in self.running().values():
            self._signal(pid, sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            wait_for("the daemons to end", lambda: not self.running(), 180, 0.02)

    @staticmethod
    def _signal(pid, sig):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)

    def kill_osd(self, sig=signal.SIGKILL):
        return self.kill("osd", sig)

    def start_osd(self, **options):
        return self.start_daemon("osd", **options)

    def kill_mon(self, sig=signal.SIGKILL):
        return self.kill("mon", sig)

    def start_mon(self, **options):
        return self.start_daemon("mon", **options)

    def kill_mgr(self, sig=signal.SIGKILL):
        return self.kill("mgr", sig)

    def start_mgr(self, **options):
        return self.start_daemon("mgr", **options)

    def stop(self, timeout=180):
        """End every daemon, cleanly if it can within timeout seconds, else with SIGKILL.
        The OSD ends while the mon still answers, the mon last.  Stopping twice is fine."""
        if not self._is_lab():
            return
        with self._locked():
            for group in (("rgw", "mgr"), ("osd",), ("mon",)):
                self._stop_group(group, timeout)
            run = self._state.get("run_dir")
            if run:
                shutil.rmtree(run, ignore_errors=True)

    def _stop_group(self, group, timeout):
        running = [daemon for daemon in group if self.pid(daemon)]
        for daemon in running:
            self.kill(daemon, signal.SIGCONT)  # a stopped one would not see the SIGTERM
            self._signal(self.pid(daemon), signal.SIGTERM)
        for daemon in running:
            # Only the OSD has data to save; the others keep nothing that a kill could lose.
            bound = timeout if daemon == "osd" else min(timeout, 10)
            try:
                wait_for(daemon, lambda: not self.pid(daemon), bound, 0.02)
            except LabError:
                self.kill(daemon)
        for daemon in group:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(daemon + ".pid"))

    def destroy(self):
        """Kill everything, remove all that the lab put into the directory, free the ports."""
        if not self._is_lab():
            return
        with self._locked():
            self.kill_all()
            self._wipe(keep_ports=False)
            release_ports(self.dir)
        with contextlib.suppress(OSError):
            os.unlink(self.path(".lab.lock"))
            os.rmdir(self.dir)

    def _wipe(self, keep_ports):
        """Remove the lab's own entries, never anything else somebody put next to them."""
        self.kill_all()
        base = self._state.get("base_port") if keep_ports else None
        for entry in OWN_ENTRIES:
            path = self.path(entry)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
        if self._state.get("run_dir"):
            shutil.rmtree(self._state["run_dir"], ignore_errors=True)
        self._state = {"name": self.name}
        if base:
            self._state["base_port"] = base

    # -- readiness

    def _died(self, daemon):
        if not self.pid(daemon):
            raise LabError("%s of %s ended:\n%s" % (daemon, self.dir,
                                                    tail(self.path("log", daemon + ".out"))))

    def _wait(self, daemon, ready, deadline, interval=0.05):
        def check():
            self._died(daemon)
            return ready()
        wait_for("%s of %s to be ready" % (daemon, self.dir), check,
                 max(1, deadline - time.monotonic()), interval)

    def _wait_mon(self, deadline):
        def leads():
            answer = asok_command(self._asok("mon"), "mon_status")
            return answer and answer.get("state") == "leader"
        self._wait("mon", leads, deadline)

    def _wait_osd(self, deadline):
        def active():
            answer = asok_command(self._asok("osd"), "status")
            return answer and answer.get("state") == "active"
        self._wait("osd", active, deadline)

    def _wait_mgr(self, deadline):
        self._wait("mgr", self._mgr_active, deadline)

    def _wait_rgw(self, deadline):
        def answers():
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.rgw_port)) == 0
        self._wait("rgw", answers, deadline)

    def _mgr_active(self):
        """Asked of the mgr itself: for a while the mon still takes a killed one for available."""
        answer = asok_command(self._asok("mgr"), "mgr_status")
        return bool(answer and answer.get("initialized"))

    def wait_healthy(self, timeout=60):
        """Wait for HEALTH_OK, an available mgr and all PGs active+clean; returns `ceph status`."""
        last = {}

        def healthy():
            last.update(self.ceph("status", timeout=timeout))
            pgs = last["pgmap"]
            clean = sum(state["count"] for state in pgs.get("pgs_by_state", ())
                        if state["state_name"] == "active+clean")
            return (last["health"]["status"] == "HEALTH_OK" and last["mgrmap"].get("available")
                    and self._mgr_active() and clean == pgs["num_pgs"] > 0)
        try:
            wait_for("health", healthy, timeout, 0.2)
        except LabError:
            raise LabError("%s is not healthy after %.0f s: %s %s" % (
                self.dir, timeout, json.dumps(last.get("health")), json.dumps(last.get("pgmap"))))
        return last

    # -- commands

    def env(self):
        """The environment for Ceph programs: the caller's, less what could lead them astray."""
        drop = ("CEPH_ARGS", "CEPH_KEYRING", "CEPH_LIB", "PYTHONPATH", "PYTHONHOME")
        env = {key: value for key, value in os.environ.items() if key not in drop}
        env["CEPH_CONF"] = self.conf
        return env

    def cmd(self, program, *args):
        """The argument list of a Ceph program bound to this cluster, for one's own Popen."""
        return [program, "-c", self.conf] + [str(arg) for arg in args]

    def _run(self, program, *args, timeout=120, input=None, text=True):
        argv = self.cmd(program, *args)
        feed = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        try:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=self.env(), timeout=timeout, universal_newlines=text, **feed)
        except subprocess.TimeoutExpired:
            raise LabError("no end after %.0f s: %s" % (timeout, " ".join(argv)))
        if done.returncode:
            errors = done.stderr if text else done.stderr.decode(errors="replace")
            raise LabError("%s: exit %d: %s" % (" ".join(argv), done.returncode, errors.strip()))
        return done.stdout

    def ceph(self, *args, json=True, timeout=60, input=None):
        """`ceph ARGS`; the parsed JSON answer, or its text with json=False."""
        if not json:
            return self._run("ceph", *args, timeout=timeout, input=input)
        out = self._run("ceph", "--format", "json", *args, timeout=timeout, input=input).strip()
        return _parse_json(out) if out else None

    def rbd(self, *args, json=False, timeout=600, input=None, text=True):
        """`rbd ARGS`; its output as text (bytes with text=False, parsed with json=True)."""
        if json:
            return _parse_json(self._run("rbd", *args, "--format", "json", timeout=timeout))
        return self._run("rbd", *args, timeout=timeout, input=input, text=text)

    def rados(self, *args, timeout=600, input=None, text=True):
        return self._run("rados", *args, timeout=timeout, input=input, text=text)

    def radosgw_admin(self, *args, json=True, timeout=60):
        """`radosgw-admin ARGS`, the parsed JSON answer or None; its text with json=False."""
        out = self._run("radosgw-admin", *args, timeout=timeout).strip()
        return out if not json else _parse_json(out) if out else None

    def create_pool(self, name, app="rbd", pg_num=16):
        """A replicated pool of one copy, ready for use by app."""
        self.ceph("osd", "pool", "create", name, pg_num, json=False)
        if app == "rbd":
            self.rbd("pool", "init", name)
        else:
            self.ceph("osd", "pool", "application", "enable", name, app, json=False)

    def create_user(self, name, caps):
        """Make client.NAME, or give it these caps: {"mon": "profile rbd", "osd": ...}.
        Returns its keyring's path; `--id NAME` alone also finds it."""
        entity = name if name.startswith("client.") else "client." + name
        pairs = [word for item in caps.items() for word in item]
        try:
            text = self.ceph("auth", "get-or-create", entity, *pairs, json=False)
        except LabError:  # it exists with other caps
            self.ceph("auth", "caps", entity, *pairs, json=False)
            text = self.ceph("auth", "get-or-create", entity, json=False)
        path = self.path("keys", entity + ".keyring")
        write_file(path, text.strip() + "\n", 0o600)
        return path

    def create_s3_user(self, uid="lab"):
        """An S3 user of this cluster's radosgw; the same keys again if it exists."""
        if not self._state.get("rgw"):
            raise LabError("%s has no radosgw: start(rgw=True)" % self.dir)
        with self._locked():
            known = self._state["s3"].get(uid)
            if not known:
                known = {"access_key": secrets.token_hex(10).upper(),
                         "secret_key": secrets.token_hex(20)}
                self.radosgw_admin("user", "create", "--uid", uid, "--display-name", uid,
                                   "--access-key", known["access_key"],
                                   "--secret-key", known["secret_key"])
                self._state["s3"][uid] = known
                self._save_state()
        return dict(known, uid=uid, endpoint=self.rgw_endpoint)

    def log_bucket_changes(self, on=True):
        """Let radosgw log the changes of bucket indexes, which it does by itself only where another
        zone follows.  The radosgw is started again, unless it does so already."""
        group, wanted = self.radosgw_admin("zonegroup", "get"), "true" if on else "false"
        if all(zone["log_data"] == wanted for zone in group["zones"]):
            return
        for zone in group["zones"]:
            zone["log_data"] = wanted
        path = self.path("rgw", "zonegroup.json")
        write_file(path, json.dumps(group))
        self.radosgw_admin("zonegroup", "set", "--infile", path)
        self.kill("rgw", signal.SIGTERM)
        self.start_daemon("rgw")

    def status(self):
        """What runs and how it fares, without failing if nothing does."""
        info = {"name": self.name, "dir": self.dir, "created": self.created,
                "daemons": {daemon: self.pid(daemon) for daemon in self.daemons}}
        if self.created:
            info.update(objectstore=self._state["objectstore"], osd_bytes=self._state["osd_bytes"],
                        mon_host=self.mon_host, rgw=self.rgw_endpoint, conf=self.conf,
                        memstore_lost=self._memstore_lost())
        info["health"] = "down"
        if info["daemons"]["mon"]:
            try:
                info["health"] = self.ceph("health", timeout=15)["status"]
            except LabError as error:
                info["health"] = "no answer: %s" % error
        return info

    def env_lines(self):
        """Shell lines that point Ceph tools and S3 clients at this cluster."""
        lines = ["export CEPH_CONF=%s" % self.conf]
        if self.rgw_endpoint:
            lines.append("export RGW_ENDPOINT=%s" % self.rgw_endpoint)
            lines.append("export AWS_ENDPOINT_URL=%s" % self.rgw_endpoint)
        for keys in list(self._state.get("s3", {}).values())[:1]:
            lines.append("export AWS_ACCESS_KEY_ID=%s" % keys["access_key"])
            lines.append("export AWS_SECRET_ACCESS_KEY=%s" % keys["secret_key"])
        return lines


_parse_json = json.loads  # some methods have a parameter called json


# --- command line ----------------------------------------------------------------------------

def _command_up(args):
    began = time.monotonic()
    cluster = Cluster(args.dir, args.name)
    cluster.start(rgw=args.rgw, objectstore=args.objectstore, osd_bytes=args.osd_bytes,
                  rbd_pool=args.rbd_pool, recreate=args.recreate)
    if args.rgw:
        cluster.create_s3_user()
    print("%s: ready in %.1f s, %s" % (cluster.dir, time.monotonic() - began, cluster.conf))
    return 0


def _command_down(args):
    cluster = Cluster(args.dir)
    cluster.destroy() if args.purge else cluster.stop()
    return 0


def _command_status(args):
    info = Cluster(args.dir).status()
    print(json.dumps(info, indent=1))
    return 0 if all(info["daemons"].values()) and info["health"] == "HEALTH_OK" else 1


def _command_env(args):
    cluster = Cluster(args.dir)
    if not cluster.created:
        raise LabError("no cluster in %s" % cluster.dir)
    print("\n".join(cluster.env_lines()))
    return 0


def _command_s3_user(args):
    print(json.dumps(Cluster(args.dir).create_s3_user(args.uid), indent=1))
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="cluster", description="small real Ceph clusters")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name, function, about):
        command = commands.add_parser(name, help=about)
        command.add_argument("dir", help="the cluster's directory")
        command.set_defaults(function=function)
        return command

    up = add("up", _command_up, "create if need be, start, wait until ready")
    up.add_argument("--name")
    up.add_argument("--rgw", action="store_true", help="also a radosgw, with an S3 user 'lab'")
    up.add_argument("--objectstore", choices=sorted(DEFAULT_OSD_BYTES))
    up.add_argument("--osd-bytes", help="such as 8G")
    up.add_argument("--rbd-pool")
    up.add_argument("--recreate", action="store_true",
                    help="start empty if a kill made memstore lose its data")
    down = add("down", _command_down, "stop; the data stays")
    down.add_argument("--purge", action="store_true", help="kill and remove everything")
    add("status", _command_status, "JSON; exit 0 only if all run and are healthy")
    add("env", _command_env, "export lines for a shell")
    user = add("s3-user", _command_s3_user, "make or show an S3 user")
    user.add_argument("uid", nargs="?", default="lab")
    return parser


def main(argv=None):
    args = _parser().parse_args(argv)
    try:
        return args.function(args)
    except LabError as error:
        print("cluster: %s" % error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
