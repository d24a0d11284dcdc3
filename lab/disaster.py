"""The disaster: the whole first cluster dies, its volumes go on at the second site, and come back with only
what was written there; then a drill brings all of them back beside production."""

import hashlib
import os
import random
import signal
import sys

import rados
import rbd

from cluster import Cluster
from site_pair import Pair

VOLUMES = ("vol-a", "vol-b", "vol-c")
VOLUME_MIB, FILLED_MIB, WRITTEN_MIB = 256, 48, 8


def fill(cluster, volume, mib):
    """Incompressible writes of 64 KiB in random places, through librbd, as a guest's."""
    connection = rados.Rados(conffile=cluster.conf)
    connection.connect()
    with connection.open_ioctx("rbd") as io, rbd.Image(io, volume) as image:
        for place in random.sample(range(VOLUME_MIB * 16), mib * 16):
            image.write(random.randbytes(1 << 16), place << 16)
    connection.shutdown()


def digest(cluster, volume, directory):
    path = os.path.join(directory, "export.img")
    cluster.rbd("export", "--no-progress", f"rbd/{volume}", path)
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    os.unlink(path)
    return h.hexdigest()


def require(what, condition):
    if not condition:
        sys.exit(f"\n{what}")


def states(osaka):
    return {one["asset"]: one for one in osaka.json("standby", "list", code=None)["standby"]}


def wait_until_followed(osaka, points, wait_for):
    def followed():
        now = states(osaka)
        return all(now.get(point["asset"], {}).get("point") == point["id"] and
                   now[point["asset"]]["state"] == "following" for point in points)
    wait_for("the standby images to follow", followed, 120)


class Disaster:
    def __init__(self, pair, a, b, directory, page, step, wait_for):
        self.pair, self.a, self.b, self.directory, self.page = pair, a, b, directory, page
        self.step, self.wait_for = step, wait_for
        self.assets = [f"rbd/rbd/{volume}" for volume in VOLUMES]

    def digests(self, cluster):
        return {volume: digest(cluster, volume, self.directory) for volume in VOLUMES}

    def points(self):
        points = self.pair.backup(*self.assets)
        wait_until_followed(self.pair.osaka, points, self.wait_for)
        return points

    def protect(self):
        for volume in VOLUMES:
            self.a.rbd("create", "--size", f"{VOLUME_MIB}M", "--image-feature",
                       "layering,exclusive-lock,object-map,fast-diff", f"rbd/{volume}")
            fill(self.a, volume, FILLED_MIB)

    def lose(self):
        self.pair.tokyo.stop_agent(signal.SIGKILL)
        self.a.kill_all()

    def fail_over(self):
        done = self.pair.osaka.json("standby", "promote", "--all")["standby"]
        require("not every image was released", all(one["state"] == "primary" for one in done))

    def return_of_the_lost(self):
        self.a.start()
        self.pair.tokyo.start_agent()
        refused = self.pair.tokyo.run("backup", self.assets[0], code=None)
        require("the site that was lost was not fenced", refused.returncode == 5 and "in use at site osaka" in refused.errors)

    def hand_over(self):
        done = self.pair.osaka.json("standby", "demote", "--all")["standby"]
        require("not every image was handed over", all(one["state"] == "demoted" for one in done))

    def come_back(self):
        return [self.pair.tokyo.json("standby", "failback", asset) for asset in self.assets]

    def run(self):
        step = self.step
        step(f"write {FILLED_MIB} MiB into each of {len(VOLUMES)} volumes at tokyo", self.protect)
        step("first points; osaka makes a standby image of each", self.points)
        for volume in VOLUMES:
            fill(self.a, volume, WRITTEN_MIB)
        step("write again, second points, the standby images follow", self.points)
        before = self.digests(self.a)
        step("disaster: the agent and every daemon of tokyo's cluster are killed", self.lose)
        step("osaka: standby promote --all", self.fail_over)
        require("a released image DIFFERS from the second point", self.digests(self.b) == before)
        print("  the images at osaka are identical to the second points, byte for byte")
        for volume in VOLUMES:
            fill(self.b, volume, WRITTEN_MIB)
        after = self.digests(self.b)
        step("tokyo's cluster returns; its agent is told that it is fenced", self.return_of_the_lost)
        step("osaka: standby demote --all", self.hand_over)
        plan = self.pair.tokyo.run("standby", "failback", "--plan", self.assets[0]).text
        print("    " + plan.strip().replace("\n", "\n    "))
        reports = step("tokyo: standby failback of each", self.come_back)
        require("a volume that came back DIFFERS from what osaka had", self.digests(self.a) == after)
        print("  the images at tokyo are identical to what was written at osaka, byte for byte")
        fetched = sum(report["fetched_bytes"] for report in reports)
        written = len(VOLUMES) * WRITTEN_MIB << 20
        print(f"  {written >> 20} MiB were written at osaka; {fetched / (1 << 20):.1f} MiB came back to {len(VOLUMES)} "
              f"volumes of {VOLUME_MIB} MiB: {fetched / written:.2f} of it")
        require("more than 1.2 of what was written came back", fetched <= 1.2 * written)
        step("points go on, and the standby images follow again", self.points)
        verified = step("verify every point, reading all data", lambda: self.pair.osaka.json("verify", "--read-data"))
        require("damage", not verified["damaged"])
        page = os.path.abspath(self.page)
        drilled = step("osaka: a drill brings all of it back beside production, checks it, and removes it",
                       lambda: self.drill(page))
        for asset in drilled["assets"]:
            print(f"    {asset['site']}:{asset['asset']}: {asset['result']}, usable after "
                  f"{asset['rto']['measured_seconds']:.1f} s, {asset['checks'][0]['bytes'] >> 20} MiB compared")
        print(f"  the report: {page}")

    def drill(self, page):
        done = self.pair.osaka.json("drill", "run", "all", "--html", page)
        report = done["report"]
        require("the drill did not bring back every volume",
                [asset["asset"] for asset in report["assets"]] == sorted(self.assets))
        require("the store's journal does not name the report", done["journal"])
        self.pair.osaka.run("drill", "show", report["id"], "--verify")
        left = [name for name in self.b.rbd("ls", "rbd").split() if "tidemark-drill" in name]
        require(f"the drill left {left}", not left)
        return report


def disaster(options, directory, step, wait_for):
    a, b = Cluster(os.path.join(directory, "a"), "tokyo"), Cluster(os.path.join(directory, "b"), "osaka")
    pair = None
    try:
        step("boot two Ceph clusters", lambda: [cluster.start() for cluster in (a, b)])
        pair = Pair(os.path.join(directory, "sites"), options.binary, a, b, backend=options.backend)

        def set_up():
            if options.backend == "rados":
                b.create_pool("tidemark", app="tidemark")
            pair.setup()
            with open(pair.osaka.config_path, "a") as f:
                f.write('standby: { all: { assets: [ "tokyo:rbd/rbd/*" ], pool: rbd } }\n'
                        'drills: { all: { assets: [ "tokyo:rbd/rbd/*" ], pool: rbd, objective: { rto: 5m } } }\n')
            pair.start()
        step("create certificates and the store, start an agent at each site", set_up)
        Disaster(pair, a, b, directory, options.page, step, wait_for).run()
    finally:
        if pair:
            pair.stop()
        for cluster in (a, b):
            cluster.destroy()
