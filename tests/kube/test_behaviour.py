"""What the recording does not show, and clients rely on all the same."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import cel
import patch
import strategic
import tables
import yaml
from client import Client
from errors import ApiError
from harness import HERE, Harness, wait_for
from quantity import compare

SHOP = "/api/v1/namespaces/shop"
MAPS = f"{SHOP}/configmaps"
THINGS = "/apis/test.example/v1/namespaces/shop/things"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = yaml.safe_load("""
type: object
properties:
  spec:
    type: object
    properties:
      size: {type: integer, minimum: 1, maximum: 10}
      word: {type: string, pattern: '^[a-z]+$', maxLength: 5}
      list: {type: array, maxItems: 2, items: {type: string, enum: [a, b]}}
      open: {type: object, x-kubernetes-preserve-unknown-fields: true}
      port: {x-kubernetes-int-or-string: true}
      at: {type: string, format: date-time}
      nested:
        type: object
        properties: {deep: {type: string, default: d}}
      set: {type: array, x-kubernetes-list-type: set, items: {type: string}}
      pair:
        type: object
        x-kubernetes-validations:
        - {rule: 'has(self.a) != has(self.b)', message: one of a and b}
        properties: {a: {type: string}, b: {type: string}}
  status: {type: object, x-kubernetes-preserve-unknown-fields: true}
""")


def crd(plural="things", kind="Thing", schema=None):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.test.example"},
            "spec": {"group": "test.example", "scope": "Namespaced",
                     "names": {"kind": kind, "plural": plural},
                     "versions": [{"name": "v1", "served": True, "storage": True,
                                   "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": schema or SCHEMA}}]}}


def config_map(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more}}


class BehaviourTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kube = Harness()
        cls.kube.namespace("shop")
        cls.kube.crd(crd())
        cls.admin = cls.kube.admin

    @classmethod
    def tearDownClass(cls):
        cls.kube.close()

    def causes(self, spec, name="bad"):
        answer = self.admin.post(THINGS, {"apiVersion": "test.example/v1", "kind": "Thing",
                                          "metadata": {"name": name}, "spec": spec})
        return answer.code, {c["field"]: c["reason"]
                             for c in answer.json.get("details", {}).get("causes", [])
                             if c["field"] != "<nil>"}

    # Schemas

    def test_each_keyword_of_a_schema_is_held(self):
        for spec, field, reason in (
                ({"size": 11}, "spec.size", "FieldValueInvalid"),
                ({"size": "1"}, "spec.size", "FieldValueTypeInvalid"),
                ({"word": "A"}, "spec.word", "FieldValueInvalid"),
                ({"word": "abcdef"}, "spec.word", "FieldValueTooLong"),
                ({"list": ["c"]}, "spec.list[0]", "FieldValueNotSupported"),
                ({"list": ["a", "b", "a"]}, "spec.list", "FieldValueTooMany"),
                ({"at": "today"}, "spec.at", "FieldValueInvalid"),
                ({"port": True}, "spec.port", "FieldValueTypeInvalid"),
                ({"set": ["x", "x"]}, "spec.set[1]", "FieldValueDuplicate"),
                ({"pair": {}}, "spec.pair", "FieldValueInvalid"),
                ({"pair": {"a": "1", "b": "1"}}, "spec.pair", "FieldValueInvalid")):
            with self.subTest(spec=spec):
                self.assertEqual(self.causes(spec), (422, {field: reason}))

    def test_what_a_schema_allows_is_kept_and_filled(self):
        made = self.kube.make(THINGS, {
            "apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": "good"},
            "spec": {"size": 10, "open": {"any": [1]}, "port": "http", "nested": {},
                     "at": "2026-01-01T00:00:00Z", "pair": {"a": "x"}, "unknown": 1}})
        self.assertEqual(made["spec"], {
            "size": 10, "open": {"any": [1]}, "port": "http", "nested": {"deep": "d"},
            "at": "2026-01-01T00:00:00Z", "pair": {"a": "x"}})

    def test_a_schema_that_is_not_structural_is_refused(self):
        broken = crd("others", "Other", {"type": "object", "properties": {"spec": {
            "properties": {"x": {"type": "string"}}}}})
        answer = self.admin.post(CRDS, broken)
        self.assertEqual(answer.code, 422)
        self.assertIn("properties[spec].type: Required value", answer.json["message"])

    def test_a_rule_that_cannot_be_evaluated_is_refused_with_its_crd(self):
        broken = crd("rules", "Rule", {"type": "object", "x-kubernetes-validations": [
            {"rule": "self.frobnicate(1)"}]})
        self.assertIn("compilation failed", self.admin.post(CRDS, broken).json["message"])

    def test_a_crd_goes_with_its_objects(self):
        self.kube.crd(crd("gones", "Gone", {"type": "object"}))
        path = THINGS.replace("things", "gones")
        self.kube.make(path, {"metadata": {"name": "x"}})
        self.admin.delete(f"{CRDS}/gones.test.example")
        wait_for(lambda: self.admin.get(f"{CRDS}/gones.test.example").code == 404, "it is gone")
        answer = self.admin.get(path)
        self.assertEqual((answer.code, answer.body), (404, b"404 page not found\n"))

    def test_a_changed_schema_is_held_from_then_on(self):
        self.kube.crd(crd("bends", "Bend", {"type": "object", "properties": {
            "a": {"type": "string"}}}))
        path = THINGS.replace("things", "bends")
        self.assertNotIn("b", self.kube.make(path, {"metadata": {"name": "x"}, "b": 1}))
        found = self.admin.get(f"{CRDS}/bends.test.example").json
        found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["b"] = {
            "type": "integer"}
        self.assertEqual(self.admin.put(f"{CRDS}/bends.test.example", found).code, 200)
        numbers = iter(range(1000))
        wait_for(lambda: "b" in self.kube.make(path, {"metadata": {"name": f"y{next(numbers)}"},
                                                      "b": 1}), "the new field is kept")

    def test_cel_knows_what_plain_rules_use(self):
        for rule, variables in (
                ("self.size() > 0 && self.all(x, x.startsWith('a'))", {"self": ["ab"]}),
                ("!has(self.a) || self.a in ['x', 'y']", {"self": {"a": "y"}}),
                ("self.min <= self.max ? true : false", {"self": {"min": 1, "max": 1}}),
                ("self.exists_one(x, x == 1)", {"self": [1, 2]}),
                ("self.matches('^[a-z]+$')", {"self": "abc"}),
                ("self.a.b == 'x' || true", {"self": {}})):
            self.assertIs(cel.evaluate(rule, variables), True, rule)
        self.assertIsNot(cel.evaluate("self.a == 1", {"self": {}}), True)
        with self.assertRaises(cel.CelError):
            cel.parse("self.a ==")

    # Rights

    def test_a_role_in_one_namespace_says_nothing_about_another(self):
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop"
        self.kube.make(f"{rbac}/roles", {"metadata": {"name": "reads"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
             "resourceNames": ["only"]}]})
        self.kube.make(f"{rbac}/rolebindings", {
            "metadata": {"name": "reads"}, "roleRef": {"kind": "Role", "name": "reads"},
            "subjects": [{"kind": "User", "name": "reader"}]})
        self.kube.test("tokens", {"add": {"token": "reader", "user": "reader"}})
        reader = self.kube.as_token("reader")
        for path, code in ((f"{MAPS}/only", 404), (f"{MAPS}/other", 403), (MAPS, 403),
                           ("/api/v1/namespaces/default/configmaps/only", 403)):
            self.assertEqual(reader.get(path).code, code, path)
            answer = self.admin.get(path, headers={"Impersonate-User": "reader"})
            self.assertEqual(answer.code, code, path)
        answer = reader.get(MAPS, headers={"Impersonate-User": "kubernetes-admin"})
        self.assertIn('cannot impersonate resource "users"', answer.json["message"])

    # Typed objects

    def test_unknown_fields_of_built_in_objects_are_warned_about_or_refused(self):
        wrong = {**config_map("unknown"), "dta": {"a": "1"}}
        self.assertEqual(self.admin.post(f"{MAPS}?fieldValidation=Strict", wrong).code, 400)
        answer = self.admin.post(MAPS, wrong)
        self.assertEqual((answer.code, answer.headers["Warning"]),
                         (201, '299 - "unknown field \\"dta\\""'))

    def test_events_of_both_groups_are_the_same_objects(self):
        self.kube.make("/apis/events.k8s.io/v1/namespaces/shop/events", {
            "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "t", "reportingInstance": "i", "action": "A", "reason": "R",
            "regarding": {"kind": "Pod", "namespace": "shop", "name": "p"}, "note": "text",
            "type": "Normal"})
        core = self.admin.get(f"{SHOP}/events/e").json
        self.assertEqual((core["message"], core["involvedObject"]["name"], core["apiVersion"]),
                         ("text", "p", "v1"))

    # Patches

    def test_json_patch_knows_pointers_and_types(self):
        self.assertEqual(patch.json_patch({"a/b": {"~": [1]}}, [
            {"op": "add", "path": "/a~1b/~0/-", "value": 2}]), {"a/b": {"~": [1, 2]}})
        self.assertEqual(patch.json_patch({"a": 1}, [
            {"op": "move", "from": "/a", "path": "/b"}, {"op": "copy", "from": "/b", "path": "/c"}]),
            {"b": 1, "c": 1})
        for operations in ([{"op": "test", "path": "/a", "value": True}], [{"op": "remove"}],
                           [{"op": "replace", "path": "/x", "value": 1}], {"op": "add"},
                           [{"op": "add", "path": "/l/01", "value": 1}]):
            with self.assertRaises(ApiError):
                patch.json_patch({"a": 1, "l": [0, 1]}, operations)

    def test_quantities_are_exact(self):
        self.assertEqual(compare("1Gi", "1024Mi"), 0)
        self.assertEqual(compare("1G", "1Gi"), -1)
        self.assertEqual(compare("1e3", "999"), 1)

    def test_an_updater_and_an_applier_get_in_each_others_way(self):
        self.kube.make(MAPS, {**config_map("both"), "data": {"a": "1"}})
        config = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}})
        answer = self.admin.patch(f"{MAPS}/both?fieldManager=x", config,
                                  "application/apply-patch+yaml")
        self.assertEqual(answer.code, 409)
        self.assertEqual(answer.json["details"]["causes"], [
            {"reason": "FieldManagerConflict", "field": ".data.a",
             "message": 'conflict with "tidemark" using v1'}])
        self.assertEqual(self.admin.get(f"{MAPS}/both").json["data"], {"a": "1"})

    # Selectors, lists

    def test_label_selectors_by_equality_and_by_set(self):
        for name, labels in (("l1", {"t": "a"}), ("l2", {"t": "b"}), ("l3", {"u": "c"})):
            self.kube.make(MAPS, config_map(name, labels=labels))
        for selector, names in (("t%3Da", {"l1"}), ("t%20in%20(a,b)", {"l1", "l2"}),
                                ("t,t!%3Da", {"l2"}), ("u", {"l3"}), ("t%20notin%20(a),t", {"l2"}),
                                ("!t,u", {"l3"})):
            found = self.admin.get(f"{MAPS}?labelSelector={selector}").json["items"]
            self.assertEqual({o["metadata"]["name"] for o in found}, names, selector)
        self.assertEqual(self.admin.get(f"{MAPS}?labelSelector=%3D%3D").code, 400)

    def test_pages_show_one_instant(self):
        self.kube.namespace("pages")
        path = "/api/v1/namespaces/pages/secrets"
        for number in range(7):
            self.kube.make(path, {"metadata": {"name": f"s{number}"}})
        page = self.admin.get(f"{path}?limit=3").json
        names, version = [], page["metadata"]["resourceVersion"]
        self.admin.delete(f"{path}/s5")
        self.kube.make(path, {"metadata": {"name": "s4a"}})
        while True:
            names += [o["metadata"]["name"] for o in page["items"]]
            self.assertEqual(page["metadata"]["resourceVersion"], version)
            token = page["metadata"].get("continue")
            if not token:
                break
            page = self.admin.get(f"{path}?limit=3&continue={token}").json
        self.assertEqual(names, [f"s{n}" for n in range(7)])

    # Deletion

    def delete(self, path, policy):
        return self.admin.delete(path, {"propagationPolicy": policy})

    def family(self, name):
        owner = self.kube.make(MAPS, config_map(f"{name}-owner"))
        self.kube.make(MAPS, config_map(f"{name}-child", ownerReferences=[{
            "apiVersion": "v1", "kind": "ConfigMap", "name": f"{name}-owner",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": True}]))
        return f"{MAPS}/{name}-owner", f"{MAPS}/{name}-child"

    def test_dependents_go_after_before_or_not_at_all(self):
        for policy in ("Background", "Foreground"):
            owner, child = self.family(policy.lower())
            self.delete(owner, policy)
            wait_for(lambda o=owner, c=child: (self.admin.get(o).code, self.admin.get(c).code) == (
                404, 404), f"both are gone: {policy}")
        owner, child = self.family("orphan")
        self.delete(owner, "Orphan")
        wait_for(lambda: self.admin.get(owner).code == 404, "the owner is gone")
        self.assertNotIn("ownerReferences", self.admin.get(child).json["metadata"])

    def test_a_namespace_goes_with_all_that_is_in_it(self):
        self.kube.namespace("brief")
        self.kube.make("/api/v1/namespaces/brief/secrets", {
            "metadata": {"name": "s", "finalizers": ["test.example/hold"]}})
        self.admin.delete("/api/v1/namespaces/brief")
        self.assertEqual(self.admin.get("/api/v1/namespaces/brief").json["status"]["phase"],
                         "Terminating")
        self.admin.patch("/api/v1/namespaces/brief/secrets/s", {"metadata": {"finalizers": None}})
        wait_for(lambda: self.admin.get("/api/v1/namespaces/brief").code == 404, "it is gone")

    def test_a_claim_that_a_pod_uses_stays(self):
        claims = f"{SHOP}/persistentvolumeclaims"
        self.kube.make(claims, {"metadata": {"name": "used"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}}})
        self.kube.make(f"{SHOP}/pods", {"metadata": {"name": "user"}, "spec": {
            "containers": [{"name": "c"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]}})
        self.admin.delete(f"{claims}/used")
        self.kube.namespace("meanwhile")
        wait_for(lambda: self.admin.get("/api/v1/namespaces/meanwhile/serviceaccounts/default").code
                 == 200, "the controllers have looked")
        self.assertEqual(self.admin.get(f"{claims}/used").code, 200)
        self.admin.delete(f"{SHOP}/pods/user")
        wait_for(lambda: self.admin.get(f"{claims}/used").code == 404, "it is gone")

    def test_the_smallest_free_volume_that_fits_is_bound(self):
        def volume(name, size):
            self.kube.make("/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
                "storageClassName": "static", "csi": {"driver": "d", "volumeHandle": name}}})
        volume("big", "8Gi"), volume("fits", "2Gi"), volume("small", "1Gi")
        path = f"{SHOP}/persistentvolumeclaims"
        self.kube.make(path, {"metadata": {"name": "chooses"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "static",
            "resources": {"requests": {"storage": "1500Mi"}}}})
        bound = wait_for(lambda: (found := self.admin.get(f"{path}/chooses").json)["status"][
            "phase"] == "Bound" and found, "it is bound")
        self.assertEqual(bound["spec"]["volumeName"], "fits")
        self.assertEqual(bound["status"]["capacity"], {"storage": "2Gi"})

    # Many at once

    def test_of_many_writers_with_one_version_one_wins(self):
        made = self.kube.make(MAPS, config_map("race"))
        codes, lock = [], threading.Lock()

        def write(number):
            answer = self.admin.put(f"{MAPS}/race", {**made, "data": {"n": str(number)}})
            with lock:
                codes.append(answer.code)
        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(codes), [200] + [409] * 7)

    def test_a_watch_misses_nothing_that_many_writers_do(self):
        since = self.admin.get(MAPS).json["metadata"]["resourceVersion"]
        threads = [threading.Thread(target=lambda n=n: [self.kube.make(
            MAPS, config_map(f"many-{n}-{i}")) for i in range(10)]) for n in range(4)]
        for thread in threads:
            thread.start()
        stream = self.admin.get(f"{MAPS}?watch=true&resourceVersion={since}&timeoutSeconds=4")
        for thread in threads:
            thread.join()
        events = [json.loads(line)["object"]["metadata"] for line in stream.body.splitlines()]
        names = [e["name"] for e in events if e["name"].startswith("many-")]
        self.assertEqual(sorted(names), sorted({f"many-{n}-{i}" for n in range(4)
                                                for i in range(10)}))
        versions = [int(e["resourceVersion"]) for e in events]
        self.assertEqual(versions, sorted(versions))


class ProgramTest(unittest.TestCase):
    """The program as a test of another language starts it."""

    def test_it_says_where_it_listens_and_ends_when_told(self):
        with tempfile.TemporaryDirectory() as folder:
            tokens = os.path.join(folder, "tokens.json")
            with open(tokens, "w", encoding="utf-8") as file:
                json.dump([{"token": "t1", "user": "u", "groups": ["system:masters"]}], file)
            process = subprocess.Popen(
                [sys.executable, "-B", os.path.join(HERE, "apiserver.py"), "--dir", folder,
                 "--token-file", tokens], stdout=subprocess.PIPE, text=True)
            try:
                said = json.loads(process.stdout.readline())
                self.assertEqual(said["pid"], process.pid)
                one = Client(said["port"], folder, token="t1")
                self.assertEqual(one.get("/api/v1/namespaces").code, 200)
                time.sleep(0.01)
                with open(tokens, "w", encoding="utf-8") as file:
                    json.dump([{"token": "t-two", "user": "u"}], file)
                self.assertEqual(one.get("/api/v1/namespaces").code, 401)
                with open(os.path.join(folder, "kubeconfig"), encoding="utf-8") as file:
                    self.assertIn(said["url"], file.read())
            finally:
                process.terminate()
                self.assertEqual(process.wait(10), 0)
                process.stdout.close()


class ForKubectl(unittest.TestCase):
    TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}

    def setUp(self):
        self.api = Harness()
        self.addCleanup(self.api.close)
        self.api.namespace("shop")

    def test_custom_resources_are_tables_of_the_columns_of_their_crd(self):
        kind = crd()
        kind["spec"]["versions"][0]["additionalPrinterColumns"] = [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1}]
        self.api.crd(kind)
        self.api.make(THINGS, {"apiVersion": "test.example/v1", "kind": "Thing", "metadata": {"name": "one"},
                               "spec": {"size": 3}})
        self.api.admin.patch(f"{THINGS}/one/status", {"status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}})
        table = self.api.admin.get(THINGS, headers=self.TABLE).json
        self.assertEqual((table["kind"], table["apiVersion"]), ("Table", "meta.k8s.io/v1"))
        self.assertEqual([(c["name"], c["priority"]) for c in table["columnDefinitions"]],
                         [("Name", 0), ("Size", 0), ("Ready", 0), ("Age", 1)])
        (row,) = table["rows"]
        self.assertEqual(row["cells"][:3], ["one", 3, "True"])
        self.assertEqual((row["object"]["kind"], row["object"]["metadata"]["name"]), ("PartialObjectMetadata", "one"))
        self.assertEqual(len(self.api.admin.get(f"{THINGS}/one", headers=self.TABLE).json["rows"]), 1)
        # Who asks for a table of something that has none gets the next form that was offered.
        self.assertEqual(self.api.admin.get(MAPS, headers=self.TABLE).json["kind"], "ConfigMapList")

    def test_openapi_has_the_schema_of_a_crd_and_says_who_validates(self):
        before = self.api.admin.get("/openapi/v3").json["paths"]
        self.assertNotIn("apis/test.example/v1", before)
        self.api.crd(crd())
        address = self.api.admin.get("/openapi/v3").json["paths"]["apis/test.example/v1"]["serverRelativeURL"]
        found = self.api.admin.get(address).json
        schema = found["components"]["schemas"]["example.test.v1.Thing"]
        self.assertEqual(schema["properties"]["spec"]["properties"]["size"]["maximum"], 10)
        change = found["paths"]["/apis/test.example/v1/namespaces/{namespace}/things/{name}"]["patch"]
        self.assertIn("fieldValidation", [one["name"] for one in change["parameters"]])
        self.assertEqual(self.api.admin.get("/openapi/v3/apis/none/v1").code, 404)

    def test_durations_are_as_kubectl_writes_them(self):
        for seconds, text in [(-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"),
                              (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (47 * 3600, "47h"), (49 * 3600, "2d1h"),
                              (9 * 86400, "9d"), (800 * 86400, "2y70d"), (9 * 365 * 86400, "9y")]:
            self.assertEqual(tables.human(seconds), text)

    def test_a_strategic_patch_merges_lists_by_their_keys(self):
        old = {"containers": [{"name": "a", "image": "1", "env": [{"name": "x", "value": "1"}]}, {"name": "b"}],
               "args": ["1", "2"], "selector": {"one": "1"}, "finalizers": ["f"]}
        new = strategic.merge(old, {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "args": ["3"], "finalizers": ["g"],
            "containers": [{"name": "c"}, {"name": "a", "env": [{"name": "y", "value": "2"}]},
                           {"name": "b", "$patch": "delete"}],
            "selector": {"$patch": "replace", "two": "2"}})
        self.assertEqual(new, {"args": ["3"], "selector": {"two": "2"}, "finalizers": ["f", "g"], "containers": [
            {"name": "c"}, {"name": "a", "image": "1",
                            "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]}]})
        self.assertEqual(strategic.merge(new, {"$deleteFromPrimitiveList/finalizers": ["f"]})["finalizers"], ["g"])


if __name__ == "__main__":
    unittest.main(warnings="ignore")
