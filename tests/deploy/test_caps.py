#!/usr/bin/env python3
"""The caps that deploy/ceph gives are enough for the whole path, and for no more, on a real cluster.

With the ceph.conf of the overlays, which names each user's key by `keyfile`.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import kustomize

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "lab"))
from cluster import Cluster  # noqa: E402 pylint: disable=wrong-import-position

BINARY = os.environ.get("TM_BINARY", str(ROOT / "build/agent/tidemark"))
CLUSTERS = pathlib.Path(os.environ.get("TM_CLUSTERS", ROOT / "build/clusters"))
MIB = 1 << 20
# Pools of this test's own, in place of those that the manifests name.
POOLS = {"replicapool": "caps_volumes", "tidemark": "caps_store"}
CONFIG = """site: tokyo
state: {top}/state
ceph: {{ conf: {top}/ceph.conf, user: tidemark }}
store:
  backend: {{ type: rados, pool: caps_store, ceph_user: tidemark-store }}
  key_file: {top}/store.key
policies: {{ hourly: {{ assets: [ "rbd/caps_volumes/*" ], every: 1h, to: tokyo }} }}
"""


def users():
    for name in ("rook-source", "rook-store"):
        for manifest in kustomize.load(ROOT / "deploy/ceph" / (name + ".yaml")):
            if manifest["kind"] == "CephClient":
                yield manifest["metadata"]["name"], manifest["spec"]["caps"]


class NarrowCaps(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(str(CLUSTERS / "a"), "a")
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-caps-"))
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        for pool in POOLS.values():
            self.cluster.create_pool(pool, app="rbd" if pool == "caps_volumes" else "tidemark")
            self.addCleanup(self.cluster.ceph, "osd", "pool", "rm", pool, pool,
                            "--yes-i-really-really-mean-it", json=False)
        conf = (ROOT / "deploy/kubernetes/overlays/pair/tokyo/ceph.conf").read_text(encoding="utf-8")
        conf = re.sub(r"(?m)^mon_host = .*", f"mon_host = {self.cluster.mon_host}", conf)
        for name, caps in users():
            arguments = [word for service, cap in caps.items() for word in (service, self.renamed(cap))]
            key = self.cluster.ceph("auth", "get-or-create-key", "client." + name, *arguments, json=False)
            self.addCleanup(self.cluster.ceph, "auth", "rm", "client." + name, json=False)
            (self.top / (name + ".key")).write_text(key, encoding="ascii")
        (self.top / "ceph.conf").write_text(conf.replace("/etc/ceph", str(self.top)), encoding="utf-8")
        self.config = self.top / "tidemark.yaml"
        self.config.write_text(CONFIG.format(top=self.top), encoding="utf-8")
        self.content = os.urandom(4 * MIB)
        self.cluster.rbd("import", "--no-progress", "--image-feature", "layering,exclusive-lock,object-map,fast-diff",
                         "-", "caps_volumes/vol", input=self.content, text=False)

    @staticmethod
    def renamed(cap):
        renamed = re.sub(r"pool=(\w+)", lambda match: "pool=" + POOLS[match[1]], cap)
        assert renamed != cap or "pool" not in cap
        return renamed

    def tidemark(self, *arguments):
        out = subprocess.run([BINARY, "--config", self.config, "--quiet", *arguments],
                             capture_output=True, text=True, check=False)
        self.assertEqual(out.returncode, 0, f"{arguments}: {out.stderr}")
        return out.stdout

    def image(self, name):
        return self.cluster.rbd("export", "--no-progress", "caps_volumes/" + name, "-", text=False)

    def test_they_are_enough_for_the_whole_path(self):
        self.tidemark("store", "init")
        self.tidemark("backup", "rbd/caps_volumes/vol")
        self.cluster.rbd("bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", "caps_volumes/vol")
        changed = self.image("vol")
        self.assertNotEqual(changed, self.content)
        self.tidemark("backup", "rbd/caps_volumes/vol")
        points = [line.split()[0] for line in self.tidemark("points").splitlines()[1:]]
        self.assertEqual(len(points), 2)
        self.tidemark("restore", "rbd/caps_volumes/vol", "--to", "caps_volumes/new")
        self.assertEqual(self.image("new"), changed)
        self.tidemark("restore", "rbd/caps_volumes/vol", "--point", points[0], "--in-place",
                      "--to", "caps_volumes/vol")
        self.assertEqual(self.image("vol"), self.content)
        self.tidemark("verify", "--read-data")
        self.tidemark("points", "delete", points[0])
        self.tidemark("gc")
        self.tidemark("status")

    def test_they_are_for_no_more(self):
        def refused(user, *arguments):
            out = subprocess.run(["rados", "-c", self.top / "ceph.conf", "-n", "client." + user, *arguments],
                                 capture_output=True, text=True, check=False, timeout=60)
            self.assertNotEqual(out.returncode, 0, arguments)
            self.assertRegex(out.stderr, "not permitted|Permission denied")
        self.tidemark("store", "init")
        stored = self.cluster.rados("-p", "caps_store", "ls", "--all").split()
        self.assertTrue(stored)
        refused("tidemark", "-p", "caps_store", "put", "x", str(self.config))
        refused("tidemark", "-p", "caps_store", "stat", "store")
        refused("tidemark-store", "-p", "caps_volumes", "put", "x", str(self.config))
        refused("tidemark-store", "-p", "caps_volumes", "stat", "rbd_directory")


if __name__ == "__main__":
    unittest.main()
