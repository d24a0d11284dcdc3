"""The server against what a real kube-apiserver 1.32 sent: README.md lists what is compared."""

import json
import os
import re
import time
import unittest

import replay
from harness import HERE, Harness, wait_for
from trails import Background, by_object, events_of, trail

SHOP = "/api/v1/namespaces/shop"
SAMPLES = "/apis/samples.tidemark.example/v1/namespaces/shop/samples"
CLAIMS = "/apis/objectbucket.io/v1alpha1/namespaces/shop/objectbucketclaims"
AGENT, NOBODY = "agent", "nobody"
# Who asked, where it was not the administrator.
USERS = {143: NOBODY, 201: NOBODY, 202: NOBODY, 141: "nonsense", 156: "expired", 157: "expired",
         **{n: AGENT for n in (142, 144, 145, 146, 147, 148, 149, 150, 152, 153, 215, 231,
                               *range(160, 169), *range(170, 175))}}


class ReplayTest(unittest.TestCase):
    """One server and one story: the methods run in the order of their names, like the recording."""

    maxDiff = None

    compared = set()

    @classmethod
    def setUpClass(cls):
        cls.kube = Harness("--manifest", os.path.join(HERE, "scenario.yaml"))
        cls.replayer = replay.Replayer(cls.kube.port, cls.kube.folder)
        cls.tokens = {"nonsense": "nonsense"}
        for name, account, expires in ((NOBODY, NOBODY, None),
                                       ("expired", "tidemark-agent", time.time() - 60)):
            cls.tokens[name] = f"token-of-{name}"
            cls.kube.test("tokens", {"add": {
                "token": cls.tokens[name], "expires": expires,
                "user": f"system:serviceaccount:tidemark:{account}"}})

    @classmethod
    def tearDownClass(cls):
        cls.kube.close()

    def send(self, number, **more):
        request, want, _ = replay.recorded(number)
        user = USERS.get(number)
        token = None
        if user == AGENT:
            token = self.agent()
        elif user:
            token = self.tokens[user]
        return want, self.replayer.send(request, token=token, anonymous=number == 140, **more)

    @classmethod
    def agent(cls):
        if AGENT not in cls.tokens:
            answer = cls.kube.admin.post(
                "/api/v1/namespaces/tidemark/serviceaccounts/tidemark-agent/token",
                {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                 "spec": {"expirationSeconds": 600}})
            cls.tokens[AGENT] = answer.json["status"]["token"]
        return cls.tokens[AGENT]

    def replay(self, *numbers, ignore=(), same_body=True, **more):
        """Replays exchanges and compares; a GET is repeated until its time has come."""
        for number in numbers:
            self.compared.add(number)
            request, _, name = replay.recorded(number)
            with self.subTest(exchange=name):
                deadline = time.monotonic() + (5 if request.first.startswith("GET ") else 0)
                while True:
                    want, have = self.send(number, **more)
                    found = self.replayer.compare(want, have, same_body)
                    found = [d for d in found if not any(re.search(i, d) for i in ignore)]
                    if not found or time.monotonic() > deadline:
                        break
                    time.sleep(0.05)
                self.assertEqual(found, [], f"{name}: {request.first}")

    def watch(self, number, wait=20, **replace):
        """Begins a recorded watch, with its timeout shortened."""
        request, _, _ = replay.recorded(number)
        for old, new in replace.items():
            request.first = re.sub(rf"{old}=\w+", f"{old}={new}" if new else "", request.first)
        return Background(self.replayer, request, wait)

    def now(self):
        """The newest resourceVersion."""
        return self.kube.admin.get("/api/v1/namespaces?limit=1").json["metadata"][
            "resourceVersion"]

    def same_trail(self, number, background, *of, skip=()):
        self.compared.add(number)
        _, want, name = replay.recorded(number)
        have = background.ended()
        with self.subTest(exchange=name):
            self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
            self.assertTrue(have.complete, "the final chunk is missing")
            wanted = [e for e in trail(events_of(want.body), *of) if e[1] not in skip]
            had = [e for e in trail(events_of(have.body), *of) if e[1] not in skip]
            self.assertEqual(by_object(wanted), by_object(had))
            self.assertEqual([e[0] for e in had].count("BOOKMARK"),
                             [e[0] for e in wanted].count("BOOKMARK"))

    # Basics

    def test_01_basics(self):
        self.replay(1, 91, 101)
        for number in (2, 147):
            self.compared.add(number)
            want, have = self.send(number)
            self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
            key = "resources" if number == 2 else "groups"
            real = {e["name"]: e for e in want.json[key]}
            ours = {e["name"]: e for e in have.json[key]}
            known = [n for n in ours if n in real]
            self.assertEqual(known, list(ours), "all that is served exists in the real one")
            for name in known:
                found = self.replayer.differences(real[name], ours[name])
                self.assertEqual(found, [], f"{number}: {name}")
            self.assertEqual({k: v for k, v in want.json.items() if k != key},
                             {k: v for k, v in have.json.items() if k != key})

    # Claims and volumes

    def claim_and_volume(self, claim_number, volume_number):
        """The claim and the volume that an exchange shows bound, made by hand."""
        _, answer, _ = replay.recorded(volume_number)
        volume = answer.json
        if claim_number:
            claim = replay.recorded(claim_number)[1].json
        else:
            ref = volume["spec"]["claimRef"]
            claim = {"metadata": {"name": ref["name"], "uid": ref["uid"]}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": volume["spec"][
                    "capacity"]}, "volumeMode": volume["spec"]["volumeMode"],
                "storageClassName": volume["spec"]["storageClassName"]}}
        spec = {k: v for k, v in claim["spec"].items() if k != "volumeName"}
        made = self.kube.make(f"{SHOP}/persistentvolumeclaims", {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim["metadata"]["name"]}, "spec": spec})
        self.replayer.tied[claim["metadata"]["uid"]] = made["metadata"]["uid"]
        path = f"{SHOP}/persistentvolumeclaims/{made['metadata']['name']}"
        wait_for(lambda: "annotations" in self.kube.admin.get(path).json["metadata"], path)
        volume["spec"]["claimRef"]["uid"] = made["metadata"]["uid"]
        self.kube.make("/api/v1/persistentvolumes", {
            "apiVersion": "v1", "kind": "PersistentVolume", "spec": volume["spec"],
            "metadata": {k: volume["metadata"][k] for k in ("name", "annotations")}})
        wait_for(lambda: self.kube.admin.get(path).json["status"]["phase"] == "Bound", path)

    def test_10_claims(self):
        since = self.now()
        watches = [self.watch(n, resourceVersion=since, timeoutSeconds=8) for n in (30, 31, 32)]
        time.sleep(0.2)
        self.replay(40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50)
        cls = replay.recorded(40)[0].json
        cls["metadata"]["name"], cls["allowVolumeExpansion"] = "rook-ceph-block-encrypted", False
        self.kube.make("/apis/storage.k8s.io/v1/storageclasses", cls)
        self.claim_and_volume(51, 52)
        self.replay(51, 52)
        self.claim_and_volume(53, 54)
        self.replay(53, 54)
        self.claim_and_volume(None, 55)
        self.replay(55, 56)
        self.kube.admin.patch(f"{SHOP}/persistentvolumeclaims/vm-disk",
                              {"metadata": {"labels": {"tidemark": "protect"}}})
        self.replay(57, 58, 59)
        self.replay(60, ignore=[r"message: "])
        self.replay(61, 62, 63, 64, 65, 66, 67, 68, 69)
        self.kube.make(f"{SHOP}/persistentvolumeclaims", {
            **{k: replay.recorded(48)[0].json[k] for k in ("apiVersion", "kind", "spec")},
            "metadata": {"name": "thief"}})
        self.replay(70, 71, ignore=[r"\.name: 'thief\."])
        self.kube.admin.delete(f"{SHOP}/persistentvolumeclaims/thief")
        self.vanish()
        self.replay(72)
        of = ("status.phase", "spec.volumeName")
        self.same_trail(30, watches[0], *of)
        self.same_trail(31, watches[1], "status.phase")
        self.same_trail(32, watches[2], *of)

    def vanish(self):
        """The story before 072: a volume is taken away by force from under its claim."""
        claim = replay.recorded(48)[0].json
        claim["metadata"]["name"] = "vanish"
        claim["spec"].update(volumeName="vanish-pv", resources={"requests": {"storage": "1Gi"}})
        self.kube.make(f"{SHOP}/persistentvolumeclaims", claim)
        volume = replay.recorded(46)[0].json
        volume["metadata"]["name"] = "vanish-pv"
        volume["spec"].update(capacity={"storage": "1Gi"})
        volume["spec"]["claimRef"]["name"] = "vanish"
        self.kube.make("/api/v1/persistentvolumes", volume)
        path = f"{SHOP}/persistentvolumeclaims/vanish"
        wait_for(lambda: self.kube.admin.get(path).json["status"]["phase"] == "Bound", path)
        self.kube.admin.delete("/api/v1/persistentvolumes/vanish-pv")
        self.kube.admin.patch("/api/v1/persistentvolumes/vanish-pv",
                              {"metadata": {"finalizers": None}})

    # Create, update, delete, refusals

    def test_20_writes(self):
        self.replay(80, 81)
        stale = self.replayer.tied["416"]
        self.kube.admin.put(f"{SHOP}/configmaps/plan", {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plan"},
            "data": {"a": "2"}})
        self.assertNotEqual(self.now(), stale)
        self.replay(*range(82, 91))
        self.replay(92, 93)
        self.replay(94, ignore=[r"^\.metadata\.name: 'restore-"])
        self.replay(*range(95, 101))

    # Custom resources

    def test_30_custom_resources(self):
        self.replay(102, 103, 104)
        watch = self.watch(33, timeoutSeconds=6)
        time.sleep(0.3)
        self.replay(*range(105, 120))
        self.replay(122, 123, 124, 125, 126)
        self.replay(*range(127, 135))
        self.kube.make(SAMPLES, {
            "apiVersion": "samples.tidemark.example/v1", "kind": "Sample", "metadata": {
                "name": "held", "finalizers": ["tidemark.example/hold"]},
            "spec": {"source": "rbd/replicapool/img"}})
        self.replay(135, 136, 137, 138)
        self.assertEqual(self.kube.admin.get(f"{SAMPLES}/held").code, 404)
        for number in range(4):
            self.kube.make(SAMPLES, {
                "apiVersion": "samples.tidemark.example/v1", "kind": "Sample",
                "metadata": {"name": f"bulk-{number}", "labels": {"batch": "1"}},
                "spec": {"source": "rbd/replicapool/img"}})
        self.replay(139)
        self.same_trail(33, watch, "status.phase", "metadata.generation")

    # Who may what

    def test_40_rights(self):
        self.replay(120, 121, ignore=[r"^chunked"])
        self.replay(140, 141, 142, 143, 144, 145, 146, 148, 149, 151, 152, 153)
        self.compared.add(150)
        want, have = self.send(150)
        self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
        for key in ("resourceRules", "nonResourceRules"):
            self.assertCountEqual(want.json["status"][key], have.json["status"][key])
        review = {**replay.recorded(154)[0].json, "spec": {"token": self.agent()}}
        self.replay(154, body=json.dumps(review).encode(), ignore=[r"^chunked"])
        self.replay(155, 156, 157)

    def test_50_leases_and_events(self):
        self.replay(*range(160, 169))
        self.replay(*range(170, 175))

    # Buckets

    def test_60_buckets(self):
        self.kube.server.load_file(os.path.join(HERE, "buckets.yaml"))
        wait_for(lambda: self.kube.admin.get(CLAIMS).code == 200, "buckets are served")
        self.replay(180, 181)
        watch = self.watch(34, resourceVersion=self.now(), timeoutSeconds=6)
        time.sleep(0.3)
        self.replay(182, 183)
        meta = {"finalizers": ["objectbucket.io/finalizer"],
                "labels": {"bucket-provisioner": "rook-ceph.ceph.rook.io-bucket"}}
        path, bucket = f"{CLAIMS}/photos", "photos-1b9c0f7e-5b0e-4d7a-9f0a-2c9f6a0f3a11"
        self.kube.admin.patch(path, {"metadata": meta})
        self.replay(184, 185, 186)
        self.kube.admin.patch("/apis/objectbucket.io/v1alpha1/objectbuckets/obc-shop-photos/status",
                              {"status": {"phase": "Bound"}})
        self.kube.admin.patch(path, {"spec": {"bucketName": bucket,
                                              "objectBucketName": "obc-shop-photos"}})
        self.kube.admin.patch(f"{path}/status", {"status": {"phase": "Bound"}})
        self.replay(187, 188, 189, 190, 191, 192, 193, 194)
        self.kube.admin.patch(path, {"metadata": {"finalizers": None}})
        self.replay(195)
        self.same_trail(34, watch, "status.phase", "metadata.generation", "spec.bucketName")

    # Lists

    def test_70_lists(self):
        self.kube.test("advance", {"resourceVersion": 544})
        self.replay(10, 11, 12)
        token = self.replayer.tied[replay.recorded(10)[1].json["metadata"]["continue"]]
        version = self.replayer.tied["544"]
        self.replay(15)
        for _ in range(3):
            self.kube.make(f"{SHOP}/configmaps", {"metadata": {"generateName": "later-"}})
        self.kube.test("compact", {})
        self.replayer.tied[replay.recorded(10)[1].json["metadata"]["continue"]] = token
        self.replay(13, 14)
        self.replayer.tied["547"] = self.now()
        self.replay(16)
        self.replayer.tied["544"] = version
        self.replay(17, 18, 19, 20, 21, 22, 23, 24, 26)
        self.compared.add(25)
        answer = self.watch(25, timeoutSeconds=1).ended()
        self.assertEqual((answer.code, answer.body, answer.complete), (200, b"", True))

    def test_75_watches_that_do_not_start(self):
        for number in (35, 36):
            want, have = self.send(number)
            self.compared.add(number)
            self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
            self.assertTrue(have.complete)
            shown = [re.sub(r"\d+ \(\d+\)", "A (B)", body.decode())
                     for body in (want.body, have.body)]
            self.assertEqual(*map(json.loads, shown))

    def test_76_streaming_lists(self):
        self.compared.update((37, 38, 39))
        off = self.send(37)[1]
        self.assertEqual(off.code, 422)
        self.kube.server.options.watch_list = True
        self.replay(38)
        for number in (37, 39):
            have = self.watch(number, timeoutSeconds=1).ended()
            want = replay.recorded(number)[1]
            self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
            of = ("status.phase", "metadata.annotations", "spec.volumeName")
            shown = [[json.dumps(e, sort_keys=True) for e in trail(events_of(m.body), *of)]
                     for m in (want, have)]
            self.assertCountEqual(*shown)
        self.kube.server.options.watch_list = False

    # Overload, limits, a store that hangs

    def test_80_overload(self):
        self.kube.admin.delete("/api/v1/namespaces/dying")
        self.replay(200)
        self.kube.test("faults", {"match": {"resource": "persistentvolumes"}, "status": 429,
                                  "count": 2})
        self.replay(201, 202)
        big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"},
               "data": {"a": "x" * 1100000}}
        self.replay(203, body=json.dumps(big).encode())
        self.replay(204, body=json.dumps({"a": "x" * 3300000}).encode())

    def test_81_store_that_hangs(self):
        self.kube.test("store", {"answers": False})
        self.replay(205)
        self.replay(207)
        self.replay(208, 209)
        self.kube.test("store", {"answers": True})
        self.replay(206)

    # exec: handshakes and failures

    def test_85_exec(self):
        self.replay(211, 212, 213, 214, 215)
        for number in (210, 216):
            self.compared.add(number)
            want, have = self.send(number)
            self.assertEqual(want.first, have.first)
            for name in ("Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"):
                self.assertEqual(want.header(name), have.header(name))
            plain = [re.sub(rb"(127\.0\.0\.1|localhost):\d+", b"HOST", m.body)
                     for m in (want, have)]
            self.assertEqual(plain[0][:3], plain[1][:3], "the empty message")
            rest = [text[text.index(b"\x03{"):] for text in plain]  # behind the length
            self.assertEqual(*rest, "the Status, and the close")

    # The end and the beginning

    def test_90_watches_that_end(self):
        for number in (220, 221, 225):
            self.compared.add(number)
            watch = self.watch(number, resourceVersion=self.now())
            time.sleep(0.3)
            if number != 221:
                self.kube.admin.patch(f"{SHOP}/persistentvolumeclaims/orders-db",
                                      {"metadata": {"annotations": {"x": str(number)}}})
                time.sleep(0.2)
            self.kube.test("watches/cut", {"clean": number != 225})
            want, have = replay.recorded(number)[1], watch.ended()
            self.assertEqual((want.code, want.complete), (have.code, have.complete))
            kinds = [[e["type"] for e in events_of(m.body) if e["type"] != "BOOKMARK"]
                     for m in (want, have)]
            self.assertEqual(*kinds)

    def test_91_start_and_shutdown(self):
        self.kube.test("startup", {"roles": False, "customResources": False, "ready": False})
        self.replay(230, 232)
        self.compared.add(231)
        want, have = self.send(231)
        self.assertEqual(self.replayer.compare(want, have, same_body=False), [])
        roles = [sorted(re.findall(r'"([\w:-]+)" not found', m.json["message"]))
                 for m in (want, have)]
        self.assertEqual(*roles)
        self.kube.test("startup", {"shuttingDown": True})
        self.replay(222, 223)
        self.kube.test("startup", {})

    def test_99_all_are_compared(self):
        if len(self.compared) > 50:  # not where single tests are run
            left = set(replay.all_numbers()) - self.compared
            self.assertEqual(left, set(), "exchanges that nothing compares")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
