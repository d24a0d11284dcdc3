"""The agent as a daemon: schedules, its status and metrics, changes of its configuration, restarts."""

import datetime
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time

import rbd

from support import Case, main, rounds

EVERY = 2


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Agent(Case):
    pair_options = {"policy_extra": f"    every: {EVERY}s\n    objective: {{ rpo: {4 * EVERY}s }}\n"}

    def setUp(self):
        super().setUp()
        self.tokyo, self.osaka = self.pair.tokyo, self.pair.osaka
        # A namespace that is not there is a problem of its own.
        self.tokyo.edit_config(", \"rbd/rbd/tenant/*\"", "")
        self.osaka.edit_config("  tokyo: {}\n", "  tokyo: { metrics: true }\n")
        self.osaka.agent.send_signal(signal.SIGHUP)

    def points(self, name="vol"):
        return [point for point in self.osaka.json("points")["points"] if point["asset"] == f"rbd/rbd/{name}"]

    def status(self, site=None):
        status = (site or self.tokyo).json("status", code=None)
        return status, {asset["asset"]: asset for asset in status["assets"]}

    def metrics(self, site):
        pki = self.pair.pki
        return subprocess.run(
            ["curl", "-sS", "--fail", "--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/tokyo.crt", "--key",
             f"{pki}/tokyo.key", f"https://127.0.0.1:{site.port}/metrics"],
            check=True, stdout=subprocess.PIPE, timeout=20).stdout.decode()

    def our_snapshots(self, name):
        with rbd.Image(self.io["a"], name) as image:
            return [snap["name"] for snap in image.list_snaps() if snap["name"].startswith("tidemark.")]

    def test_points_come_by_the_schedule_and_the_status_tells(self):
        self.create(mib=4)
        self.create("other", mib=4)
        _, before = self.status()  # no agent runs
        self.assertEqual({name: asset["state"] for name, asset in before.items()},
                         {"rbd/rbd/vol": "no point", "rbd/rbd/other": "no point"})
        self.assertIn("no agent running", self.tokyo.run("status").text)
        self.tokyo.start_agent()
        for name in ("vol", "other"):
            self.wait_for("four points", lambda name=name: len(self.points(name)) >= 4)
        for name in ("vol", "other"):
            slots = [seconds(point["time"]) // EVERY for point in self.points(name)]
            self.assertEqual(len(slots), len(set(slots)), "two points in one slot")
        status, assets = self.status()
        self.assertEqual(status["problems"], [])
        self.assertTrue(status["agent_since"])
        vol = assets["rbd/rbd/vol"]
        self.assertEqual((vol["state"], vol["policy"], vol["to"], vol["rpo_seconds"]), ("ok", "all", "osaka", 8))
        self.assertLess(vol["age_seconds"], 8)
        self.assertTrue(vol["next_due"])
        self.assertIn("agent running", self.tokyo.run("status").text)
        received = self.wait_for("what was received", lambda: [
            status for status, _ in [self.status(self.osaka)] if status["store"]["points"] >= 8])[0]
        self.assertEqual({asset["site"] for asset in received["assets"]}, {"tokyo"})
        self.assertGreater(received["store"]["free_bytes"], 0)
        self.check_metrics()

        # The peer is away: what was known grows older, nothing else stands still.
        self.osaka.stop_agent()
        self.wait_for("late", lambda: self.status()[1]["rbd/rbd/vol"]["state"] == "late")
        self.wait_for("a problem", lambda: "store osaka" in " ".join(self.status()[0]["problems"]))
        self.assertEqual(self.tokyo.run("status", code=None).returncode, 3)
        self.assertRegex(self.metrics(self.tokyo), r'tidemark_asset_objective_met\{.*rbd/rbd/vol.*\} 0\n')
        behind = len(self.points_after_restart())
        # However many were missed, one point is due.
        self.wait_for("points again", lambda: len(self.points()) > behind)
        self.wait_for("good again", lambda: self.status()[1]["rbd/rbd/vol"]["state"] == "ok")
        slots = [seconds(point["time"]) // EVERY for point in self.points()]
        self.assertEqual(len(slots), len(set(slots)))
        self.assert_good_store()

    def points_after_restart(self):
        self.osaka.start_agent()
        return self.points()

    def check_metrics(self):
        # Names of other sites' assets are not for everybody.
        address = f"https://127.0.0.1:{self.tokyo.port}/metrics"
        pki = self.pair.pki
        refused = subprocess.run(
            ["curl", "-sS", "--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/osaka.crt", "--key", f"{pki}/osaka.key",
             address], check=True, stdout=subprocess.PIPE, timeout=20).stdout.decode()
        self.assertIn("may not read the metrics", refused)
        exported = {}
        for site in (self.tokyo, self.osaka):
            text = self.metrics(site)
            done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=20)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, ""))
            exported[site.name] = set(re.findall(r"^(tidemark_\w+)", text, re.M))
        self.assertRegex(self.metrics(self.tokyo), r'tidemark_asset_objective_met\{.*rbd/rbd/vol.*\} 1\n')
        known = exported["tokyo"] | exported["osaka"]
        deploy = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../deploy")
        for path in ("prometheus/tidemark.rules.yaml", "grafana/tidemark.json"):
            with open(os.path.join(deploy, path)) as f:
                named = set(re.findall(r"tidemark_[a-z_]+", f.read()))
            # A collection comes a quarter of an hour after the start.
            later = {"tidemark_store_collected_timestamp_seconds", "tidemark_store_live_bytes",
                     "tidemark_store_waiting_bytes"}
            # No peer has a quota here.
            later |= {"tidemark_site_stored_bytes", "tidemark_site_quota_bytes"}
            # Nor a standby; e2e_standby has its metrics.
            later |= {"tidemark_standby_failed", "tidemark_standby_lag_seconds"}
            # Nor a drill; e2e_drills has its metrics.
            later |= {"tidemark_drill_last_passed", "tidemark_drill_overdue"}
            self.assertEqual(named - known - later, set(), path)

    def test_backups_keep_to_their_limits(self):
        names = ["one", "two", "three", "four"]
        # Each backup lasts longer than it takes until the status is written again.
        script, alone, overlap = (os.path.join(self.dir, name) for name in ("hold.sh", "alone", "overlap"))
        with open(script, "w") as f:
            f.write(f"""#!/bin/sh
[ $TIDEMARK_PHASE = before ] || exec rmdir {alone}
mkdir {alone} || touch {overlap}
exec sleep 3
""")
        os.chmod(script, 0o755)
        self.tokyo.edit_config("policies:\n", "concurrency: { total: 1 }\npolicies:\n")
        self.tokyo.edit_config("    to: osaka\n", f"""    to: osaka
    hooks:
      before: {{ command: [ {script} ], timeout: 20s }}
      after: {{ command: [ {script} ], timeout: 20s }}
""")
        for name in names:
            self.create(name, mib=4)
            self.fill(4, name)
        self.tokyo.start_agent()
        most, waiting = 0, 0
        path = os.path.join(self.tokyo.dir, "state", "status.json")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not all(self.points(name) for name in names):
            try:
                with open(path) as f:
                    status = json.load(f)
            except FileNotFoundError:
                continue
            most, waiting = max(most, status["running"]), max(waiting, status["waiting"])
        self.assertTrue(all(self.points(name) for name in names))
        self.assertEqual(most, 1)
        self.assertGreaterEqual(waiting, 1)
        self.assertFalse(os.path.exists(overlap), "two were held at once")

    def test_a_changed_configuration_is_taken_up(self):
        self.create(mib=4)
        self.tokyo.edit_config("\"rbd/rbd/*\"", "\"rbd/rbd/vol\"")
        self.create("new", mib=4)
        self.tokyo.start_agent()
        self.wait_for("a point", self.points)
        self.tokyo.edit_config("\"rbd/rbd/vol\"", "\"rbd/rbd/new\"")
        self.tokyo.agent.send_signal(signal.SIGHUP)
        self.wait_for("a point of the new image", lambda: self.points("new"))
        self.wait_for("the old one is gone", lambda: set(self.status()[1]) == {"rbd/rbd/new"})
        good = self.tokyo.config_text()
        # By itself, as the file changes; what has mistakes changes nothing.
        self.tokyo.write_config(good + "nonsense: true\n")
        found = self.wait_for("the mistake", lambda: [p for p in json.loads(self.raw_status())["problems"] if "nonsense" in p])
        self.assertIn("unknown key", found[0])
        count = len(self.points("new"))
        self.wait_for("points go on", lambda: len(self.points("new")) > count)
        self.tokyo.write_config(good.replace(f"listen: 127.0.0.1:{self.tokyo.port}", "listen: 127.0.0.1:1"))
        self.wait_for("a restart", lambda: "a change of 'listen' needs a restart" in self.raw_status())
        self.tokyo.write_config(good)
        self.wait_for("all is well", lambda: json.loads(self.raw_status())["problems"] == [])

    def raw_status(self):
        """As the agent wrote it: the command would refuse a configuration with mistakes."""
        with open(os.path.join(self.tokyo.dir, "state", "status.json")) as f:
            return f.read()

    def test_a_status_that_is_none_is_said_to_be_none(self):
        self.tokyo.start_agent()
        self.wait_for("a status", lambda: self.status()[0]["agent_since"])
        path = os.path.join(self.tokyo.dir, "state", "status.json")
        self.tokyo.agent.send_signal(signal.SIGSTOP)
        good = json.loads(self.raw_status())
        try:
            for bad in ("", "nonsense", "[]", "{}", '{"time": 5, "problems": 7}', json.dumps({**good, "assets": [5]}),
                        json.dumps({**good, "assets": [{"site": 5}]}), json.dumps({**good, "time": "soon"})):
                with open(path, "w") as f:
                    f.write(bad)
                for options in ([], ["--json"]):
                    done = self.tokyo.run(*options, "status", code=None)
                    self.assertIn(done.returncode, (1, 2), bad)
                    self.assertTrue(done.errors)
            with open(path, "w") as f:
                json.dump({**good, "time": "2026-01-01T00:00:00Z"}, f)
            self.assertIn("has written no status since", self.tokyo.run("status", code=3).text)
        finally:
            self.tokyo.agent.send_signal(signal.SIGCONT)

    def test_two_agents_do_not_share_their_state(self):
        self.tokyo.start_agent()
        second = self.tokyo.run("agent", code=None, timeout=30)
        self.assertEqual(second.returncode, 5)
        self.assertIn("another agent runs with state", second.errors)

    def test_it_runs_unattended(self):
        """A pair left alone, with writers, retention, collections and a scrub; `scripts/soak agent SECONDS`."""
        keep = {"last": 4}
        self.pair.tokyo.edit_config("    to: osaka\n", "    to: osaka\n    keep: { last: 4 }\n")
        self.osaka.stop_agent()
        self.osaka.edit_config("store:\n", "store:\n  gc: { every: 1m, grace: 1m }\n  scrub: { every: 20s }\n")
        self.osaka.start_agent()
        names = ["vol", "second", "third"]
        for name in names:
            self.create(name, mib=16)
        self.tokyo.start_agent()
        end = time.monotonic() + rounds(20)
        while time.monotonic() < end:
            name = self.random.choice(names)
            self.fill(1, name, start=self.random.randrange(16))
            time.sleep(self.random.uniform(0.2, 1))
            if self.random.random() < 0.02:
                site = self.random.choice([self.tokyo, self.osaka])
                site.stop_agent(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
                site.start_agent()
        self.wait_for("every asset is well", lambda: all(
            asset["state"] == "ok" for asset in self.status()[1].values()) and len(self.status()[1]) == len(names))
        self.tokyo.stop_agent()
        self.osaka.run("retention", "apply")
        for _ in range(3):
            self.osaka.run("gc", "--grace", "0s")
        collected = self.osaka.json("gc", "--grace", "0s")
        self.assertEqual((collected["packs_waiting"], collected["packs_removed"], collected["orphans"]), (0, 0, 0))
        for name in names:
            self.assertEqual(len(self.points(name)), keep["last"])
            slots = [seconds(point["time"]) // EVERY for point in self.points(name)]
            self.assertEqual(len(slots), len(set(slots)))
            # The base of the next increment; one more where the last backup was cut short.
            self.assertIn(len(self.our_snapshots(name)), (1, 2))
            newest = self.points(name)[-1]["id"]
            snapshot = next(snap for snap in self.our_snapshots(name) if newest[:8] in snap)
            self.assert_same(self.restored(newest, asset=f"tokyo:rbd/rbd/{name}"), self.content(name, snapshot=snapshot))
        self.assertEqual(self.osaka.json("status")["store"]["damaged_packs"], 0)
        checked = self.assert_good_store()
        self.assertEqual(checked["points_checked"], keep["last"] * len(names))

    def test_damage_is_found_and_healed_by_the_next_points(self):
        self.osaka.stop_agent()
        self.osaka.edit_config("store:\n", "store:\n  scrub: { every: 10s }\n")
        self.osaka.start_agent()
        self.create(mib=24)
        self.fill(24)
        self.tokyo.start_agent()
        self.wait_for("a point", self.points)
        packs = os.path.join(self.pair.store_dir, "packs")
        largest = max((os.path.join(base, name) for base, _, names in os.walk(packs) for name in names),
                      key=os.path.getsize)
        with open(largest, "r+b") as f:
            f.seek(os.path.getsize(largest) // 2)
            f.write(b"\0" * 4096)
        self.wait_for("the damage", lambda: self.status(self.osaka)[0]["store"]["damaged_packs"] == 1)
        self.assertRegex(self.metrics(self.osaka), r"tidemark_scrub_damaged_packs 1\n")
        with open(self.osaka.log_path) as log:
            self.assertIn("is damaged and set aside", log.read())
        before = len(self.points())
        self.wait_for("points", lambda: len(self.points()) > before + 1)
        self.assertEqual(self.status()[1]["rbd/rbd/vol"]["state"], "ok")
        self.tokyo.stop_agent()
        self.assert_good_store()  # every point, the old ones too

    def test_hooks_stand_around_the_snapshot(self):
        self.create(mib=4)
        log = os.path.join(self.dir, "hooks")
        script = os.path.join(self.dir, "hook.sh")

        def hooks(before="true", after="true", on_failure="abort"):
            with open(script, "w") as f:
                f.write(f"""#!/bin/sh
echo "$TIDEMARK_PHASE $TIDEMARK_ASSET $TIDEMARK_POLICY $(rbd --conf {self.a.conf} snap ls rbd/vol | grep -c tidemark)" >> {log}
[ $TIDEMARK_PHASE = before ] || {{ {after}; exit; }}
{before}
""")
            os.chmod(script, 0o755)
            self.tokyo.write_config(plain.replace("    to: osaka\n", f"""    to: osaka
    hooks:
      before: {{ command: [ {script} ], timeout: 3s, on_failure: {on_failure} }}
      after: {{ command: [ {script} ], timeout: 3s }}
"""))
            with open(log, "w"):
                pass

        def said():
            with open(log) as f:
                return f.read().splitlines()
        plain = self.tokyo.config_text()
        hooks()
        self.backup()
        self.assertEqual(said(), ["before rbd/rbd/vol all 0", "after rbd/rbd/vol all 1"])
        # One that fails or hangs: no point, and what was frozen thaws.
        for before in ("echo it is not well; exit 4", "sleep 100"):
            hooks(before)
            failed = self.tokyo.run("backup", "rbd/rbd/vol", code=None)
            self.assertEqual(failed.returncode, 5)
            self.assertIn("it is not well" if "echo" in before else "longer than 3s", failed.errors)
            self.assertEqual(said(), ["before rbd/rbd/vol all 1", "after rbd/rbd/vol all 1"])
        self.assertEqual(len(self.points()), 1)
        hooks("exit 1", on_failure="continue")
        self.backup()
        hooks(after="exit 1")
        self.assertEqual(self.tokyo.run("backup", "rbd/rbd/vol", code=None).returncode, 5)
        self.assertEqual((len(self.points()), len(self.our_snapshots("vol"))), (2, 1))
        self.tokyo.write_config(plain)
        self.backup()
        self.assert_good_store()

    def receiver(self, tls=False):
        """A server that keeps what it is sent: a list of (path, headers, document); and its URL."""
        got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(Handler.status)
                self.end_headers()

            def log_message(self, *args):
                pass
        Handler.status = 204
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{self.pair.pki}/osaka.crt", f"{self.pair.pki}/osaka.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return got, Handler, f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"

    def test_hooks_over_http(self):
        self.create(mib=4)
        got, handler, url = self.receiver()
        self.tokyo.edit_config("    to: osaka\n", f"""    to: osaka
    hooks:
      before: {{ http: {{ url: "{url}/freeze?x=1" }}, timeout: 3s }}
      after: {{ http: {{ url: "{url}/thaw" }}, timeout: 3s }}
""")
        self.backup()
        what = {"site": "tokyo", "policy": "all", "asset": "rbd/rbd/vol"}
        self.assertEqual([(path, body) for path, _, body in got],
                         [("/freeze?x=1", {**what, "phase": "before"}), ("/thaw", {**what, "phase": "after"})])
        handler.status = 500
        failed = self.tokyo.run("backup", "rbd/rbd/vol", code=None)
        self.assertEqual(failed.returncode, 5)
        self.assertIn("the answer is 500", failed.errors)
        self.assertEqual([path for path, _, _ in got[2:]], ["/freeze?x=1", "/thaw"])
        self.assertEqual(len(self.points()), 1)

    def test_what_needs_a_person_is_told_once(self):
        self.create(mib=4)
        got, handler, url = self.receiver(tls=True)
        token = os.path.join(self.dir, "token")
        with open(token, "w") as f:
            f.write("t0ken")
        handler.status = 503  # at first it takes nothing
        self.tokyo.edit_config("policies:\n", f"""events:
  webhook: {{ url: "{url}/x", token_file: {token}, ca_file: {self.pair.pki}/ca.crt }}
policies:
""")
        self.tokyo.edit_config("    to: osaka\n",
                               "    to: osaka\n    hooks: { before: { command: [ /bin/false ] } }\n")
        self.tokyo.start_agent()

        def events():
            return {event["kind"]: event for event in self.tokyo.json("events")["events"]}
        self.wait_for("events", lambda: {"backup_failing", "objective_missed"} <= set(events()))
        missed = events()["objective_missed"]
        self.assertEqual((missed["subject"], missed["severity"], missed["state"]),
                         ("rbd/rbd/vol to osaka", "critical", "open"))
        self.assertIn(f"!! critical {missed['id']}", self.tokyo.run("status", code=None).text)
        self.wait_for("a try", lambda: got)
        handler.status = 204
        del got[:]
        self.wait_for("both are told", lambda: len({body["id"] for _, _, body in got}) == 2)
        time.sleep(1)  # one that was under way when the receiver changed its mind, and what is remembered
        count = len(got)
        told = {body["kind"]: (headers, body) for _, headers, body in got}
        self.assertEqual(told["objective_missed"][1]["id"], missed["id"])
        self.assertEqual(told["objective_missed"][0]["Authorization"], "Bearer t0ken")
        # Acknowledged with no agent running; a restart repeats nothing.
        self.tokyo.stop_agent()
        self.tokyo.run("events", "ack", missed["id"][:5], "--note", "a drill")
        self.tokyo.start_agent()
        self.wait_for("it is acknowledged", lambda: events()["objective_missed"]["acknowledged_at"])
        self.assertEqual(events()["objective_missed"]["note"], "a drill")
        self.wait_for("the status says so", lambda: "1 events are acknowledged" in self.tokyo.run("status", code=None).text)
        time.sleep(3)
        self.assertEqual(len(got), count)
        self.assertEqual(self.tokyo.run("events", "ack", "zz", code=None).returncode, 4)

    def test_killed_at_any_moment_it_goes_on(self):
        self.create(mib=16)
        self.create("other", mib=16)
        for _ in range(4):
            self.tokyo.start_agent()
            self.fill(4)
            time.sleep(self.random.uniform(0.2, 2.5))
            self.tokyo.stop_agent(signal.SIGKILL)
        self.assertIn("no agent running", self.tokyo.run("status").text)
        for name in ("vol", "other"):
            self.assertLessEqual(len(self.our_snapshots(name)), 2)
        self.tokyo.start_agent()
        count = {name: len(self.points(name)) for name in ("vol", "other")}
        for name in ("vol", "other"):
            self.wait_for("points", lambda name=name: len(self.points(name)) > count[name])
        self.tokyo.stop_agent()
        for name in ("vol", "other"):
            slots = [seconds(point["time"]) // EVERY for point in self.points(name)]
            self.assertEqual(len(slots), len(set(slots)))
            self.assertLessEqual(len(self.our_snapshots(name)), 2)
        self.assert_good_store()


if __name__ == "__main__":
    main()
