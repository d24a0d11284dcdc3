#!/usr/bin/env python3
"""The custom resources: schemas that an API server takes, that know the options, and refuse nonsense."""

import copy
import json
import pathlib
import unittest

import jsonschema

import kustomize

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRDS = ROOT / "deploy/kubernetes/crds"
SAMPLES = ROOT / "deploy/kubernetes/samples"
# What a structural schema may not have at all, and what not within anyOf, oneOf, allOf and not.
FORBIDDEN = {"$ref", "definitions", "dependencies", "patternProperties", "uniqueItems", "id",
             "deprecated", "discriminator", "readOnly", "writeOnly", "xml"}
ONLY_STRUCTURAL = {"description", "type", "default", "additionalProperties", "nullable"}
MAY_LACK_DESCRIPTION = {"metadata", "items", "additionalProperties"}


def definitions():
    return {m["spec"]["names"]["kind"]: m
            for path in sorted(CRDS.glob("tidemark.dev_*.yaml")) for m in kustomize.load(path)}


def schema_of(kind):
    return definitions()[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def closed(schema):
    """Fields that the schema does not know are dropped by an API server, or refused when asked: here they are."""
    schema = copy.deepcopy(schema)

    def close(node):
        if node.get("type") == "object" and "properties" in node:
            node["additionalProperties"] = False
            for child in node["properties"].values():
                close(child)
        if isinstance(node.get("items"), dict):
            close(node["items"])
    for name, child in schema["properties"].items():
        if name != "metadata":
            close(child)
    return schema


def refused(kind, manifest):
    return [e.message for e in jsonschema.Draft7Validator(
        closed(schema_of(kind)), format_checker=jsonschema.FormatChecker()).iter_errors(manifest)]


def in_camel_case(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Structure(unittest.TestCase):
    def test_the_group_has_four_namespaced_kinds(self):
        self.assertEqual(set(definitions()), {"ProtectionPolicy", "RecoveryPoint", "Restore", "Drill"})
        short = []
        for kind, crd in definitions().items():
            spec = crd["spec"]
            self.assertEqual((spec["group"], spec["scope"]), ("tidemark.dev", "Namespaced"))
            self.assertEqual(crd["metadata"]["name"], spec["names"]["plural"] + ".tidemark.dev")
            self.assertEqual(spec["names"]["plural"], spec["names"]["singular"].replace("policy", "policie") + "s")
            self.assertEqual(spec["names"]["singular"], kind.lower())
            (version,) = spec["versions"]
            self.assertEqual((version["name"], version["served"], version["storage"]), ("v1alpha1", True, True))
            self.assertEqual(version["subresources"], {"status": {}})
            short += spec["names"]["shortNames"]
        self.assertEqual(len(short), len(set(short)))

    def test_schemas_are_structural(self):
        for kind in definitions():
            self.walk(schema_of(kind), kind, "")

    def walk(self, node, where, key):
        self.assertFalse(FORBIDDEN & set(node), where)
        self.assertIn("type", node, where)
        if key not in MAY_LACK_DESCRIPTION:
            self.assertTrue(node.get("description", "").endswith("."), where)
        self.assertFalse("properties" in node and "additionalProperties" in node, where)
        if node["type"] == "array":
            self.assertIn("items", node, where)
            self.walk(node["items"], where + "[]", "items")
        if "additionalProperties" in node:
            self.walk(node["additionalProperties"], where + "{}", "additionalProperties")
        if node["type"] == "object" and key != "metadata":
            self.assertTrue("properties" in node or "additionalProperties" in node, where)
        self.assertLessEqual(set(node.get("required", [])), set(node.get("properties", {})), where)
        for name, child in node.get("properties", {}).items():
            self.walk(child, where + "." + name, name)
        for word in ("oneOf", "anyOf", "allOf"):
            for branch in node.get(word, []):
                self.walk_condition(branch, node, where)
        if "not" in node:
            self.walk_condition(node["not"], node, where)

    def walk_condition(self, node, structural, where):
        """A condition names only what the structural part has."""
        self.assertFalse(ONLY_STRUCTURAL & set(node), where)
        self.assertLessEqual(set(node.get("required", [])), set(structural["properties"]), where)
        for word in ("oneOf", "anyOf", "allOf"):
            for branch in node.get(word, []):
                self.walk_condition(branch, structural, where)
        if "not" in node:
            self.walk_condition(node["not"], structural, where)

    def test_conditions_are_kubernetes_own(self):
        for kind in definitions():
            status = schema_of(kind)["properties"]["status"]["properties"]
            self.assertEqual(status["observedGeneration"]["type"], "integer")
            conditions = status["conditions"]
            self.assertEqual(conditions["x-kubernetes-list-type"], "map")
            self.assertEqual(conditions["x-kubernetes-list-map-keys"], ["type"])
            self.assertEqual(set(conditions["items"]["required"]),
                             {"type", "status", "lastTransitionTime", "reason", "message"})

    def test_defaults_are_values_of_their_own_schema(self):
        def walk(node):
            if "default" in node:
                jsonschema.validate(node["default"], {k: v for k, v in node.items() if k != "default"})
            for child in node.get("properties", {}).values():
                walk(child)
            if "items" in node:
                walk(node["items"])
        for kind in definitions():
            walk(schema_of(kind))

    def test_columns_show_fields_that_are_there(self):
        for kind, crd in definitions().items():
            columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
            self.assertEqual(columns[-1]["jsonPath"], ".metadata.creationTimestamp")
            for column in columns[:-1]:
                path = column["jsonPath"].split("[")[0].strip(".").split(".")
                node = schema_of(kind)
                for step in path:
                    self.assertIn(step, node["properties"], column)
                    node = node["properties"][step]


class Options(unittest.TestCase):
    """The resources say what the configuration says, under the same names."""

    def setUp(self):
        schema = json.loads((ROOT / "tests/golden/config/schema.json").read_text(encoding="utf-8"))
        self.options = {name: value["additionalProperties"]["properties"]
                        for name, value in schema["properties"].items()
                        if name in ("policies", "drills")}

    def test_a_drill_has_every_option_of_a_plan(self):
        self.hold(self.options["drills"], schema_of("Drill")["properties"]["spec"]["properties"])

    def hold(self, options, fields):
        self.assertEqual({in_camel_case(name) for name in options}, set(fields))
        for name, option in options.items():
            field = fields[in_camel_case(name)]
            self.assertEqual(option.get("type", "string"), field["type"], name)
            self.assertEqual(option.get("enum"), field.get("enum"), name)
            for bound in ("minimum", "maximum"):
                if bound in option:
                    self.assertEqual(option[bound], field[bound], name)
            if "properties" in option:
                self.hold(option["properties"], field["properties"])

    def test_retention_has_every_line_of_keep(self):
        keep = self.options["policies"]["keep"]["properties"]
        expected = {in_camel_case(n if n == "locked_for" else "keep_" + n) for n in keep}
        spec = schema_of("ProtectionPolicy")["properties"]["spec"]["properties"]
        self.assertEqual(expected, set(spec["retention"]["properties"]))

    def test_a_schedule_is_said_as_in_a_policy(self):
        spec = schema_of("ProtectionPolicy")["properties"]["spec"]["properties"]
        for name in spec["schedule"]["properties"]:
            self.assertIn(name, self.options["policies"])


class Samples(unittest.TestCase):
    def setUp(self):
        self.samples = {m["kind"]: m for m in kustomize.render(SAMPLES)}

    def test_every_kind_has_a_sample_that_is_taken(self):
        self.assertEqual(set(self.samples), set(definitions()))
        for kind, sample in self.samples.items():
            self.assertEqual(sample["apiVersion"], "tidemark.dev/v1alpha1")
            self.assertEqual(refused(kind, sample), [])

    def changed(self, kind, **changes):
        sample = copy.deepcopy(self.samples[kind])
        for path, value in changes.items():
            *steps, last = path.split("__")
            node = sample["spec"]
            for step in steps:
                node = node.setdefault(step, {})
            if value is None:
                del node[last]
            else:
                node[last] = value
        return refused(kind, sample)

    def test_two_schedules_are_refused(self):
        self.assertEqual(self.changed("ProtectionPolicy", schedule={"cron": "0 * * * *"}), [])
        self.assertTrue(self.changed("ProtectionPolicy", schedule={"cron": "0 * * * *", "every": "1h"}))
        self.assertTrue(self.changed("ProtectionPolicy", schedule={"timezone": "UTC"}))
        self.assertTrue(self.changed("Drill", every="1d", cron="0 3 * * *"))
        self.assertEqual(self.changed("Drill", calendar=None), [])

    def test_a_restore_names_a_point_or_a_claim(self):
        point = {"point": "5f3a9c", "claim": None, "asOf": None}
        self.assertEqual(self.changed("Restore", **point), [])
        self.assertTrue(self.changed("Restore", point="5f3a9c"), "both")
        self.assertTrue(self.changed("Restore", **{**point, "asOf": "-2h"}), "a time of a point")
        self.assertTrue(self.changed("Restore", claim=None, asOf=None), "neither")
        self.assertTrue(self.changed("Restore", target=None))

    def test_what_is_none_is_refused(self):
        self.assertTrue(self.changed("ProtectionPolicy", schedule={"every": "one hour"}))
        self.assertTrue(self.changed("ProtectionPolicy", retention__keepHourly=-1))
        self.assertTrue(self.changed("ProtectionPolicy", retention__keepMinutely=1), "an unknown field")
        self.assertTrue(self.changed("ProtectionPolicy", selector__kinds=["Pod"]))
        self.assertTrue(self.changed("ProtectionPolicy", selector__kinds=[]))
        self.assertTrue(self.changed("ProtectionPolicy", destination=None))
        self.assertTrue(self.changed("ProtectionPolicy", consistency__hooks__pre=[{"container": "db"}]))
        self.assertTrue(self.changed("RecoveryPoint", id="5f3a9c"), "not the whole id")
        self.assertTrue(self.changed("Drill", method="magic"))
        self.assertTrue(self.changed("Drill", assets=["rbd/rbd/no-site"]))
        self.assertTrue(self.changed("Restore", target__size="large"))
        self.assertTrue(self.changed("Restore", target__kind="Bucket"))
        self.assertTrue(self.changed("Restore", target__bucketName="Photos"))
        self.assertEqual(self.changed("Restore", target__kind="ObjectBucketClaim", target__bucketName="photos"), [])


class Immutability(unittest.TestCase):
    def test_a_restore_cannot_be_changed(self):
        spec = schema_of("Restore")["properties"]["spec"]
        self.assertEqual([rule["rule"] for rule in spec["x-kubernetes-validations"]], ["self == oldSelf"])


if __name__ == "__main__":
    unittest.main()
