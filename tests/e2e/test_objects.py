"""Objects of tidemark.dev: points that are shown, drills and policies that are applied."""

import json
import os
import shutil
import signal
import tempfile
import time

import rbd

from claim_support import TIDEMARK, claim
from support import main
from test_claims import ORDERS, ClaimCase

EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"


class ObjectCase(ClaimCase):
    """The store's site acts upon objects; `self.here` is its cluster."""

    def setUp(self):
        super().setUp()
        self.here = self.kube["b"]

    def enable(self, site=None, here=None, points="per_claim: 24", more=""):
        site, here = site or self.osaka, here or self.here
        here.install_crds()
        site.edit_config("kubernetes: { kubeconfig:",
                         f"kubernetes: {{ custom_resources: true, recovery_points: {{ {points} }}, {more}kubeconfig:")
        site.stop_agent()
        site.start_agent()

    def restart(self, sig=signal.SIGTERM):
        self.osaka.stop_agent(sig)
        self.osaka.start_agent()

    def objects(self, kind, ns="shop", here=None):
        return {one["metadata"]["name"]: one for one in (here or self.here).get(f"{TIDEMARK}/namespaces/{ns}/{kind}")["items"]}

    def requests(self, *verbs, user="admin"):
        """How many the server has seen, of these verbs or of all, but for our own looks."""
        seen = self.here.api.test("requests", method="GET")["requests"]
        return sum(one["count"] for one in seen if not verbs or one["verb"] in verbs)

    def writes(self):
        return self.requests("create", "update", "patch", "delete", "deletecollection")

    @staticmethod
    def conditions(obj):
        return {one["type"]: one for one in (obj.get("status") or {}).get("conditions") or []}

    def apply(self, kind, name, spec, ns="tidemark"):
        plural = {"Drill": "drills", "ProtectionPolicy": "protectionpolicies"}[kind]
        path = f"{TIDEMARK}/namespaces/{ns}/{plural}"
        self.here.api.make(path, {"apiVersion": "tidemark.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        return f"{path}/{name}"


class Points(ObjectCase):
    def shown(self, ns="shop", here=None):
        return self.objects("recoverypoints", ns, here)

    def told(self, ids, ns="shop", here=None):
        """The objects once they are of these points and say that they are there."""
        def look():
            found = self.shown(ns, here)
            good = set(found) == set(ids) and all(self.conditions(one).get("Available") for one in found.values())
            return found if good else None
        return self.wait_for(f"the objects of {len(ids)} points", look)

    def make_points(self, count):
        self.orders()
        out = []
        for _ in range(count):
            self.scribble()
            out.append(self.back_up())
        return out

    def test_the_newest_are_shown_and_come_and_go_with_the_catalog(self):
        points = self.make_points(3)
        self.enable(points="per_claim: 2")
        found = self.told([one["id"] for one in points[1:]])
        shown, point = found[points[2]["id"]], points[2]
        self.assertEqual({k: v for k, v in shown["spec"].items() if k not in ("claim", "time")},
                         {"id": point["id"], "site": "tokyo", "asset": point["asset"], "storedIn": "osaka",
                          "sizeBytes": point["size_bytes"]})
        self.assertEqual(shown["spec"]["claim"], {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "orders",
                                                  "uid": point["labels"]["kubernetes.uid"]})
        self.assertEqual(shown["status"]["observedGeneration"], 1)
        self.assertEqual(self.conditions(shown)["Available"]["reason"], "InStore")
        by_label = self.here.get(f"{TIDEMARK}/recoverypoints?labelSelector=tidemark.dev/claim%3Dorders,tidemark.dev/site%3Dtokyo")
        self.assertEqual(len(by_label["items"]), 2)
        # A new one comes, the oldest goes.
        self.scribble()
        points.append(self.back_up())
        self.told([one["id"] for one in points[2:]])
        # One that is deleted gives its place to the one before it.
        self.osaka.run("points", "delete", points[3]["id"])
        self.told([points[1]["id"], points[2]["id"]])

    def test_a_mirror_is_put_right_and_left_alone_otherwise(self):
        points = self.make_points(2)
        self.enable()
        ids = [one["id"] for one in points]
        before = self.told(ids)
        path = f"{TIDEMARK}/namespaces/shop/recoverypoints"
        strange = {"apiVersion": "tidemark.dev/v1alpha1", "kind": "RecoveryPoint", "metadata": {"name": "strange"},
                   "spec": dict(before[ids[0]]["spec"], id="0" * 32)}
        self.here.api.make(path, strange)
        self.here.api.admin.delete(f"{path}/{ids[0]}")
        again = self.wait_for("it to come back", lambda: self.shown().get(ids[0]))
        self.assertNotEqual(again["metadata"]["uid"], before[ids[0]]["metadata"]["uid"])
        for patch in ({"spec": {"storedIn": "mars", "set": "x"}}, {"metadata": {"labels": {"tidemark.dev/site": "mars", "mine": "x"}}},
                      {"spec": {"claim": {"namespace": "mars"}}}):
            self.assertEqual(self.here.api.admin.patch(f"{path}/{ids[1]}", patch).code, 200)
            self.wait_for("it to be put right", lambda: self.shown()[ids[1]]["spec"] == before[ids[1]]["spec"] and
                          self.shown()[ids[1]]["metadata"]["labels"]["tidemark.dev/site"] == "tokyo")
        self.assertEqual(self.shown()[ids[1]]["metadata"]["labels"]["mine"], "x", "what others add stays")
        self.wait_for("its status", lambda: self.shown()[ids[1]]["status"]["observedGeneration"] ==
                      self.shown()[ids[1]]["metadata"]["generation"])
        time.sleep(3)
        settled, writes = self.shown(), self.writes()
        self.assertEqual(set(settled), {*ids, "strange"})
        # A restart finds everything as it is; and nothing is sent while nothing changes.
        self.restart()
        time.sleep(6)
        self.assertEqual(self.writes(), writes, "a restart writes nothing")
        before = self.requests()
        time.sleep(20)
        self.assertEqual(self.requests(), before, "no request without a change")
        self.assertEqual(self.shown(), settled)
        # Turned off, it leaves nothing of its own.
        self.osaka.edit_config("per_claim: 24", "per_claim: 0")
        self.wait_for("the objects to go", lambda: set(self.shown()) == {"strange"})

    def test_points_of_namespaces_that_are_not_here_are_shown_in_the_agents_own(self):
        point = self.make_points(1)[0]
        self.here.api.admin.delete("/api/v1/namespaces/shop")
        self.wait_for("the namespace to go", lambda: not self.here.get("/api/v1/namespaces/shop"))
        self.enable()
        self.told([point["id"]], "tidemark")
        # Later it is here; the next point shows it, and the others move.
        self.here.api.namespace("shop")
        time.sleep(31)
        self.scribble()
        later = self.back_up()
        self.told([point["id"], later["id"]])
        self.wait_for("the first to move", lambda: not self.shown("tidemark"))

    def test_a_namespace_that_may_not_be_written_and_a_server_that_is_troubled(self):
        points = self.make_points(3)
        closed = {"verb": "create", "resource": "recoverypoints", "namespace": "shop"}
        self.here.api.test("faults", {"match": closed, "status": 403})
        self.enable()
        ids = [one["id"] for one in points]
        self.told(ids, "tidemark")
        self.assertEqual(self.shown(), {})
        # Answers that are lost, overload, a watch that is cut: each object is there once in the end.
        self.here.api.test("faults", [
            {"match": {"verb": "create", "resource": "recoverypoints"}, "count": 2, "drop": "after"},
            {"match": {"verb": "patch", "resource": "recoverypoints"}, "count": 2, "drop": "after"},
            {"match": {"verb": "delete", "resource": "recoverypoints"}, "count": 1, "drop": "after"},
            {"match": {"verb": "create", "resource": "recoverypoints"}, "count": 2, "status": 429, "retryAfter": 1},
            {"match": {"verb": "patch", "resource": "recoverypoints"}, "count": 2, "status": 503}])
        for _ in range(2):
            self.scribble()
            points.append(self.back_up())
        self.osaka.run("points", "delete", ids[0])
        self.here.api.test("watches/cut", {"clean": False})
        self.told([one["id"] for one in points[1:]], "tidemark")

    def test_a_site_without_a_store_shows_its_points_at_its_peer(self):
        self.tokyo.start_agent()
        points = self.make_points(2)
        self.enable(self.tokyo, self.kube["a"])
        ids = [one["id"] for one in points]
        shown = self.told(ids, here=self.kube["a"])
        self.assertEqual(shown[ids[0]]["spec"]["storedIn"], "osaka")
        # While the peer is away nothing is known to be gone.
        self.osaka.stop_agent()
        self.tokyo.stop_agent()
        self.tokyo.start_agent()
        time.sleep(5)
        self.assertEqual(set(self.shown(here=self.kube["a"])), set(ids))
        self.osaka.start_agent()
        self.osaka.run("points", "delete", ids[0])
        self.told(ids[1:], here=self.kube["a"])


class Drills(ObjectCase):
    def setUp(self):
        super().setUp()
        self.orders()
        self.point = self.back_up()
        self.mark = os.path.join(self.dir, "mark")
        self.scratch = tempfile.mkdtemp(prefix="tmd-")  # sockets have short paths
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def plan(self, **more):
        return {"assets": ["tokyo:" + self.point["asset"]], "pool": "rbd", "limits": {"keepFree": "0%"}, **more}

    def slow(self, seconds=60):
        """A plan whose check takes its time, and leaves a mark when it begins."""
        return self.plan(scratch=self.scratch, checks={"content": False, "command": ["/bin/sh", "-c", f"echo x >> {self.mark}; sleep {seconds}"]})

    def begun(self, times=1):
        self.wait_for("the check", lambda: os.path.exists(self.mark) and len(self.words(self.mark)) >= times)

    def images(self):
        return [name for name in rbd.RBD().list(self.io["b"]) if "tidemark-drill" in name]

    def reports(self):
        return [(one["plan"], one["result"]) for one in self.osaka.json("drill", "list")["drills"]]

    def ended(self, path, reason="DrillPassed", timeout=90):
        def look():
            found = self.here.get(path)
            return found if self.conditions(found).get("Passed", {}).get("reason") == reason and \
                not found["metadata"].get("finalizers") else None
        return self.wait_for(f"{path} to say {reason}", look, timeout)

    def reasons(self, ns="tidemark"):
        return [one["reason"] for one in self.here.get(EVENTS.format(ns))["items"]]

    def test_one_without_a_schedule_is_run_once_for_each_change_of_it(self):
        self.enable()
        path = self.apply("Drill", "now", self.plan())
        done = self.ended(path)
        status = done["status"]
        self.assertEqual((status["result"], status["observedGeneration"], status["run"]["attempts"]), ("Passed", 1, 1))
        self.assertEqual((status["lastReport"]["assets"], status["lastReport"]["passed"]), (1, 1))
        self.assertEqual(status["lastReport"]["id"], self.osaka.json("drill", "list")["drills"][0]["id"])
        self.assertEqual(self.conditions(done)["Ready"]["status"], "True")
        self.assertEqual(self.reasons(), ["DrillPassed"])
        self.assertEqual(self.images(), [])
        time.sleep(3)
        writes = self.writes()
        self.restart()
        time.sleep(15)
        self.assertEqual(self.reports(), [("k8s.tidemark.now", "passed")])
        self.assertEqual(self.writes(), writes, "a restart writes nothing")
        # A changed one is run again.
        self.assertEqual(self.here.api.admin.patch(path, {"spec": {"objective": {"rpo": "1s"}}}).code, 200)
        failed = self.ended(path, "DrillFailed")
        self.assertEqual((failed["status"]["result"], failed["status"]["run"]["generation"]), ("Failed", 2))
        self.assertIn("DrillFailed", self.reasons())
        self.assertEqual(len(self.reports()), 2)
        # It goes at once, and another one of its name is another drill.
        self.here.api.admin.delete(path)
        self.assertIsNone(self.here.get(path))
        self.ended(self.apply("Drill", "now", self.plan()))
        self.assertEqual(len(self.reports()), 3)

    def test_one_that_was_killed_is_run_again_and_ends_once(self):
        self.enable()
        path = self.apply("Drill", "now", self.slow(4))
        self.begun()
        self.assertEqual(len(self.images()), 1)
        self.restart(signal.SIGKILL)
        done = self.ended(path, timeout=180)
        self.assertEqual(done["status"]["run"]["attempts"], 2)
        self.assertEqual(sorted(self.reports()), [("k8s.tidemark.now", "interrupted"), ("k8s.tidemark.now", "passed")])
        self.assertEqual(self.images(), [])
        time.sleep(12)
        self.assertEqual(len(self.reports()), 2)

    def test_one_that_brings_the_agent_down_is_given_up(self):
        self.enable()
        path = self.apply("Drill", "now", self.slow())
        for times in (1, 2, 3):
            self.begun(times)
            self.restart(signal.SIGKILL)
        self.ended(path, "DrillInterrupted", timeout=180)
        time.sleep(15)
        self.assertEqual([result for _, result in self.reports()], ["interrupted"] * 3)
        self.assertEqual(self.images(), [])

    def test_one_that_is_deleted_meanwhile_leaves_nothing_and_goes(self):
        self.enable()
        path = self.apply("Drill", "now", self.slow())
        self.begun()
        self.assertEqual(self.here.get(path)["metadata"]["finalizers"], ["tidemark.dev/drill"])
        self.here.api.admin.delete(path)
        self.assertTrue(self.here.get(path), "it waits until all is removed")
        self.wait_for("it to go", lambda: not self.here.get(path))
        self.assertEqual(self.images(), [])
        self.assertEqual(self.reports(), [("k8s.tidemark.now", "interrupted")])

    def test_one_that_is_deleted_while_no_agent_runs_goes_with_what_it_made(self):
        self.enable()
        path = self.apply("Drill", "now", self.slow())
        self.begun()
        self.osaka.stop_agent(signal.SIGKILL)
        self.here.api.admin.delete(path)
        self.assertEqual(len(self.images()), 1)
        self.osaka.start_agent()
        self.wait_for("it to go", lambda: not self.here.get(path), timeout=150, killed=True)
        self.assertEqual(self.images(), [])
        self.assertEqual(self.reports(), [("k8s.tidemark.now", "interrupted")])

    def test_one_with_a_schedule_follows_it(self):
        self.enable()
        path = self.apply("Drill", "often", self.plan(every="1m", method="serve"))
        self.assertTrue(self.wait_for("its next run", lambda: (self.here.get(path).get("status") or {}).get("nextRunTime")))
        self.assertEqual(self.conditions(self.here.get(path))["Passed"]["reason"], "NotRunYet")
        done = self.ended(path, timeout=120)
        with open(os.path.join(self.osaka.dir, "state/drills", done["status"]["lastReport"]["id"] + ".json")) as file:
            self.assertEqual(json.load(file)["trigger"], "schedule")

    def test_what_cannot_be_run_says_why(self):
        self.enable()
        self.create("plain", io=self.io["a"])
        self.tokyo.edit_config('"rbd/rbd/none-*"', '"rbd/rbd/plain"')
        self.tokyo.run("backup", "rbd/rbd/plain")
        wrong = {"from": self.plan(**{"from": "mars"}), "pool": {"assets": ["tokyo:" + self.point["asset"]]}}
        for name, spec in wrong.items():
            path = self.apply("Drill", name, spec)
            ready = self.wait_for("its status", lambda: self.conditions(self.here.get(path)).get("Ready"))
            self.assertEqual((ready["status"], ready["reason"]), ("False", "Invalid"))
            self.assertIn(name, ready["message"])
        self.wait_for("its events", lambda: self.reasons().count("DrillNotRun") == 2)
        # One of another namespace is of that namespace's claims only.
        for name, more in (("glob", {"assets": ["tokyo:rbd/rbd/*"]}), ("plain", {"assets": ["tokyo:rbd/rbd/plain"]}),
                           ("none", {"assets": ["tokyo:rbd/rbd/none"]}), ("program", {"checks": {"command": ["/bin/true"]}})):
            path = self.apply("Drill", name, self.plan(**more), "shop")
            ready = self.wait_for("its status", lambda: self.conditions(self.here.get(path)).get("Ready"))
            self.assertEqual((ready["status"], ready["reason"]), ("False", "Refused"), name)
        self.here.api.namespace("elsewhere")
        theft = self.apply("Drill", "theft", self.plan(), "elsewhere")
        self.ended(self.apply("Drill", "mine", self.plan(), "shop"))
        self.assertEqual(self.conditions(self.here.get(theft))["Ready"]["reason"], "Refused")
        self.assertEqual(self.reports(), [("k8s.shop.mine", "passed")])

    def test_lost_answers_and_conflicts_on_the_way(self):
        self.enable()
        self.here.api.test("faults", [
            {"match": {"verb": "patch", "resource": "drills"}, "count": 2, "drop": "after"},
            {"match": {"verb": "patch", "resource": "drills"}, "skip": 4, "count": 2, "status": 503}])
        path = self.apply("Drill", "now", self.slow(3))
        # Somebody else writes to the object, too: ours may not overwrite that.
        for number in range(60):
            found = self.here.get(path)
            found["metadata"].setdefault("annotations", {})["touched"] = str(number)
            self.here.api.admin.put(path, found)
            time.sleep(0.1)
        self.here.api.test("watches/cut", {"clean": False})
        self.ended(path)
        self.assertEqual(self.images(), [])
        self.assertEqual([result for _, result in self.reports()].count("passed"), 1)


class Policies(ObjectCase):
    def test_a_policy_is_judged_anew_when_only_the_configuration_changes(self):
        self.enable()
        path = self.apply("ProtectionPolicy", "hourly", {"selector": {}, "destination": "nara", "schedule": {"every": "1h"}}, "shop")

        def ready():
            return self.conditions(self.here.get(path)).get("Ready", {})
        self.wait_for("its status", lambda: ready().get("reason") == "NotFound")
        self.osaka.edit_config("peers:\n", "peers:\n  nara: { url: \"https://127.0.0.1:1\" }\n")
        self.wait_for("it to be in force", lambda: ready().get("status") == "True")
        self.osaka.edit_config("  nara: { url: \"https://127.0.0.1:1\" }\n", "")
        self.wait_for("it to be out of force", lambda: ready().get("reason") == "NotFound")
        reasons = [one["reason"] for one in self.here.get(EVENTS.format("shop"))["items"]]
        self.assertEqual(sorted(reasons), ["InForce", "NotFound", "NotFound"])
        time.sleep(3)
        writes = self.writes()
        self.restart()
        time.sleep(15)
        self.assertEqual(self.writes(), writes, "a restart writes nothing")

    def test_objects_are_carried_out_where_not_all_namespaces_may_be_read(self):
        here = self.here
        here.api.namespace("secret")
        here.as_agent(namespaces=("shop", "tidemark"))
        self.enable(more="namespaces: [ shop ], ")
        policy, drill = {"selector": {}, "destination": "nara", "schedule": {"every": "1h"}}, {"assets": ["nowhere:rbd/rbd/none"]}
        paths = [self.apply(kind, "one", spec, ns) for ns in ("shop", "tidemark", "secret")
                 for kind, spec in (("ProtectionPolicy", policy), ("Drill", drill))]
        paths += [f"{TIDEMARK}/namespaces/{ns}/restores/one" for ns in ("shop", "tidemark", "secret")]
        for path in paths[6:]:
            here.api.make(path[:-4], {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore",
                                      "metadata": {"name": "one"}, "spec": {"point": "0" * 32, "target": {"name": "one"}}})
        for path in paths:
            if "/secret/" not in path:
                self.wait_for(f"the status of {path}", lambda path=path: self.conditions(here.get(path)).get("Ready"))
        self.assertEqual([here.get(path).get("status") for path in paths if "/secret/" in path], [None] * 3)
        # A namespace that may not be read holds up no other.
        self.osaka.edit_config("namespaces: [ shop ]", "namespaces: [ shop, secret ]")
        self.restart()
        later = self.apply("ProtectionPolicy", "two", policy, "shop")
        self.wait_for("the status of a later one", lambda: self.conditions(here.get(later)).get("Ready"))


if __name__ == "__main__":
    main()
