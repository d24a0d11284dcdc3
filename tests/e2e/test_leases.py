"""Two agents of one site with one Lease: one is at work, and another one when that is gone."""

import datetime
import json
import os
import re
import signal
import socket
import subprocess
import time

import yaml

from claim_support import KubeCluster
from support import BINARY, BUILD, MIB, Case, main
from site_pair import Site  # support knows where it lies

LEASE = "/apis/coordination.k8s.io/v1/namespaces/tidemark/leases/tidemark-agent"
PROXY = os.path.join(BUILD, "tests/transport/tidemark_tcp_proxy")
ASSET = "tokyo:rbd/rbd/vol"
DURATION, RETRY = 15, 2.4  # seconds: of the lease, and the longest pause between two looks at it
EVERY = 3


class Replica:
    """One agent of the site, which reaches the API server through a proxy of its own."""

    def __init__(self, case, number):
        self.case = case
        tokyo = case.pair.tokyo
        self.site = tokyo if number == 1 else Site(f"{tokyo.dir}-{number}", "tokyo", BINARY, case.a)
        self.proxy = subprocess.Popen([PROXY, "--to", str(case.kube.api.port)], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
        case.addCleanup(self.end)
        port = int(self.proxy.stdout.readline())
        with open(case.kube.kubeconfig, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        path = os.path.join(self.site.dir, "kubeconfig")
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)
        text = case.plain_config.replace(f"{tokyo.dir}/state", f"{self.site.dir}/state")
        text = text.replace(f"listen: 127.0.0.1:{tokyo.port}", f"listen: 127.0.0.1:{self.site.port}")
        self.site.write_config(text + f"kubernetes: {{ lease: tidemark-agent, kubeconfig: {path} }}\n")

    def end(self):
        self.reconnect()
        self.site.stop_agent()
        self.proxy.kill()
        self.proxy.wait()
        self.proxy.stdout.close()

    def start(self):
        self.site.start_agent(wait=False)
        return self

    def log(self):
        with open(self.site.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def runs(self):
        return self.site.agent.poll() is None

    def leads(self):
        """Whether the Lease names this process, as far as its log tells who it is."""
        lease = self.case.kube.get(LEASE)
        holder = lease and lease["spec"].get("holderIdentity")
        return bool(holder) and re.search(rf"holds the lease \S+ as {re.escape(holder)}\b", self.log()) is not None

    def cut_off(self):
        """From the API server: bytes go nowhere, and nothing says so."""
        self.proxy.send_signal(signal.SIGSTOP)

    def reconnect(self):
        self.proxy.send_signal(signal.SIGCONT)

    def read_bytes(self):
        """Of the volume, by the backup that it does; 0 where it does none."""
        found = self.site.run("--json", "status", code=None)
        running = [one["running"] for one in json.loads(found.text)["assets"] if one["running"]]
        return running[0]["read_bytes"] if running else 0


class Leases(Case):
    def setUp(self):
        super().setUp()
        self.osaka = self.pair.osaka
        self.kube = KubeCluster(self, self.a.conf)
        self.addCleanup(self.kube.close)
        self.plain_config = self.pair.tokyo.config_text().replace(', "rbd/rbd/tenant/*"', "")

    def set_policy(self, text):
        self.plain_config = self.plain_config.replace("    to: osaka\n", f"    to: osaka\n    jitter: 0s\n    {text}\n")

    def leader_of(self, replicas, timeout=60):
        found = self.wait_for("a leader", lambda: [one for one in replicas if one.leads()], timeout)
        self.assertEqual(len(found), 1)
        return found[0]

    def points(self):
        found = self.osaka.run("--json", "points", ASSET, code=None)
        return self.osaka.json("points", ASSET)["points"] if found.returncode == 0 else []

    def wait_for_points(self, more, timeout=60):
        before = len(self.points())
        self.wait_for(f"{more} points more", lambda: len(self.points()) >= before + more, timeout)

    def times(self):
        return sorted(datetime.datetime.fromisoformat(one["time"].replace("Z", "+00:00")).timestamp()
                      for one in self.points())

    def assert_one_point_a_slot(self):
        slots = [int(one // EVERY) for one in self.times()]
        self.assertEqual(len(slots), len(set(slots)), slots)
        return slots

    def small(self):
        self.set_policy(f"every: {EVERY}s")
        self.create(mib=8)
        self.fill(2)

    def large(self, mib=72):
        """A backup that takes longer than the lease does."""
        self.set_policy("every: 1d\n    bandwidth: { limit: 4MiB/s }")
        self.create(mib=mib)
        self.fill(mib)

    def in_the_middle(self, replicas):
        """Who leads, once its backup has sent something."""
        leader = self.leader_of(replicas)
        self.wait_for("its backup to be under way", lambda: leader.read_bytes() > 8 * MIB)
        return leader, next(one for one in replicas if one is not leader)

    def test_one_takes_points_and_when_it_is_killed_the_other_does(self):
        self.small()
        replicas = [Replica(self, number).start() for number in (1, 2)]
        leader = self.leader_of(replicas)
        other = next(one for one in replicas if one is not leader)
        self.wait_for_points(3)
        self.assertTrue(other.runs())
        self.assertNotIn("is ready", other.log())
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other.site.port), timeout=1)
        leader.site.stop_agent(signal.SIGKILL)
        began = time.monotonic()
        self.leader_of([other])
        took = time.monotonic() - began
        self.assertLess(took, DURATION + RETRY + 2)
        self.assertGreater(took, DURATION - RETRY - 2, "the lease was the killed one's until then")
        self.wait_for_points(2)
        leader.start()
        self.wait_for_points(2)
        self.assertTrue(other.leads())
        self.assert_one_point_a_slot()

    def test_a_leader_that_is_cut_off_has_stopped_before_the_other_begins(self):
        self.large()
        replicas = [Replica(self, number).start() for number in (1, 2)]
        leader, other = self.in_the_middle(replicas)
        self.assertEqual(self.points(), [])
        leader.cut_off()
        stopped = self.wait_for("the leader to end", lambda: not leader.runs() and time.monotonic())
        self.assertFalse(other.leads(), "both at once")
        self.assertNotEqual(leader.site.agent.returncode, 0)
        self.leader_of([other])
        self.assertGreater(time.monotonic(), stopped)
        self.assertIn("lost", leader.log())
        self.wait_for_points(1)
        self.assert_good_store()
        self.assert_same(self.restored(), self.content(), "what the other one took")
        self.assertEqual(len(self.points()), 1)
        # Whoever starts the first one again has it wait.
        leader.reconnect()
        leader.start()
        time.sleep(2 * RETRY)
        self.assertTrue(leader.runs() and other.leads())

    def test_what_a_leader_sends_that_stood_still_comes_too_late(self):
        self.large()
        replicas = [Replica(self, number).start() for number in (1, 2)]
        leader, other = self.in_the_middle(replicas)
        leader.site.agent.send_signal(signal.SIGSTOP)
        self.leader_of([other])
        self.wait_for("its backup to be under way", lambda: other.read_bytes() > MIB)
        leader.site.agent.send_signal(signal.SIGCONT)
        self.wait_for("the one that stood still to end", lambda: not leader.runs())
        self.assertNotEqual(leader.site.agent.returncode, 0)
        self.wait_for_points(1)
        time.sleep(2)
        (point,) = self.points()
        self.assertNotIn(point["id"], leader.log(), "a point of the one that stood still")
        self.assert_good_store()
        self.assert_same(self.restored(), self.content(), "what the other one took")

    def test_the_store_refuses_a_backup_once_a_newer_one_of_the_volume_has_begun(self):
        self.large(24)
        one, two = Replica(self, 1), Replica(self, 2)
        late = subprocess.Popen(one.site.command("--json", "backup", "rbd/rbd/vol"), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.wait_for("its snapshot", lambda: self.snapshots())
        time.sleep(1)
        late.send_signal(signal.SIGSTOP)
        newer = two.site.json("backup", "rbd/rbd/vol")["points"][0]
        late.send_signal(signal.SIGCONT)
        _, errors = late.communicate(timeout=120)
        self.assertEqual(late.returncode, 5, errors)
        self.assertIn("fenced", errors)
        self.assertEqual([one["id"] for one in self.points()], [newer["id"]])

    def test_a_clean_stop_hands_over_at_once_also_in_the_middle_of_a_backup(self):
        self.large()
        replicas = [Replica(self, number).start() for number in (1, 2)]
        leader, other = self.in_the_middle(replicas)
        leader.site.agent.send_signal(signal.SIGTERM)
        began = time.monotonic()
        self.leader_of([other])
        self.assertLess(time.monotonic() - began, RETRY + 4)
        self.assertEqual(leader.site.agent.wait(10), 0)
        self.wait_for_points(1)
        self.assert_same(self.restored(), self.content(), "what the other one took")

    def test_a_clean_stop_keeps_the_lease_until_the_last_work_has_ended(self):
        begun = os.path.join(self.dir, "begun")
        # What thaws is let go on to its end, though we are to stop.
        self.set_policy('every: 1d\n    hooks: { after: { command: [ "/bin/sh", "-c", "touch '
                        + begun + '; sleep 8" ] } }')
        self.create(mib=4)
        replicas = [Replica(self, number).start() for number in (1, 2)]
        leader = self.leader_of(replicas)
        other = next(one for one in replicas if one is not leader)
        self.wait_for("the command", lambda: os.path.exists(begun))
        leader.site.agent.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while leader.runs():
            self.assertFalse(other.leads(), "both at once")
            time.sleep(0.1)
        self.assertEqual(leader.site.agent.returncode, 0)
        self.assertGreater(time.monotonic() - began, 5, "the command was cut short")
        ended = time.monotonic()
        self.leader_of([other])
        self.assertLess(time.monotonic() - ended, RETRY + 3)

    def test_a_rolling_restart_leaves_no_slot_out_and_fills_none_twice(self):
        self.small()
        old = [Replica(self, number).start() for number in (1, 2)]
        self.leader_of(old)
        self.wait_for_points(2)
        first = len(self.points())
        for number, gone in enumerate(sorted(old, key=lambda one: not one.leads()), 3):
            new = Replica(self, number).start()
            self.wait_for("the new one to stand by", lambda new=new: "waits for the lease" in new.log())
            gone.site.agent.send_signal(signal.SIGTERM)
            self.assertEqual(gone.site.agent.wait(20), 0)
            self.wait_for_points(2)
        slots = self.assert_one_point_a_slot()
        self.assertGreaterEqual(len(slots), first + 4)
        gaps = [b - a for a, b in zip(self.times(), self.times()[1:])]
        self.assertLess(max(gaps), 2 * EVERY + RETRY + 4, gaps)
        # Whoever of the two that wait may have come after the first; the second change is none then.
        self.assertIn(self.kube.get(LEASE)["spec"]["leaseTransitions"], (1, 2))


if __name__ == "__main__":
    main()
