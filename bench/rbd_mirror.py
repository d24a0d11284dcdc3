"""Debian's rbd-mirror between two clusters of the lab: the images of one pool, one way, by snapshots.

The daemon reads the configuration of its own cluster from /etc/ceph/NAME.conf and from nowhere else: it
gets a mount namespace in which that is a directory of ours. What it follows it knows from its peer.
"""

import contextlib
import glob
import os
import subprocess

import rbd
from cluster import asok_command, wait_for
from measure import Failed

POOL = "rbd"
USER = "rbd-mirror"
# An image that is mirrored anew is picked up by the daemon's leader, which gathers such news for a second; the
# other intervals are those after which it looks again where a notice was lost, or where something did not
# work at first. They are short so that none of them is what is measured; syncs at a time is its default. A
# snapshot of an image that it knows is told to it by a watch at once.
OPTIONS = {"rbd_mirror_image_policy_update_throttle_interval": 0.1,
           "rbd_mirror_image_state_check_interval": 1,
           "rbd_mirror_pool_replayers_refresh_interval": 1,
           "rbd_mirror_leader_heartbeat_interval": 1,
           "rbd_mirror_delete_retry_interval": 1,
           "rbd_mirror_concurrent_image_syncs": 5}
SECONDS_MAX = 300


class RbdMirror:
    """`target` follows images of `source`. REQUIRES: root, for the mount namespace."""

    def __init__(self, source, target, directory):
        self.source, self.target, self.dir, self.daemon = source, target, directory, None
        self.log_path = os.path.join(directory, "daemon.log")

    @property
    def pid(self):
        return self.daemon.pid

    def start(self):
        os.makedirs(os.path.join(self.dir, "etc"))
        for cluster in (self.source, self.target):
            cluster.rbd("mirror", "pool", "enable", "--site-name", cluster.name, POOL, "image")
        token = os.path.join(self.dir, "token")
        with open(token, "w") as f:
            f.write(self.source.rbd("mirror", "pool", "peer", "bootstrap", "create", POOL))
        self.target.rbd("mirror", "pool", "peer", "bootstrap", "import", "--direction", "rx-only", POOL, token)
        os.unlink(token)
        self.target.create_user(USER, {"mon": "profile rbd-mirror", "osd": "profile rbd"})
        self.write_conf()
        with open(self.log_path, "ab") as log:
            # The shell and unshare become the daemon: the pid is its own.
            self.daemon = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/ceph && exec "$@"',
                 os.path.join(self.dir, "etc"), "rbd-mirror", "-f", "--cluster", self.target.name, "--id", USER],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self.env())
        # It tells the source of itself; until then a snapshot would be for nobody.
        self.wait("rbd-mirror to be known at the source", lambda: self.source.rbd(
            "mirror", "pool", "info", POOL, json=True)["peers"], interval=0.3)

    def env(self):
        return {key: value for key, value in self.target.env().items() if key != "CEPH_CONF"}

    def write_conf(self):
        with open(self.target.conf) as f:
            text = f.read()
        text += f"\n[client.{USER}]\nlog file = {self.dir}/$name.log\n"
        text += f"admin socket = {self.dir}/$cctid.asok\n"
        text += "".join(f"{key} = {value}\n" for key, value in OPTIONS.items())
        with open(os.path.join(self.dir, "etc", self.target.name + ".conf"), "w") as f:
            f.write(text)

    def stop(self):
        if self.daemon is None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.daemon = None

    # --- what it has done

    def wait(self, what, reached, interval=0.02):
        def check():
            if self.daemon.poll() is not None:
                with open(self.log_path, errors="replace") as log:
                    raise Failed(f"rbd-mirror ended: {log.read()[-3000:]}")
            return reached()
        return wait_for(what, check, SECONDS_MAX, interval)

    @staticmethod
    def mirror_snapshots(io, image):
        """Newest first; none where there is no such image."""
        with contextlib.suppress(rbd.ImageNotFound), rbd.Image(io, image, read_only=True) as opened:
            return [s["mirror"] for s in sorted(opened.list_snaps(), key=lambda s: -s["id"]) if "mirror" in s]
        return []

    @staticmethod
    def newest_primary(io, image):
        with rbd.Image(io, image, read_only=True) as opened:
            return max(s["id"] for s in opened.list_snaps()
                       if s.get("mirror", {}).get("state") == rbd.RBD_SNAP_MIRROR_STATE_PRIMARY)

    def has(self, io, image, primary):
        """Whether the copy of that snapshot of the source is complete. This is what the daemon writes at the
        end of a sync; what `rbd mirror image status` says of it comes later."""
        return any(s["primary_snap_id"] == primary and s["complete"]
                   for s in self.mirror_snapshots(io, image)
                   if s["state"] == rbd.RBD_SNAP_MIRROR_STATE_NON_PRIMARY)

    def counters(self):
        """What the daemon itself says of all its syncs so far: their number, how long they took, without what
        it waits for before them, and what it read for them."""
        for path in glob.glob(os.path.join(self.dir, "*.asok")):
            counters = (asok_command(path, "perf dump") or {}).get("rbd_mirror_snapshot")
            if counters:
                return {"syncs": counters["snapshots"], "seconds": counters["snapshots_time"]["sum"],
                        "bytes": counters["replay_bytes"]}
        return {"syncs": 0, "seconds": 0.0, "bytes": 0}
