"""Claims of Kubernetes: protected by name, and given back as claims that work."""

import json
import os
import signal
import subprocess
import time

import rados
import rbd

from claim_support import CORE, STORAGE, TIDEMARK, KubeCluster, claim, pod, storage_class
from support import MIB, Case, main, rounds

ORDERS = "k8s/shop/pvc/orders"


class ClaimCase(Case):
    def setUp(self):
        super().setUp()
        self.tokyo, self.osaka = self.pair.tokyo, self.pair.osaka
        self.kube = {}
        for name, cluster, site in (("a", self.a, self.tokyo), ("b", self.b, self.osaka)):
            self.kube[name] = KubeCluster(self, cluster.conf)
            self.addCleanup(self.kube[name].close)
            self.configure(site, f"kubernetes: {{ kubeconfig: {self.kube[name].kubeconfig} }}\n")
        self.ceph_b = rados.Rados(conffile=self.b.conf)
        self.ceph_b.connect()
        self.addCleanup(self.ceph_b.shutdown)
        self.tokyo.edit_config('"rbd/rbd/*", "rbd/rbd/tenant/*"', '"rbd/rbd/none-*"')
        self.tokyo.edit_config("policies:\n", "policies:\n  claims: { claims: { namespaces: [ shop ] }, to: osaka }\n")

    def configure(self, site, text):
        site.write_config(site.config_text() + text)

    def orders(self, **options):
        """A claim at tokyo with something in its image."""
        options.setdefault("labels", {"app": "db"})
        made = self.kube["a"].make_claim(claim("orders", **options))
        self.scribble()
        return made

    def scribble(self, name="orders"):
        image = self.kube["a"].image(name)
        for _ in range(6):
            self.write(self.random.randrange(15 * MIB), self.random.randbytes(70000), image)
        return self.content(image)

    def back_up(self, what=ORDERS):
        return self.tokyo.json("backup", what)["points"][0]

    def restore(self, *args, what="tokyo:" + ORDERS, to="shop/orders", code=0):
        done = self.osaka.run("--json", "restore", what, "--to-pvc", to, *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text) if code == 0 else done.errors

    @staticmethod
    def words(path):
        with open(path) as file:
            return file.read().split()

    @staticmethod
    def omap(io, name):
        with rados.ReadOpCtx() as operation:
            found, _ = io.get_omap_vals(operation, "", "", 100)
            io.operate_read_op(operation, name)
            return {key: value.decode() for key, value in found}

    def restored_content(self, name="orders"):
        return self.content(self.kube["b"].image(name), io=self.io["b"])


class Claims(ClaimCase):
    def test_a_claim_that_is_gone_comes_back_at_the_other_site(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        point = self.back_up()
        self.assertEqual(point["labels"]["kubernetes.claim"], ORDERS)
        shown = self.tokyo.json("claims")["claims"]
        self.assertEqual([(one["claim"], one["policy"]) for one in shown], [(ORDERS, "claims")])
        # The provisioner cannot delete an image that has our snapshot: the agent sees to that.
        self.tokyo.start_agent()
        self.kube["a"].remove_claim("orders")
        self.wait_for("its image to go", lambda: not rbd.RBD().list(self.io["a"]))
        self.assertIn("nothing refuses", self.osaka.run("restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders", "--plan").text)
        self.assertEqual(self.kube["b"].claim_names(), [])
        done = self.restore()
        self.assert_same(self.restored_content(), state, "what came back")
        found = self.kube["b"].bound("orders")
        self.assertEqual(found["metadata"]["labels"], {"app": "db"})
        self.assertEqual(found["spec"]["resources"]["requests"]["storage"], "16Mi")
        volume = self.kube["b"].volume("orders")
        self.assertEqual((volume["metadata"]["name"], volume["spec"]["persistentVolumeReclaimPolicy"]),
                         (done["volume"], "Delete"))
        self.assertNotIn("tidemark.dev/restore", volume["metadata"].get("labels", {}))
        self.assertEqual(self.kube["b"].claim_names(), ["orders"])
        # Given again, it is done already.
        self.assertTrue(self.restore()["resumed"])
        # And the claim is one as any other: its volume goes with it.
        self.kube["b"].remove_claim("orders")
        self.wait_for("the image to go", lambda: not rbd.RBD().list(self.io["b"]))

    def test_a_later_claim_of_the_same_name_is_another_one(self):
        self.orders()
        first, early = self.back_up(), self.content(self.kube["a"].image("orders"))
        self.kube["a"].remove_claim("orders")
        self.orders()
        second, late = self.back_up(), self.content(self.kube["a"].image("orders"))
        self.assertNotEqual(first["asset"], second["asset"])
        self.assertNotEqual(first["labels"]["kubernetes.uid"], second["labels"]["kubernetes.uid"])
        listed = self.osaka.json("points", "tokyo:" + ORDERS)["points"]
        self.assertEqual({one["id"] for one in listed}, {first["id"], second["id"]})
        self.restore(to="shop/new")
        self.assert_same(self.restored_content("new"), late, "the newest")
        self.restore("--point", first["id"], to="shop/old")
        self.assert_same(self.restored_content("old"), early, "the earlier claim")
        self.restore(what="tokyo:" + ORDERS + "@" + first["labels"]["kubernetes.uid"][:8], to="shop/by-uid")
        self.assert_same(self.restored_content("by-uid"), early, "the earlier claim by its uid")

    def test_names_classes_and_sizes_are_mapped(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        self.assertIn("no storage class elsewhere", self.restore("--storage-class", "elsewhere", code=4))
        self.assertIn("does not fit", self.restore("--size", "1Mi", code=2))
        self.assertIn("no namespace nowhere", self.restore(to="nowhere/orders", code=4))
        self.kube["b"].api.make(f"{STORAGE}/storageclasses", storage_class("kept", reclaimPolicy="Retain"))
        self.assertEqual(self.kube["b"].claim_names(), [])
        self.restore("--storage-class", "kept", "--size", "24Mi", to="shop/other")
        found = self.kube["b"].bound("other")
        self.assertEqual((found["spec"]["storageClassName"], found["status"]["capacity"]["storage"]), ("kept", "24Mi"))
        self.assertEqual(self.kube["b"].volume("other")["spec"]["persistentVolumeReclaimPolicy"], "Retain")
        self.assert_same(self.restored_content("other"), state + bytes(8 * MIB), "a larger one")

    def test_a_class_that_waits_for_a_pod_makes_its_volume_for_a_node_that_is_ready(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        there = self.kube["b"]
        there.api.make(f"{STORAGE}/storageclasses", storage_class("late", volumeBindingMode="WaitForFirstConsumer"))
        for name, ready, taints in (("down", "False", []), ("master", "True", [{"key": "m", "effect": "NoSchedule"}])):
            there.make_node(name, ready, taints)
        self.assertIn("none is ready", self.restore("--storage-class", "late", "--plan", code=1))
        there.make_node("worker", "True", [])
        self.restore("--storage-class", "late")
        self.assert_same(self.restored_content(), state, "what came back")

    def test_a_static_volume_stands_for_a_new_image(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        done = self.restore("--static", "--size", "20Mi")
        volume = self.kube["b"].volume("orders")
        csi = volume["spec"]["csi"]
        self.assertEqual(csi["volumeAttributes"], {"clusterID": "rook-ceph", "pool": "rbd", "staticVolume": "true",
                                                   "imageFeatures": "layering"})
        self.assertEqual((csi["driver"], csi["fsType"]), ("rook-ceph.rbd.csi.ceph.com", "ext4"))
        self.assertEqual(("rbd/" + csi["volumeHandle"], "Retain"),
                         (done["image"], volume["spec"]["persistentVolumeReclaimPolicy"]))
        self.assert_same(self.content(csi["volumeHandle"], io=self.io["b"]), state + bytes(4 * MIB), "what came back")
        found = self.kube["b"].bound("orders")
        self.assertEqual((found["metadata"]["labels"], found["status"]["capacity"]["storage"]), ({"app": "db"}, "20Mi"))
        self.assertTrue(self.restore("--static")["resumed"])
        # Its image outlives it, and is not made twice.
        self.kube["b"].remove_claim("orders")
        self.assertIn("is there, of claim shop/orders", self.restore("--static", code=5))
        self.restore("--adopt", code=2)

    def test_a_volume_keeps_its_identity_with_the_ids_of_the_other_cluster(self):
        self.orders()
        before = self.kube["a"].volume("orders")
        self.back_up()
        state = self.content(self.kube["a"].image("orders"))
        there = self.kube["b"]
        there.api.make(f"{STORAGE}/storageclasses", storage_class("other-site", parameters={
            "clusterID": "rook-osaka", "pool": "tidemark", "csi.storage.k8s.io/node-stage-secret-name": "node",
            "csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}"}))
        self.restore("--same-volume", "--storage-class", "other-site")
        volume = there.volume("orders")
        self.assertEqual(volume["metadata"]["name"], before["metadata"]["name"])
        csi, was = volume["spec"]["csi"], before["spec"]["csi"]
        uuid = was["volumeHandle"][-36:]
        pool = self.ceph_b.pool_lookup("tidemark")
        self.assertEqual(csi["volumeHandle"], f"0001-000a-rook-osaka-{pool:016x}-{uuid}")
        self.assertEqual({key: csi["volumeAttributes"][key] for key in ("clusterID", "pool", "imageName")},
                         {"clusterID": "rook-osaka", "pool": "tidemark", "imageName": "csi-vol-" + uuid})
        self.assertEqual(csi["nodeStageSecretRef"], {"name": "node", "namespace": "shop"})
        self.assertEqual(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete")
        with self.ceph_b.open_ioctx("tidemark") as io:
            self.assert_same(self.content("csi-vol-" + uuid, io=io), state, "what came back")
            # What ceph-csi looks a handle up in.
            self.assertEqual(self.omap(io, "csi.volumes.default"), {"csi.volume." + volume["metadata"]["name"]: uuid})
            entry = self.omap(io, "csi.volume." + uuid)
            self.assertEqual((entry["csi.volname"], entry["csi.imagename"], entry["csi.volume.owner"]),
                             (volume["metadata"]["name"], "csi-vol-" + uuid, "shop"))
            with rbd.Image(io, "csi-vol-" + uuid, read_only=True) as image:
                self.assertEqual(entry["csi.imageid"], image.id())
            # The provisioner removes it as one of its own.
            there.remove_claim("orders")
            self.wait_for("the image to go", lambda: not rbd.RBD().list(io))
            for name in ("csi.volumes.default", "csi.volume." + uuid):
                io.remove_object(name)

    def test_an_image_that_is_there_is_taken_as_it_is(self):
        self.orders()
        self.back_up()
        image = self.kube["a"].image("orders")
        self.assertIn("no such image", self.restore("--same-volume", "--adopt", code=4))
        rbd.RBD().create(self.io["b"], image, 16 * MIB)
        self.write(0, b"newer than any point", image, io=self.io["b"])
        self.assertIn("is there", self.restore("--same-volume", code=5))
        self.restore("--same-volume", "--adopt")
        self.assertEqual(self.restored_content()[:20], b"newer than any point")

    def test_a_volume_of_ours_is_made_once_whatever_is_killed(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        there = self.kube["b"]
        command = self.osaka.command("--json", "--quiet", "restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders", "--same-volume")
        for number in range(3):  # the volume, the claim, the end of the volume's reservation
            with self.subTest(f"killed before write {number}"):
                process = there.killed_at(command, number)
                self.assertEqual(process.returncode, -signal.SIGKILL)
                self.wait_for("the restore", lambda: self.osaka.run(
                    "restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders", "--same-volume", code=None).returncode == 0, killed=True)
                self.assert_same(self.restored_content(), state, "what came back")
                self.assertEqual(there.claim_names(), ["orders"])
                self.assertEqual(there.volume("orders")["spec"]["persistentVolumeReclaimPolicy"], "Delete")
                there.remove_claim("orders")
                self.wait_for("the image to go", lambda: not rbd.RBD().list(self.io["b"]), killed=True)

    def test_what_is_in_the_way_is_named_and_put_aside_only_by_force(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        there = self.kube["b"]
        there.make_claim(claim("orders", size="8Mi"))
        old = there.volume("orders")["metadata"]["name"]
        self.write(0, b"precious", there.image("orders"), io=self.io["b"])
        precious = there.image("orders")
        there.api.make(f"{CORE}/namespaces/shop/pods", pod("db-0", "orders"))
        self.assertIn("pods use it: db-0", self.restore(code=5))
        self.assertIn("used by pods: db-0", self.restore("--force", code=5))
        there.api.admin.delete(f"{CORE}/namespaces/shop/pods/db-0")
        done = self.restore("--force")
        self.assertEqual(done["put_aside"], old)
        self.assert_same(self.restored_content(), state, "what came back")
        self.assertEqual(self.content(precious, io=self.io["b"])[:8], b"precious")
        self.assertEqual(there.get(f"{CORE}/persistentvolumes/{old}")["status"]["phase"], "Released")

    def test_a_kill_before_any_write_to_the_api(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        command = self.osaka.command("--json", "--quiet", "restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders")
        there = self.kube["b"]
        before = there.writes()
        self.restore()
        total = there.writes() - before
        self.assertGreaterEqual(total, 6)
        for number in sorted(self.random.sample(range(total), min(rounds(4), total))):
            with self.subTest(f"killed before write {number} of {total}"):
                there.remove_claim("orders")
                process = there.killed_at(command, number)
                self.assertEqual(process.returncode, -signal.SIGKILL)
                # What a killed client held is Ceph's to end.
                self.wait_for("the restore", lambda: self.osaka.run(
                    "restore", "tokyo:" + ORDERS, "--to-pvc", "shop/orders", code=None).returncode == 0, killed=True)
                self.assert_same(self.restored_content(), state, "what came back")
                self.assertEqual(there.claim_names(), ["orders"])
                self.assertEqual(there.volume("orders")["spec"]["persistentVolumeReclaimPolicy"], "Delete")

    def test_an_application_is_one_set_and_its_points_carry_what_it_is_made_of(self):
        here = self.kube["a"]
        self.tokyo.edit_config("claims: { namespaces: [ shop ] }", "set: true, claims: { namespaces: [ shop ], labels: app=db }")
        self.orders()
        here.make_claim(claim("queue", labels={"app": "db"}))
        self.scribble("queue")
        here.make_claim(claim("other", labels={"app": "web"}))
        made = here.api.make("/apis/apps/v1/namespaces/shop/statefulsets", {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "labels": {"app": "db"}},
            "spec": {"serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
                     "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}}}})
        owned = pod("db-0", "orders")
        owned["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db",
                                                 "uid": made["metadata"]["uid"], "controller": True}]
        strange = pod("db-1", "orders")
        strange["metadata"]["ownerReferences"] = [{"apiVersion": "example.com/v1", "kind": "Database", "name": "main",
                                                   "uid": "2", "controller": True}]
        for one in (owned, strange, pod("alone", "orders"), pod("apart", "other")):
            here.api.make(f"{CORE}/namespaces/shop/pods", one)
        points = self.tokyo.json("backup", "--policy", "claims")["points"]
        self.assertEqual({one["labels"]["kubernetes.claim"] for one in points}, {ORDERS, "k8s/shop/pvc/queue"})
        self.assertEqual(len({one["set"] for one in points}), 1)
        ids = {one["labels"]["kubernetes.claim"]: one["id"] for one in points}
        carried = json.loads(self.osaka.run("points", "show", ids[ORDERS], "--manifests").text)
        self.assertEqual((carried["kind"], carried["apiVersion"]), ("List", "v1"))
        named = {(one["kind"], one["metadata"]["name"]): one for one in carried["items"]}
        volume = here.volume("orders")["metadata"]["name"]
        self.assertEqual(sorted(named), [
            ("Database", "main"), ("Namespace", "shop"), ("PersistentVolume", volume), ("PersistentVolumeClaim", "orders"),
            ("Pod", "alone"), ("StatefulSet", "db"), ("StorageClass", "rook-ceph-block")])
        self.assertEqual(named["StatefulSet", "db"]["spec"]["serviceName"], "db")
        self.assertNotIn("spec", named["Database", "main"])
        for one in carried["items"]:
            self.assertNotIn("uid", one["metadata"])
            self.assertNotIn("status", one)
        # The whole of it, at one instant.
        for name in ("orders", "queue"):
            self.restore("--set", "latest", what="tokyo:k8s/shop/pvc/" + name, to="shop/" + name)
        self.assertEqual(self.kube["b"].claim_names(), ["orders", "queue"])

    def restore_all(self, *args, to="shop", code=0):
        done = self.osaka.run("--json", "restore", "tokyo:k8s/shop", "--to-namespace", to, *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text) if done.text else done.errors

    def test_a_namespace_comes_back_by_one_command(self):
        there = self.kube["b"]
        self.tokyo.edit_config("claims: { namespaces: [ shop ] }", "set: true, claims: { namespaces: [ shop ] }")
        self.assertIn("no point of tokyo:k8s/shop", self.restore_all(code=4))
        self.orders()
        self.kube["a"].make_claim(claim("queue"))
        states = {name: self.scribble(name) for name in ("orders", "queue")}
        first = self.tokyo.json("backup", "--policy", "claims")["points"]
        newer = self.scribble()
        self.back_up()
        for args, what in ((("--point", first[0]["id"]), "newest points"), (("--storage-class", "kept"), "old=new"),
                           (("--storage-class", "a=b,c"), "maps no"), (("--size", "1Gi"), "--size"),
                           (("--to-pvc", "shop/x"), "exactly one")):
            self.assertIn(what, self.restore_all(*args, code=2))
        self.assertIn("no set 'ffff'", self.restore_all("--set", "ffff", code=4))
        self.assertIn("--to-namespace", self.restore(what="tokyo:k8s/shop", code=2))
        planned = self.restore_all("--plan")
        self.assertEqual(([one["target"] for one in planned["claims"]], planned["restored"]),
                         (["k8s/shop/pvc/orders", "k8s/shop/pvc/queue"], 0))
        self.assertEqual(there.claim_names(), [])
        # What is in the way of one holds up no other.
        there.make_claim(claim("orders", size="4Mi"))
        done = self.restore_all(code=3)
        self.assertEqual(done["restored"], 1)
        self.assertEqual([one.get("error", {}).get("code") for one in done["claims"]], ["already_exists", None])
        there.remove_claim("orders")
        done = self.restore_all()
        self.assertEqual([one["resumed"] for one in done["claims"]], [False, True])
        self.assert_same(self.restored_content("orders"), newer, "the newest point")
        self.assert_same(self.restored_content("queue"), states["queue"], "the newest point")
        # All of one instant, to another namespace and class.
        there.api.namespace("copy")
        there.api.make(f"{STORAGE}/storageclasses", storage_class("kept", reclaimPolicy="Retain"))
        for args in (("--set", "latest"), ("--as-of", first[0]["time"], "--force")):
            done = self.restore_all("--storage-class", "rook-ceph-block=kept,no-such=at-all", *args, to="copy")
            self.assertEqual({one["point"]["id"] for one in done["claims"]}, {one["id"] for one in first})
            for name, state in states.items():
                self.assertEqual(there.bound(name, "copy")["spec"]["storageClassName"], "kept")
                self.assert_same(self.content(there.image(name, "copy"), io=self.io["b"]), state, name)

    def test_a_namespace_goes_on_where_a_kill_ended_it(self):
        states, there = {}, self.kube["b"]
        for name in ("orders", "queue", "users"):
            self.kube["a"].make_claim(claim(name))
            states[name] = self.scribble(name)
        self.tokyo.run("backup", "--policy", "claims")
        command = self.osaka.command("--json", "--quiet", "restore", "tokyo:k8s/shop", "--to-namespace", "shop")
        before = there.writes()
        self.restore_all()
        total = there.writes() - before
        for number in sorted(self.random.sample(range(total), rounds(3))):
            with self.subTest(f"killed before write {number} of {total}"):
                for name in states:
                    there.remove_claim(name)
                self.assertEqual(there.killed_at(command, number).returncode, -signal.SIGKILL)
                # What a killed client held is Ceph's to end: until then that claim is left out.
                self.wait_for("the restore", lambda: self.osaka.run(*command[3:], code=None).returncode == 0, killed=True)
                self.assertEqual(there.claim_names(), sorted(states))
                for name, state in states.items():
                    self.assert_same(self.restored_content(name), state, name)
                self.assertEqual(len(rbd.RBD().list(self.io["b"])), len(states), "images that nobody has")

    def test_claims_without_a_volume_of_ours_are_named_and_left_out(self):
        here = self.kube["a"]
        self.orders()
        here.api.make(f"{STORAGE}/storageclasses", storage_class("files", provisioner="rook-ceph.cephfs.csi.ceph.com"))
        here.api.make(here.claims_path(), claim("waiting", storage_class_name="files"))
        done = self.tokyo.run("--json", "backup", "--policy", "claims")
        self.assertEqual(len(json.loads(done.text)["points"]), 1)
        self.assertIn("k8s/shop/pvc/waiting is not protected: the claim is not bound", done.errors)
        self.assertIn("not bound", self.tokyo.run("backup", "k8s/shop/pvc/waiting", code=5).errors)
        self.tokyo.run("backup", "k8s/shop/pvc/unknown", code=4)
        self.tokyo.run("backup", "k8s/billing/pvc/orders", code=4)

    def test_commands_in_pods_freeze_and_thaw(self):
        self.orders()
        folder = os.path.join(self.dir, "db-0")
        os.makedirs(folder)
        pods = f"{CORE}/namespaces/shop/pods"
        self.kube["a"].api.make(pods, pod("db-0", "orders", folder, {
            "tidemark.dev/before": json.dumps(["sh", "-c", "echo frozen >> log"]),
            "tidemark.dev/after": json.dumps(["sh", "-c", "echo thawed >> log"])}))
        self.back_up()
        log = os.path.join(folder, "log")
        self.assertEqual(self.words(log), ["frozen", "thawed"])
        self.kube["a"].api.admin.delete(f"{pods}/db-0")
        self.kube["a"].api.make(pods, pod("db-1", "orders", folder, {
            "tidemark.dev/before": json.dumps(["sh", "-c", "echo no room >&2; exit 3"]),
            "tidemark.dev/after": json.dumps(["sh", "-c", "echo thawed again >> log"])}))
        refused = self.tokyo.run("backup", ORDERS, code=5).errors
        self.assertIn("exit code 3: no room", refused)
        self.assertEqual(self.words(log)[2:], ["thawed", "again"])
        self.assertEqual(len(self.osaka.json("points", "tokyo:" + ORDERS)["points"]), 1)


    def test_a_pod_that_a_killed_backup_left_frozen_is_thawed(self):
        self.orders()
        folder = os.path.join(self.dir, "db-0")
        os.makedirs(folder)
        log = os.path.join(folder, "log")
        self.kube["a"].api.make(f"{CORE}/namespaces/shop/pods", pod("db-0", "orders", folder, {
            "tidemark.dev/before": json.dumps(["sh", "-c", "echo frozen >> log; sleep 5"]),
            "tidemark.dev/after": json.dumps(["sh", "-c", "echo thawed >> log"])}))
        process = subprocess.Popen(self.tokyo.command("backup", ORDERS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for("the freeze", lambda: os.path.exists(log))
        process.kill()
        process.wait()
        self.tokyo.start_agent()
        self.wait_for("the thaw", lambda: self.words(log) == ["frozen", "thawed"])
        self.wait_for("its note to go", lambda: not os.listdir(os.path.join(self.tokyo.dir, "state", "frozen")))


class Agents(ClaimCase):
    """What the daemon does with claims and objects."""

    def test_new_claims_are_seen_at_once_and_an_idle_server_is_left_alone(self):
        self.tokyo.edit_config("claims: { claims: { namespaces: [ shop ] }, to: osaka }",
                               "claims: { claims: { namespaces: [ shop ] }, to: osaka, every: 1h }")
        self.tokyo.start_agent()
        self.orders()

        def protected():
            found = self.osaka.run("--json", "points", "tokyo:" + ORDERS, code=None)
            return found.returncode == 0
        began = time.monotonic()
        self.wait_for("its first point", protected)
        print(f"first point after {time.monotonic() - began:.1f} s")
        here = self.kube["a"].api
        time.sleep(2)
        before = here.test("requests", method="GET")["requests"]
        time.sleep(20)
        self.assertEqual(here.test("requests", method="GET")["requests"], before, "no request without a change")
        self.kube["a"].remove_claim("orders")
        self.wait_for("it to be forgotten", lambda: not self.tokyo.json("status")["assets"])

    def test_an_object_restores_as_the_command_does(self):
        self.orders()
        state = self.content(self.kube["a"].image("orders"))
        self.back_up()
        there = self.kube["b"]
        there.install_crds()
        self.osaka.edit_config("kubernetes: { kubeconfig:", "kubernetes: { custom_resources: true, kubeconfig:")
        self.osaka.stop_agent()
        self.osaka.start_agent()
        path = f"{TIDEMARK}/namespaces/shop/restores"
        there.api.make(path, {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "back"},
                              "spec": {"claim": {"name": "orders"}, "target": {"name": "orders"}}})

        def ended(name="back"):
            found = there.get(f"{path}/{name}")
            return found if found.get("status", {}).get("phase") in ("Succeeded", "Failed") else None
        done = self.wait_for("the restore", ended)
        self.assertEqual(done["status"]["phase"], "Succeeded", done)
        self.assertEqual(done["status"]["volumeName"], there.volume("orders")["metadata"]["name"])
        ready = done["status"]["conditions"][0]
        self.assertEqual((ready["type"], ready["status"], ready["reason"]), ("Ready", "True", "Restored"))
        self.assert_same(self.restored_content(), state, "what came back")
        self.assertEqual(there.bound("orders")["metadata"]["labels"], {"app": "db"})
        reasons = {one["reason"] for one in there.get("/apis/events.k8s.io/v1/namespaces/shop/events")["items"]}
        self.assertLessEqual({"Restoring", "Restored"}, reasons)
        # One that cannot be done says why, and one from elsewhere reads nothing here.
        there.api.make(path, {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "again"},
                              "spec": {"claim": {"name": "orders"}, "target": {"name": "orders", "storageClassName": "none"}}})
        failed = self.wait_for("the second", lambda: ended("again"))
        self.assertEqual((failed["status"]["phase"], failed["status"]["conditions"][0]["reason"]), ("Failed", "NotFound"))
        there.api.namespace("elsewhere")
        other = f"{TIDEMARK}/namespaces/elsewhere/restores"
        there.api.make(other, {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "theft"},
                               "spec": {"claim": {"namespace": "shop", "name": "orders"}, "target": {"name": "mine"}}})
        refused = self.wait_for("the theft", lambda: (there.get(f"{other}/theft").get("status") or {}).get("phase") == "Failed")
        self.assertTrue(refused)
        self.assertEqual(there.claim_names("elsewhere"), [])

    def test_a_policy_object_protects_and_its_end_deletes_no_point(self):
        here = self.kube["a"]
        here.install_crds()
        self.tokyo.edit_config("kubernetes: { kubeconfig:", "kubernetes: { custom_resources: true, kubeconfig:")
        self.tokyo.start_agent()
        self.orders()
        path = f"{TIDEMARK}/namespaces/shop/protectionpolicies"
        policy = {"apiVersion": "tidemark.dev/v1alpha1", "kind": "ProtectionPolicy", "metadata": {"name": "hourly"},
                  "spec": {"selector": {"labelSelector": {"matchLabels": {"app": "db"}}}, "destination": "osaka",
                           "schedule": {"every": "1h"}, "retention": {"keepLast": 3}}}
        here.api.make(path, policy)
        self.wait_for("its first point", lambda: self.osaka.run("points", "tokyo:" + ORDERS, code=None).returncode == 0)
        point = self.osaka.json("points", "tokyo:" + ORDERS)["points"][0]
        self.assertEqual(point["labels"]["policy"], "k8s.shop.hourly")

        def told():
            status = here.get(f"{path}/hourly").get("status") or {}
            return status if status.get("lastPointTime") else None
        status = self.wait_for("its status", told, timeout=150)
        self.assertEqual((status["protectedClaims"], status["observedGeneration"]), (1, 1))
        self.assertEqual({one["type"]: one["status"] for one in status["conditions"]},
                         {"Ready": "True", "BackupsSucceed": "True"})
        wrong = dict(policy, metadata={"name": "wrong"}, spec=dict(policy["spec"], destination="mars"))
        here.api.make(path, wrong)

        def refused():
            conditions = (here.get(f"{path}/wrong").get("status") or {}).get("conditions") or []
            return {one["type"]: one for one in conditions}.get("Ready")
        self.assertIn("no destination 'mars'", self.wait_for("its status", refused, timeout=150)["message"])
        here.api.admin.delete(f"{path}/hourly")
        self.wait_for("it to be forgotten", lambda: "k8s.shop.hourly" not in
                      [one["policy"] for one in self.tokyo.json("status")["assets"]], timeout=120)
        self.assertEqual(len(self.osaka.json("points", "tokyo:" + ORDERS)["points"]), 1)


if __name__ == "__main__":
    main()
