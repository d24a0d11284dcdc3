"""A kill at every edge of the machines of recovery: right before each step that others can see (kill_shim.cc).

A run that is not killed tells the steps. Then some of them are drawn, with TM_EDGES=all every one is taken; after
each kill whoever comes next has to bring things to where they belong."""

import json
import os
import signal
import subprocess
import sys
import time

import rbd

from drill_support import ASSET, DrillPlans
from support import BUILD, MIB, Case, main, rounds

SHIM = os.environ.get("TM_KILL_SHIM", os.path.join(BUILD, "tests/e2e/libtidemark_kill_shim.so"))
ALL = os.environ.get("TM_EDGES") == "all"
OURS = "rbd/rbd/vol"


class Edges(DrillPlans, Case):
    def setUp(self):
        super().setUp()
        self.find_drills()
        self.assertTrue(os.path.exists(SHIM), f"{SHIM} is not built")
        self.log = os.path.join(self.dir, "steps")
        # What a killed client holds is Ceph's to end: sooner than usual, for there are many.
        for cluster in (self.a, self.b):
            cluster.ceph("config", "set", "osd", "osd_client_watch_timeout", "4")
            self.addCleanup(cluster.ceph, "config", "rm", "osd", "osd_client_watch_timeout")

    def env(self, at=0):
        return {"LD_PRELOAD": SHIM, "TM_KILL_AT": str(at), "TM_KILL_LOG": self.log}

    def steps(self):
        """What was done since the last call: "7 rbd_rename"."""
        with open(self.log) as f:
            found = [line.strip() for line in f]
        os.unlink(self.log)
        return found

    def edges(self, told, few):
        """All, or some: of those that many steps share, few."""
        if ALL:
            return range(1, len(told) + 1)
        kinds = {}
        for number, line in enumerate(told, 1):
            kinds.setdefault(line.split()[1], []).append(number)
        drawn = self.random.sample(sorted(kinds), min(rounds(few), len(kinds)))
        return sorted(self.random.choice(kinds[kind]) for kind in drawn)

    def each_edge(self, prepare, run, check, few=2):
        """run(env) ends when all is done or it was killed; check() brings it to its end."""
        prepare()
        run(self.env())
        check()
        told = self.steps()
        self.assertTrue(told)
        for edge in self.edges(told, few):
            with self.subTest(f"killed at {told[edge - 1]}, one of {len(told)} steps"):
                print(f"  {told[edge - 1]}", file=sys.stderr)
                prepare()
                run(self.env(edge))
                check()
                self.steps()

    def run_command(self, site, *args):
        def run(env):
            done = subprocess.run(site.command("--json", "--quiet", *args), env={**os.environ, **env},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
            self.assertIn(done.returncode, (0, -signal.SIGKILL), done.stderr)
        return run

    def until(self, site, *args, timeout=90):
        """The command, repeated until it succeeds: what a killed client held is let go of after a while."""
        return self.wait_for(" ".join(args), lambda: site.run(*args, code=None).returncode == 0, timeout=timeout, killed=True)

    def put_write(self):
        self.write(self.random.randrange(6) * MIB, self.random.randbytes(9000))

    # --- drills

    def drill_edges(self, method, **checks):
        self.create(mib=8)
        self.fill(5)
        self.backup()
        self.plan(method=method, checks=checks)

        def check():
            self.assertEqual(self.drill()["result"], "passed")
            self.assertEqual([name for name in rbd.RBD().list(self.io["b"]) if "tidemark-drill" in name], [])
            self.assertEqual([o.key for o in self.io["b"].list_objects() if o.key.startswith("tidemark.instant")], [])
            self.assertEqual([name for name in os.listdir(self.book) if name.endswith(".running")], [])
            for one in self.osaka.json("drill", "list")["drills"]:
                self.osaka.run("drill", "show", one["id"], "--verify")
        self.each_edge(lambda: None, self.run_command(self.osaka, "drill", "run", "d"), check)

    def test_a_drill_by_restore(self):
        self.drill_edges("restore", command=["/bin/sh", "-c", "nbdinfo --size \"$TIDEMARK_NBD\""])

    def test_a_drill_at_once(self):
        self.drill_edges("instant")

    # --- an image that is usable at once

    def test_an_instant_restore(self):
        self.create(mib=8)
        self.fill(5)
        self.backup()
        command = ("restore", ASSET, "--to", "rbd/back", "--instant")

        def prepare():
            def removed():
                try:
                    if "back" in rbd.RBD().list(self.io["b"]):
                        self.remove_image(self.io["b"], "back")
                    return True
                except rbd.ImageBusy:  # a killed client's watch is Ceph's to end
                    return False
            self.wait_for("the image of before to go", removed, killed=True)

        def check():
            if "back" not in rbd.RBD().list(self.io["b"]) or self.notes():
                self.until(self.osaka, *command)
            self.assertEqual(self.notes(), [])
            self.assert_same(self.content("back", io=self.io["b"]), self.content(), "restored")
        self.each_edge(prepare, self.run_command(self.osaka, *command), check)

    def notes(self):
        return [o.key for o in self.io["b"].list_objects() if o.key.startswith("tidemark.instant")]

    # --- standby, release, hand-over, and back

    def keep_standby(self):
        self.osaka.stop_agent()
        with open(self.osaka.config_path, "a") as f:
            f.write('standby: { all: { assets: [ "tokyo:rbd/rbd/*" ], pool: rbd } }\n')
        self.osaka.start_agent()
        self.create(mib=8)
        self.fill(4)
        self.backup()

    def standby(self):
        done = self.osaka.run("--json", "standby", "list", code=None)
        if done.returncode not in (0, 3):
            return {}
        return next((one for one in json.loads(done.text)["standby"] if one["asset"] == OURS), {})

    def wait_for_state(self, state):
        self.wait_for(state, lambda: self.standby().get("state") == state, timeout=90)

    def newest(self):
        return self.osaka.json("points", "tokyo:" + OURS)["points"][-1]["id"]

    def wait_until_it_follows(self):
        newest = self.newest()
        self.wait_for("the standby", lambda: (self.standby().get("state"), self.standby().get("point"))
                      == ("following", newest), timeout=90)
        self.assert_same(self.content(io=self.io["b"]), self.content(), "the standby")

    def with_killed_agent(self, work):
        """An agent with the shim does `work`; it is gone at the end, by itself or by us."""
        def run(env):
            self.osaka.stop_agent()
            self.osaka.start_agent(wait=False, env=env)
            deadline = time.monotonic() + 60
            while self.osaka.agent.poll() is None and time.monotonic() < deadline:
                if work():
                    break
                time.sleep(0.1)
            self.osaka.stop_agent(signal.SIGKILL)
            self.osaka.start_agent()
        return run

    def test_a_standby_that_is_made_and_one_that_follows(self):
        self.keep_standby()
        made = [False]

        def prepare():
            self.wait_until_it_follows()
            made[0] = not made[0]
            if made[0]:  # every other one from nothing
                self.osaka.stop_agent()
                self.remove_image(self.io["b"], "vol")
                self.osaka.start_agent()
                self.wait_until_it_follows()
            self.put_write()

        def follow():
            # The backup ends with the store's agent, or the point is there.
            self.tokyo.run("backup", OURS, code=None)
            return self.standby().get("point") == self.newest_or_none()

        def check():
            self.tokyo.run("backup", OURS)
            self.wait_until_it_follows()
        self.each_edge(prepare, self.with_killed_agent(follow), check, few=1)

    def newest_or_none(self):
        done = self.osaka.run("--json", "points", "tokyo:" + OURS, code=None)
        return json.loads(done.text)["points"][-1]["id"] if done.returncode == 0 else None

    def test_release_and_hand_over(self):
        self.keep_standby()

        def prepare():
            self.wait_until_it_follows()

        def release():
            if self.osaka.run("standby", "promote", OURS, code=None).returncode:
                return False
            return self.osaka.run("standby", "demote", OURS, code=None).returncode == 0

        def check():
            self.until(self.osaka, "standby", "promote", OURS)
            state = self.standby().get("state")
            if state != "demoted":
                self.until(self.osaka, "standby", "demote", OURS)
            self.assert_same(self.content(io=self.io["b"]), self.content(), "what was released")
            self.until(self.tokyo, "standby", "failback", OURS)
            self.wait_until_it_follows()
        self.each_edge(prepare, self.with_killed_agent(release), check, few=1)

    def test_the_way_back(self):
        self.keep_standby()
        written = {}

        def prepare():
            self.wait_until_it_follows()
            self.osaka.run("standby", "promote", OURS)
            self.put_write()  # only here: it is to be kept
            written["here"] = self.content()
            self.write(self.random.randrange(6) * MIB, self.random.randbytes(9000), io=self.io["b"])
            written["there"] = self.content(io=self.io["b"])
            self.osaka.run("standby", "demote", OURS)

        def check():
            self.until(self.tokyo, "standby", "failback", OURS)
            self.assert_same(self.content(), written["there"], "back")
            kept = [one["id"] for one in self.osaka.json("points", "tokyo:" + OURS)["points"]
                    if "tidemark.discarded" in one["labels"]]
            self.assert_same(self.restored(kept[-1]), written["here"], "what only tokyo had")
            self.wait_until_it_follows()
        self.each_edge(prepare, self.run_command(self.tokyo, "standby", "failback", OURS), check)


if __name__ == "__main__":
    main()
