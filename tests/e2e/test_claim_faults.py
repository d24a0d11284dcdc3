"""Claims while things go wrong: kills, an API server that fails, claims that vanish, two who want the same."""

import json
import os
import signal
import subprocess
import threading
import time

import rbd
import yaml

from claim_support import CORE, STORAGE, TIDEMARK, claim, storage_class
from support import MIB, main, rounds
from test_claims import ORDERS, ClaimCase
from harness import wait_for  # claim_support knows where it lies
from objects import Call
from wire import Gone

ALL = os.environ.get("TM_EDGES") == "all"
WRITES = ("POST", "PUT", "PATCH", "DELETE")
PVC = ("", "persistentvolumeclaims")


class FaultCase(ClaimCase):
    def protect(self):
        """A point of a claim with something in it; what that is."""
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        return state

    def with_objects(self, site):
        self.kube["a" if site is self.tokyo else "b"].install_crds()
        site.edit_config("kubernetes: { kubeconfig:", "kubernetes: { custom_resources: true, kubeconfig:")

    def restore_object(self, name, target="orders"):
        path = f"{TIDEMARK}/namespaces/shop/restores"
        self.kube["b"].api.make(path, {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore", "metadata": {"name": name},
                                       "spec": {"claim": {"name": "orders"}, "target": {"name": target}}})
        return f"{path}/{name}"

    def ended(self, path):
        found = self.kube["b"].get(path)
        return found if (found.get("status") or {}).get("phase") in ("Succeeded", "Failed") else None

    def assert_restored(self, state, name="orders", volumes=1):
        """The claim is bound to the one volume there is, which is as any other."""
        there = self.kube["b"]
        self.assertEqual(there.bound(name)["status"]["phase"], "Bound")
        self.assert_same(self.restored_content(name), state, "what came back")
        self.assertEqual(there.claim_names(), [name], "a filling claim is left")
        volume = there.volume(name)
        self.assertEqual(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete")
        self.assertNotIn("tidemark.dev/restore", volume["metadata"].get("labels", {}))
        self.assertNotIn("tidemark.dev/reclaim-policy", volume["metadata"].get("annotations", {}))
        self.wait_for("one volume only", lambda: len(there.get(f"{CORE}/persistentvolumes")["items"]) == volumes)
        self.wait_for("one image only", lambda: len(rbd.RBD().list(self.io["b"])) == volumes, killed=True)

    def start_restore(self, to="shop/orders"):
        return subprocess.Popen(self.osaka.command("--json", "--quiet", "restore", "tokyo:" + ORDERS, "--to-pvc", to),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def hooked(self, server, hook):
        """`hook(request)` sees each request of ours before it is worked on, until the test ends."""
        objects = server.api.server.api
        handle = objects.handle

        def watch(connection, request):
            if "tidemark" in request.header("User-Agent"):
                hook(request)
            return handle(connection, request)
        objects.handle = watch
        self.addCleanup(setattr, objects, "handle", handle)
        return lambda: setattr(objects, "handle", handle)


class KilledRestores(FaultCase):
    def test_a_restore_object_survives_kills_before_any_write_of_the_agent(self):
        state = self.protect()
        self.with_objects(self.osaka)
        self.osaka.stop_agent()
        total = self.run_killed(0, None, state)
        self.assertGreaterEqual(total, 10)
        numbers = range(1, total + 1) if ALL else self.random.sample(range(1, total + 1), min(rounds(4), total))
        for number in sorted(numbers):
            with self.subTest(f"killed before write {number} of {total}"):
                self.run_killed(number, total, state)

    def run_killed(self, number, total, state):
        """One restore, whose agent is killed before its write of that number (0: never). How many it did."""
        there, seen = self.kube["b"], []

        def hook(request):
            if request.method in WRITES:
                seen.append(f"{request.method} {request.path}")
                if len(seen) == number:
                    self.osaka.agent.kill()
                    self.osaka.agent.wait()
                    raise Gone
        path = self.restore_object(f"back-{number}")
        unhook = self.hooked(there, hook)
        try:
            self.osaka.start_agent(wait=not number)  # the first write comes before anybody sees it ready
            if number:
                # How many writes there are depends on how long things take: the last of them may not come.
                self.wait_for("the kill", lambda: self.osaka.agent.poll() is not None or self.ended(path))
                if self.osaka.agent.poll() is None:
                    time.sleep(1)  # the last ones come right after the end
                if self.osaka.agent.poll() is not None:
                    self.assertEqual(self.osaka.agent.returncode, -signal.SIGKILL)
                    self.osaka.start_agent()
                else:
                    self.assertLess(len(seen), number)
                    self.assertGreater(number, 9)
            done = self.wait_for("the restore", lambda: self.ended(path), timeout=150, killed=True)
        finally:
            unhook()
        self.assertEqual(done["status"]["phase"], "Succeeded", (done["status"], seen, total))
        self.assertEqual(done["status"]["volumeName"], there.volume("orders")["metadata"]["name"])
        self.assert_restored(state)
        self.osaka.stop_agent()
        there.remove_claim("orders")
        self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]), killed=True)
        there.api.admin.delete(path)
        return len(seen)


class Servers(FaultCase):
    def agent_with_a_schedule(self, more="", namespaces="[ shop ]"):
        self.tokyo.edit_config("claims: { claims: { namespaces: [ shop ] }, to: osaka }",
                               f"claims: {{ claims: {{ namespaces: {namespaces} }}, to: osaka, every: 1h }}")
        if more:
            self.tokyo.edit_config("kubernetes: {", "kubernetes: { " + more)
        self.tokyo.start_agent()

    def is_protected(self, name):
        return self.osaka.run("points", f"tokyo:k8s/shop/pvc/{name}", code=None).returncode == 0

    def assert_followed(self, name, seconds=60):
        self.kube["a"].make_claim(claim(name, size="4Mi"))
        self.wait_for(f"{name} to be protected", lambda: self.is_protected(name), timeout=seconds)

    def test_an_agent_goes_on_with_a_server_that_restarts_throttles_drops_and_repeats(self):
        self.agent_with_a_schedule()
        self.assert_followed("first")
        server = self.kube["a"].api
        for number in range(2):
            server.restart(self.random.uniform(0.1, 3))
            self.assert_followed(f"restarted-{number}")
        server.test("faults", {"match": {"resource": ["persistentvolumeclaims", "persistentvolumes"], "verb": ["list", "watch"]},
                               "status": 429, "retryAfter": 1, "count": 6})
        server.test("watches/cut", {"clean": False})
        self.assert_followed("throttled")
        self.assertEqual([one["left"] for one in server.test("faults", method="GET")["faults"]], [0])
        server.test("watches", {"delaySeconds": 2, "duplicate": True})
        server.test("watches/cut", {"clean": True})
        self.assert_followed("late-and-twice")
        server.test("watches", {"cutAfterBytes": 3000})
        server.test("watches/cut", {"clean": False})
        self.assert_followed("in-pieces")
        server.test("watches", method="DELETE")
        server.test("compact")
        server.test("connections/drop")
        self.assert_followed("after-history-went")
        names = ["after-history-went", "first", "in-pieces", "late-and-twice", "restarted-0", "restarted-1", "throttled"]
        points = self.osaka.json("points")["points"]
        self.assertEqual(sorted(one["labels"]["kubernetes.claim"].split("/")[-1] for one in points), names,
                         "one point of each: nothing was taken for gone and new")
        # What went while nobody told is noticed all the same.
        self.kube["a"].remove_claim("first")
        self.wait_for("it to be forgotten", lambda: len(self.tokyo.json("status")["assets"]) == len(names) - 1)

    def test_a_namespace_that_may_not_be_read_is_named_and_the_rest_is_protected(self):
        here = self.kube["a"]
        here.api.namespace("billing")
        here.make_claim(claim("ledger", size="4Mi"), ns="billing")
        fault = here.api.test("faults", {"match": {"namespace": "billing"}, "status": 403})["ids"][0]
        self.agent_with_a_schedule("namespaces: [ shop, billing ], ", "[ shop, billing ]")
        self.assert_followed("orders")
        shown = self.tokyo.run("--json", "claims", code=3)
        self.assertEqual([one["claim"] for one in json.loads(shown.text)["claims"]], [ORDERS])
        self.assertIn("namespace billing", shown.errors)
        self.wait_for("the status to say so", lambda: "billing" in str(self.tokyo.json("status", code=None)["problems"]))
        # Such a refusal is not final.
        here.api.test("faults", {"id": fault}, method="DELETE")
        self.wait_for("the other namespace", lambda: self.osaka.run(
            "points", "tokyo:k8s/billing/pvc/ledger", code=None).returncode == 0)

    def test_a_restore_command_goes_on_with_a_server_that_restarts_or_throttles(self):
        state = self.protect()
        there = self.kube["b"]
        there.api.test("faults", [{"match": {"verb": verb}, "status": 429, "retryAfter": 1, "count": 2}
                                  for verb in ("get", "list", "create", "patch", "delete")])
        self.restore()
        self.assert_restored(state)
        there.remove_claim("orders")
        there.api.test("faults", method="DELETE")
        there.api.test("controllers", {"paused": True})
        process = self.start_restore()
        self.wait_for("its filling claim", there.claim_names)
        there.api.restart(2)
        there.api.test("controllers", {"paused": False})
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, errors)
        self.assert_restored(state)

    def test_a_token_that_is_replaced_in_the_middle_of_a_restore(self):
        state = self.protect()
        there = self.kube["b"]
        path = os.path.join(self.dir, "token")

        def issue(token):
            there.api.test("tokens", {"add": {"token": token, "user": "admin", "groups": ["system:masters"]}})
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(token)
            os.rename(path + ".new", path)
        issue("first-token")
        with open(there.kubeconfig, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        config["users"][0]["user"] = {"tokenFile": path}
        with open(there.kubeconfig, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)
        there.api.test("controllers", {"paused": True})
        process = self.start_restore()
        self.wait_for("its filling claim", there.claim_names)
        issue("second-token")
        there.api.test("tokens", {"expire": "first-token"})
        there.api.test("controllers", {"paused": False})
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, errors)
        self.assert_restored(state)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "second-token")
        self.assertEqual(there.api.as_token("first-token").get(f"{CORE}/namespaces/shop").code, 401)


class Volumes(FaultCase):
    def test_a_claim_without_its_volume_and_one_of_another_driver_are_named_and_skipped(self):
        here = self.kube["a"]
        self.orders()
        here.make_claim(claim("lost", size="4Mi"))
        here.api.make(f"{STORAGE}/storageclasses", storage_class("files", provisioner="rook-ceph.cephfs.csi.ceph.com"))
        here.api.make(f"{CORE}/persistentvolumes", {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "shared"},
            "spec": {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "storageClassName": "files",
                     "csi": {"driver": "rook-ceph.cephfs.csi.ceph.com", "volumeHandle": "0001-0009-rook-ceph-1-x"},
                     "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "media"}}})
        here.api.make(here.claims_path(), claim("media", "1Gi", "files", accessModes=["ReadWriteMany"], volumeName="shared"))
        here.bound("media")
        here.api.test("controllers", {"paused": True})
        volume = here.volume("lost")
        store = here.api.server.store
        store.remove(("", "persistentvolumes"), "", volume["metadata"]["name"])
        shown = {one["claim"].split("/")[-1]: one for one in self.tokyo.json("claims")["claims"]}
        self.assertEqual({name: one["asset"] is not None for name, one in shown.items()},
                         {"orders": True, "lost": False, "media": False})
        self.assertIn("cephfs", shown["media"]["problem"])
        self.assertIn("volume", shown["lost"]["problem"])
        done = self.tokyo.run("--json", "backup", "--policy", "claims")
        self.assertEqual([one["labels"]["kubernetes.claim"] for one in json.loads(done.text)["points"]], [ORDERS])
        for name in ("lost", "media"):
            self.assertIn(f"k8s/shop/pvc/{name} is not protected: {shown[name]['problem']}", done.errors)
            self.assertIn(shown[name]["problem"], self.tokyo.run("backup", f"k8s/shop/pvc/{name}", code=5).errors)

    def test_a_claim_that_is_deleted_while_it_is_captured_leaves_nothing_behind(self):
        here = self.kube["a"]
        here.make_claim(claim("orders", size="64Mi"))
        with rbd.Image(self.io["a"], here.image("orders")) as image:
            for at in range(0, 64, 4):
                image.write(self.random.randbytes(4 * MIB), at * MIB)
        state = self.content(here.image("orders"))
        self.tokyo.edit_config("claims: { claims: { namespaces: [ shop ] }, to: osaka }",
                               "claims: { claims: { namespaces: [ shop ] }, to: osaka, every: 1h, bandwidth: { limit: 12MiB/s } }")
        self.tokyo.start_agent()
        name = here.image("orders")
        self.wait_for("its snapshot", lambda: self.snapshots(name))
        time.sleep(self.random.uniform(0, 2))
        here.api.admin.delete(here.claims_path("orders"))
        self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["a"]), timeout=150)
        self.wait_for("it to be forgotten", lambda: not self.tokyo.json("status", code=None)["assets"])
        found = self.osaka.run("--json", "points", "tokyo:" + ORDERS, code=None)
        if found.returncode == 0:  # the point was complete before the claim was
            self.restore()
            self.assert_same(self.restored_content(), state, "what was captured")
        self.assertEqual(self.osaka.json("verify")["damaged"], [])

    def test_a_claim_that_is_deleted_while_it_is_restored_can_be_restored_again(self):
        state = self.protect()
        there = self.kube["b"]
        outcomes = []
        for number in range(rounds(6)):
            # Either claim, some requests after it is there.
            final, after = number % 2 == 1, self.random.randrange(6)
            seen, gone, server = [0], threading.Event(), there.api.server

            def hook(_request, final=final, after=after, seen=seen, gone=gone):
                names = [one["metadata"]["name"] for one in server.store.items(PVC)]
                names = [name for name in names if name.startswith("tidemark-restore-") != final]
                seen[0] += bool(names)
                if names and seen[0] > after and not gone.is_set():
                    gone.set()
                    server.objects.delete(server.registry.of_storage(PVC), "shop", names[0], {}, Call("kubectl"))
            with self.subTest(f"round {number}: {'the claim' if final else 'the filling claim'}, {after} requests later"):
                unhook = self.hooked(there, hook)
                process = self.start_restore()
                _, errors = process.communicate(timeout=400)
                unhook()
                outcomes.append((process.returncode, errors[-120:]))
                self.wait_for("the next run", lambda: self.osaka.run(
                    "restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders", code=None).returncode == 0, timeout=30)
                self.assert_restored(state)
                there.remove_claim("orders")
                self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]))
        print(outcomes)

    def restore_while_a_claim_goes(self, name, moment):
        """What a restore says when somebody deletes that claim right before a request for which `moment` is true."""
        server, gone = self.kube["b"].api.server, threading.Event()

        def hook(request):
            if gone.is_set() or not moment(request):
                return
            gone.set()
            server.objects.delete(server.registry.of_storage(PVC), "shop", name, {}, Call("kubectl"))
            wait_for(lambda: server.store.get(PVC, "shop", name) is None, f"{name} is gone")
        unhook = self.hooked(self.kube["b"], hook)
        process = self.start_restore()
        _, errors = process.communicate(timeout=120)
        unhook()
        self.assertTrue(gone.is_set())
        self.assertEqual(process.returncode, 4, errors)
        return errors

    def filling_claim(self):
        process = self.start_restore()
        names = self.wait_for("the filling claim", self.kube["b"].claim_names)
        process.communicate(timeout=120)
        self.kube["b"].remove_claim("orders")
        self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]))
        return names[0]

    def test_a_volume_whose_filling_claim_goes_before_it_is_retained_is_not_handed_over(self):
        state = self.protect()
        name = self.filling_claim()
        said = self.restore_while_a_claim_goes(name, lambda request: request.method == "PATCH" and b"Retain" in request.body)
        self.assertIn("removed while it was filled", said)
        self.assertEqual(self.kube["b"].claim_names(), [])
        self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]))
        self.restore()
        self.assert_restored(state)

    def test_a_claim_that_goes_as_soon_as_it_is_bound_is_made_again(self):
        state = self.protect()
        store = self.kube["b"].api.server.store

        def bound(request):
            found = store.get(PVC, "shop", "orders")
            return request.method == "GET" and request.path.endswith("/orders") and \
                found is not None and found["status"].get("phase") == "Bound"
        self.restore_while_a_claim_goes("orders", bound)
        began = time.monotonic()
        self.assertTrue(self.restore()["resumed"], "the volume that was filled is used")
        self.assertLess(time.monotonic() - began, 60)
        self.assert_restored(state)

    def test_two_restores_to_one_claim_meet_in_one_volume(self):
        state = self.protect()
        there = self.kube["b"]
        for number in range(rounds(4)):
            with self.subTest(f"two commands, round {number}"):
                first = self.start_restore()
                time.sleep(self.random.uniform(0, 1.5))
                second = self.start_restore()
                said = [one.communicate(timeout=120)[1] for one in (first, second)]
                codes = [first.returncode, second.returncode]
                self.assertIn(0, codes, said)
                for code, errors in zip(codes, said):
                    self.assertIn(code, (0, 1), errors)
                self.assert_restored(state)
                self.assertTrue(self.restore()["resumed"])
                there.remove_claim("orders")
                self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]))

    def test_a_command_and_an_object_to_one_claim_meet_in_one_volume(self):
        state = self.protect()
        self.with_objects(self.osaka)
        self.osaka.stop_agent()
        self.osaka.start_agent()
        there = self.kube["b"]
        for number in range(rounds(3)):
            with self.subTest(f"round {number}"):
                path = self.restore_object(f"back-{number}")
                time.sleep(self.random.uniform(0, 1))
                process = self.start_restore()
                _, errors = process.communicate(timeout=120)
                self.assertIn(process.returncode, (0, 1), errors)
                done = self.wait_for("the object", lambda path=path: self.ended(path), timeout=120)
                self.assertTrue(done["status"]["phase"] == "Succeeded" or process.returncode == 0, (done["status"], errors))
                self.assert_restored(state)
                there.api.admin.delete(path)
                there.remove_claim("orders")
                self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["b"]))


if __name__ == "__main__":
    main()
