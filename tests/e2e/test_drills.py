"""Drills: recoveries that are rehearsed beside production, judged, cleaned up, and left as evidence."""

import hashlib
import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ET

import rbd

from drill_support import ASSET, DrillPlans
from support import MIB, Case, main, rounds, sh


class DrillCase(DrillPlans, Case):
    def setUp(self):
        super().setUp()
        self.find_drills()

    def assert_clean(self):
        """Nothing of a drill is left: no image, no file, no note, no mount, no loop device."""
        self.assertEqual([name for name in rbd.RBD().list(self.io["b"]) if "tidemark-drill" in name], [])
        if os.path.isdir(self.scratch):
            self.assertEqual(os.listdir(self.scratch), [])
        self.assertEqual([name for name in os.listdir(self.book) if name.endswith(".running")], [])
        with open("/proc/mounts") as f:
            self.assertNotIn(self.scratch, f.read())
        self.assertNotIn(self.scratch, sh("losetup", "--list", "--noheadings").stdout.decode())

    def make_fs(self, kind, name="vol", mib=96, damage=None):
        """An image with a file system and a file on it, the way it is after a power cut or not."""
        raw = os.path.join(self.pair.dir, f"{name}.raw")
        with open(raw, "wb") as f:
            f.truncate(mib * MIB)
        subprocess.run([f"mkfs.{kind}", "-q", raw], check=True)
        at = os.path.join(self.pair.dir, f"{name}.mnt")
        os.makedirs(at)
        subprocess.run(["mount", "-o", "loop", raw, at], check=True)
        try:
            with open(os.path.join(at, "hello"), "w") as f:
                f.write("from tokyo\n")
            os.sync()
            # As a snapshot sees it: mounted, its log not put away.
            with open(raw, "rb") as f:
                frozen = f.read()
        finally:
            subprocess.run(["umount", at], check=True)
        if damage:
            subprocess.run(["debugfs", "-w", "-R", damage, raw], check=True, stderr=subprocess.DEVNULL)
            with open(raw, "rb") as f:
                frozen = f.read()
        self.create(name, mib=mib)
        for start in range(0, len(frozen), MIB):
            piece = frozen[start:start + MIB]
            if piece.strip(b"\0"):
                self.write(start, piece, name)


class Drills(DrillCase):
    def test_a_restored_volume_is_compared_measured_and_removed(self):
        self.create(mib=40)
        self.fill(9)
        self.write(30 * MIB + 123, self.random.randbytes(70000))
        point = self.backup()
        self.plan(objective={"rpo": "1h", "rto": "10m"})
        page, junit = os.path.join(self.pair.dir, "d.html"), os.path.join(self.pair.dir, "d.xml")
        before = self.content("vol")
        report = self.drill("d", "--html", page, "--junit", junit)
        self.assertEqual(report["result"], "passed")
        asset, = report["assets"]
        self.assertEqual((asset["site"], asset["asset"], asset["point"]["id"], asset["point"]["root"]),
                         ("tokyo", "rbd/rbd/vol", point["id"], point["root"]))
        check, = asset["checks"]
        self.assertEqual((check["name"], check["result"]), ("content", "passed"))
        self.assertGreaterEqual(check["bytes"], 9 * MIB)
        self.assertGreater(asset["rto"]["measured_seconds"], 0)
        self.assertTrue(asset["rto"]["met"] and asset["rpo"]["met"])
        self.assertIn("<!DOCTYPE html>", open(page).read())
        self.assertEqual({c.get("name") for c in ET.parse(junit).iter("testcase")},
                         {"recovery", "rpo", "rto", "check content", "clean up"})
        self.assert_clean()
        self.assertEqual(self.content("vol"), before)
        shown = self.osaka.json("drill", "show", report["id"], "--verify")
        self.assertTrue(shown["verified"])
        with open(os.path.join(self.book, report["id"] + ".json"), "rb") as f:
            self.assertEqual(shown["sha256"], hashlib.sha256(f.read()).hexdigest())
        self.assertEqual([d["id"] for d in self.osaka.json("drill", "list")["drills"]], [report["id"]])

    def test_all_methods_and_predictions_that_learn(self):
        self.create(mib=64)
        self.fill(20)
        self.backup()
        for method in ("restore", "file", "instant", "serve"):
            self.plan(method, method=method)
            first, second = self.drill(method), self.drill(method)
            for report in (first, second):
                asset, = report["assets"]
                self.assertEqual((report["result"], asset["checks"][0]["result"]), ("passed", "passed"), method)
            self.assertEqual(first["assets"][0]["predicted_from"], "assumed")
            self.assertEqual(second["assets"][0]["predicted_from"], "asset")
            self.assert_clean()
        reports = self.osaka.json("drill", "list")["drills"]
        self.assertEqual(len(reports), 8)
        for one in reports:
            self.osaka.run("drill", "show", one["id"], "--verify")

    def test_a_clone_of_the_standby(self):
        self.create(mib=32)
        self.fill(8)
        point = self.backup()
        self.osaka.stop_agent()
        self.osaka.write_config(self.osaka.config_text() +
                                'standby: { all: { assets: [ "tokyo:rbd/rbd/*" ], pool: rbd } }\n')
        self.plan(method="standby")
        self.osaka.start_agent()

        def follows():
            listed = json.loads(self.osaka.run("--json", "standby", "list", code=None).text)["standby"]
            return any(one["point"] == point["id"] and one["state"] == "following" for one in listed)
        self.wait_for("the standby", follows)
        report = self.drill()
        self.assertEqual(report["result"], "passed", report)
        self.assertEqual(report["assets"][0]["checks"][0]["result"], "passed")
        self.assert_clean()
        # It still follows, and has what it had.
        self.write(0, b"more")
        point = self.backup()
        self.wait_for("the standby", follows)
        self.assertEqual(self.content(io=self.io["b"]), self.content())

    def test_file_systems_are_checked_and_probed_in_a_layer_of_their_own(self):
        for kind in ("ext4", "xfs"):
            with self.subTest(kind):
                name = f"vol-{kind}"
                self.make_fs(kind, name, mib=96 if kind == "ext4" else 320)
                self.tokyo.run("backup", f"rbd/rbd/{name}")
                probe = ("test \"$(cat $TIDEMARK_MOUNT/hello)\" = 'from tokyo' && "
                         "echo written > $TIDEMARK_MOUNT/by-the-probe && echo fine")
                self.plan(kind, assets=f"tokyo:rbd/rbd/{name}", method="serve",
                          checks={"fsck": True, "mount": ["/bin/sh", "-c", probe],
                                  "command": ["/bin/sh", "-c", "nbdinfo --size \"$TIDEMARK_NBD\""]})
                report = self.drill(kind)
                checks = {c["name"]: c for c in report["assets"][0]["checks"]}
                self.assertEqual({n: c["result"] for n, c in checks.items()},
                                 {"content": "passed", "fsck": "passed", "mount": "passed", "command": "passed"}, checks)
                self.assertIn(f"{kind} at 0: clean", checks["fsck"]["message"])
                self.assertEqual(checks["mount"]["message"], "fine")
                self.assertEqual(checks["command"]["message"], str((96 if kind == "ext4" else 320) * MIB))
                self.assert_clean()

    def test_what_is_broken_fails_and_is_said(self):
        self.make_fs("ext4", damage="clri /hello")
        self.backup()
        self.plan(checks={"fsck": True, "mount": ["/bin/sh", "-c", "echo no such row; exit 3"],
                          "command": ["/bin/sh", "-c", "sleep 100"], "timeout": "2s"},
                  objective={"rto": "1s", "rpo": "1s"})
        time.sleep(2)
        report = self.drill(code=1)
        asset, = report["assets"]
        checks = {c["name"]: c for c in asset["checks"]}
        self.assertEqual(checks["content"]["result"], "passed")
        self.assertEqual(checks["fsck"]["result"], "failed", checks["fsck"])
        self.assertEqual((checks["mount"]["result"], checks["mount"]["message"]),
                         ("failed", "no such row\nexit code 3"))
        self.assertEqual(checks["command"]["result"], "failed")
        self.assertIn("too long", checks["command"]["message"])
        self.assertFalse(asset["rpo"]["met"])
        self.assert_clean()

    def test_limits_and_wrong_plans(self):
        self.create(mib=64)
        self.fill(8)
        self.backup()
        self.create("small", mib=8)
        self.tokyo.run("backup", "rbd/rbd/small")
        self.plan("sized", assets="tokyo:rbd/rbd/*", limits={"size": "32MiB", "parallel": 2})
        by_name = {a["asset"]: a["result"] for a in self.drill("sized")["assets"]}
        self.assertEqual(by_name, {"rbd/rbd/vol": "skipped", "rbd/rbd/small": "passed"})
        self.plan("full", limits={"keep_free": "100%"})
        report = self.drill("full", code=1)
        self.assertIn("would be written", report["assets"][0]["problem"])
        self.plan("nothing", assets="tokyo:rbd/other/*")
        self.assertIn("no point", self.drill("nothing", code=1)["problem"])
        self.plan("past", point="-300d")
        self.assertIn("no point", self.drill("past", code=1)["assets"][0]["problem"])
        self.plan("slow", checks={"command": ["/bin/sleep", "60"]}, limits={"time": "2s"})
        report = self.drill("slow", code=1)
        self.assertEqual(report["problem"], "not done within 2s")
        self.osaka.run("drill", "run", "unknown", code=4)
        self.osaka.run("drill", "show", "2000", code=4)
        self.assert_clean()

    def test_an_interruption_cleans_up_and_is_reported(self):
        self.create(mib=64)
        self.fill(8)
        self.backup()
        self.plan(checks={"command": ["/bin/sleep", "60"]})
        process = self.start()
        self.wait_for("its image", lambda: self.drill_images())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(json.loads(out)["report"]["result"], "interrupted")
        self.assert_clean()

    def start(self, plan="d"):
        return subprocess.Popen(self.osaka.command("--json", "--quiet", "drill", "run", plan),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                start_new_session=True, text=True)

    def drill_images(self):
        return [name for name in rbd.RBD().list(self.io["b"]) if "tidemark-drill" in name]

    def test_whoever_comes_after_a_kill_removes_what_is_left(self):
        self.make_fs("ext4")
        self.backup()
        self.plan(checks={"fsck": True, "mount": ["/bin/sleep", "2"]})
        self.plan("instant", method="instant")
        noted = set()
        for number in range(rounds(6)):
            process = self.start("instant" if number % 3 == 2 else "d")
            earlier = set(noted)
            self.wait_for("its note", lambda: self.notes() - earlier)
            time.sleep(self.random.uniform(0, 2.5))
            noted |= self.notes()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        report = self.drill()
        self.assertEqual(report["result"], "passed")
        self.assert_clean()
        listed = {d["id"]: d["result"] for d in self.osaka.json("drill", "list")["drills"]}
        self.assertEqual(noted - set(listed), set())
        self.assertIn("interrupted", listed.values())
        for one in listed:
            self.osaka.run("drill", "show", one, "--verify")

    def programs(self):
        """Processes that work on what lies in the scratch directory, by their command lines."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as f:
                    command = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(word.startswith(self.scratch) or f"socket={self.scratch}" in word for word in command):
                found[int(name)] = " ".join(command)
        return found

    def test_programs_of_a_drill_end_with_it_also_when_it_is_killed(self):
        self.make_fs("ext4")
        self.backup()
        self.plan(checks={"fsck": True, "mount": ["/bin/sleep", "60"]})
        process = self.start()
        names = ("qemu-nbd", "nbdfuse")
        self.wait_for("its programs", lambda: all(name in str(self.programs()) for name in names))
        time.sleep(self.random.uniform(0, 1))
        process.kill()
        process.communicate()
        self.wait_for("them to end", lambda: not self.programs(), timeout=10)
        self.plan("after")
        self.assertEqual(self.drill("after")["result"], "passed")
        self.assert_clean()

    def notes(self):
        names = os.listdir(self.book) if os.path.isdir(self.book) else []
        return {name[:-len(".running")] for name in names if name.endswith(".running")}

    def test_a_plan_runs_once_at_a_time(self):
        self.create(mib=32)
        self.fill(4)
        self.backup()
        self.plan(checks={"command": ["/bin/sleep", "4"]})
        process = self.start()
        self.wait_for("its image", self.drill_images)
        self.assertIn("is running already", self.drill(code=5))
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assert_clean()

    def test_it_runs_when_it_is_due_and_status_shows_it(self):
        self.create(mib=24)
        self.fill(3)
        self.backup()
        self.plan("often", every="1m", limits={"parallel": 2})
        self.plan("by-hand", overdue_after="1m")
        self.osaka.stop_agent()
        self.osaka.start_agent()
        drills = self.wait_for("the drill", lambda: self.osaka.json("drill", "list")["drills"], timeout=90)
        self.assertEqual((drills[0]["plan"], drills[0]["result"]), ("often", "passed"))
        shown = self.osaka.json("drill", "show", drills[0]["id"], "--verify")
        self.assertEqual(shown["report"]["trigger"], "schedule")

        def overdue():
            plans = {d["plan"]: d for d in self.osaka.json("status")["drills"]}
            return plans if plans["by-hand"]["overdue"] and plans["often"]["last"] else None
        plans = self.wait_for("status", overdue, timeout=90)
        self.assertEqual(plans["by-hand"]["overdue"], [""])
        self.assertEqual([(a["asset"], bool(a["passed_at"])) for a in plans["often"]["assets"]], [("rbd/rbd/vol", True)])
        pki = self.pair.pki
        metrics = sh("curl", "-sS", "--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/osaka.crt", "--key", f"{pki}/osaka.key",
                     f"https://127.0.0.1:{self.osaka.port}/metrics").stdout.decode()
        for line in ('tidemark_drill_last_passed{plan="often"} 1\n', 'tidemark_drill_overdue{plan="by-hand"} 1\n',
                     'tidemark_drill_overdue{plan="often"} 0\n'):
            self.assertIn(line, metrics)
        self.assertIn("drill_overdue", {e["kind"] for e in self.osaka.json("events")["events"]})
        self.osaka.stop_agent()
        self.assert_clean()

    def test_a_plan_of_a_restore_goes_by_what_drills_measured(self):
        self.create(mib=40)
        self.fill(16)
        self.backup()
        restore = ("restore", ASSET, "--plan", "--to", "rbd/back")
        self.assertEqual(self.osaka.json(*restore)["expected_from"], "assumed")
        self.plan()
        for _ in range(2):
            self.drill()
        plan = self.osaka.json(*restore)
        self.assertEqual((plan["expected_from"], plan["predictions"]), ("asset", 1))
        self.assertGreater(plan["predictions_median"], 0)
        self.assertIn("1 earlier predictions", self.osaka.run(*restore).text)

    def test_a_report_that_was_altered_is_found_out(self):
        self.create(mib=8)
        self.backup()
        self.plan()
        first, second = self.drill(), self.drill()
        path = os.path.join(self.book, first["id"] + ".json")
        text = open(path).read()
        with open(path, "w") as f:
            f.write(text.replace('"passed"', '"failed"', 1))
        for one in (first, second):
            self.osaka.run("drill", "show", one["id"], "--verify", code=6)


if __name__ == "__main__":
    main()
