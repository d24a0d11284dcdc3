#!/usr/bin/env python3
"""The chart: the same manifests as the overlays, and values that are checked.

Helm is taken from $TM_HELM, tools/ of the build or the path. Where there is none, ctest says that this was
skipped (scripts/install-deploy-tools brings it).
"""

import copy
import json
import pathlib
import subprocess
import sys
import unittest

import jsonschema

import kustomize
import tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/tidemark"
OVERLAYS = ROOT / "deploy/kubernetes/overlays"
HELM = tools.find("helm")
SKIPPED = 77
PAIRS = {"source": "source", "store": "store", "pair-tokyo": "pair/tokyo", "pair-osaka": "pair/osaka"}
# What Helm adds for itself, and what it cannot have: its own namespace.
HELMS_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def template(*arguments):
    return subprocess.run([HELM, "template", "tidemark", CHART, "--namespace", "tidemark", "--include-crds",
                           *arguments], capture_output=True, text=True, check=False)


def comparable(manifests):
    """By kind and name; the configuration as what it says, not as how it is written."""
    found = {}
    for manifest in manifests:
        manifest = copy.deepcopy(manifest)
        labels = manifest["metadata"]["labels"]
        for label in HELMS_LABELS:
            labels.pop(label, None)
        if manifest["kind"] == "CustomResourceDefinition":
            labels.pop("tidemark.dev/site", None)
        annotations = manifest["metadata"].get("annotations", {})
        annotations.pop("helm.sh/resource-policy", None)
        if not annotations:
            manifest["metadata"].pop("annotations", None)
        if "tidemark.yaml" in manifest.get("data", {}):
            manifest["data"]["tidemark.yaml"] = kustomize.load_text(manifest["data"]["tidemark.yaml"])
        found[kustomize.identity(manifest)] = manifest
    return found


class TheChart(unittest.TestCase):
    maxDiff = None

    def test_it_renders_what_the_overlays_render(self):
        for example, overlay in PAIRS.items():
            with self.subTest(example):
                out = template("-f", CHART / "examples" / (example + ".yaml"))
                self.assertEqual(out.returncode, 0, out.stderr)
                theirs = comparable(kustomize.load_text(out.stdout))
                ours = comparable(kustomize.render(OVERLAYS / overlay))
                # A chart cannot make the namespace that it is installed in.
                del ours["Namespace", "tidemark"]
                self.assertEqual(set(ours), set(theirs))
                for name, manifest in ours.items():
                    self.assertEqual(manifest, theirs[name], name)

    def test_it_is_in_order(self):
        for example in PAIRS:
            out = subprocess.run([HELM, "lint", "--strict", CHART, "-f", CHART / "examples" / (example + ".yaml")],
                                 capture_output=True, text=True, check=False)
            self.assertEqual(out.returncode, 0, out.stdout + out.stderr)

    def refused(self, *settings):
        out = template("-f", CHART / "examples/source.yaml", *settings)
        return out.stderr if out.returncode else ""

    def test_values_that_make_no_sense_are_refused(self):
        self.assertEqual(self.refused(), "")
        for setting, word in {"site=": "site", "replicas=2": "replicas", "imag.tag=1": "imag",
                              "networkPolicy.egressTo={osaka}": "egressTo", "state.size=large": "size",
                              "config.site=kyoto": "config.site", "config.listen=0.0.0.0:80": "listen",
                              "ceph.conf=none": "conf", "networkPolicy.apiServer.cidrs=null": "apiServer"}.items():
            self.assertIn(word, self.refused("--set", setting), setting)

    def test_every_value_changes_what_it_says(self):
        digest = "sha256:" + "ab" * 32
        out = template("-f", CHART / "examples/pair-osaka.yaml", "--set",
                       "image.repository=registry.example/tidemark,image.digest=" + digest,
                       "--set", "state.storageClassName=fast,fileStore.storageClassName=slow,replicas=0",
                       "--set", "networkPolicy.cephCidrs={192.0.2.64/26},networkPolicy.rook.namespace=",
                       "--set", "nodeSelector.disk=ssd,priorityClassName=high,podAnnotations.a=b",
                       "--set", "imagePullSecrets[0].name=pull,service.annotations.c=d")
        self.assertEqual(out.returncode, 0, out.stderr)
        have = {kustomize.identity(m): m for m in kustomize.load_text(out.stdout)}
        agent = have["Deployment", "tidemark-agent"]["spec"]
        pod = agent["template"]["spec"]
        self.assertEqual(pod["containers"][0]["image"], "registry.example/tidemark@" + digest)
        job = have["Job", "tidemark-store-init"]["spec"]["template"]["spec"]
        self.assertEqual(job["containers"][0]["image"], pod["containers"][0]["image"])
        self.assertEqual(agent["replicas"], 0)
        self.assertEqual((pod["nodeSelector"], pod["priorityClassName"]), ({"disk": "ssd"}, "high"))
        self.assertEqual(agent["template"]["metadata"]["annotations"]["a"], "b")
        self.assertEqual(have["PersistentVolumeClaim", "tidemark-state"]["spec"]["storageClassName"], "fast")
        self.assertEqual(have["PersistentVolumeClaim", "tidemark-store"]["spec"]["storageClassName"], "slow")
        self.assertEqual(have["ServiceAccount", "tidemark-agent"]["imagePullSecrets"], [{"name": "pull"}])
        self.assertEqual(have["Service", "tidemark-agent"]["metadata"]["annotations"], {"c": "d"})
        ceph = have["NetworkPolicy", "tidemark-agent"]["spec"]["egress"][1]["to"]
        self.assertEqual(ceph, [{"ipBlock": {"cidr": "192.0.2.64/26"}}])

    def test_policies_can_be_left_out(self):
        out = template("-f", CHART / "examples/pair-tokyo.yaml", "--set", "networkPolicy.enabled=false")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertNotIn("NetworkPolicy", {m["kind"] for m in kustomize.load_text(out.stdout)})


class Values(unittest.TestCase):
    def setUp(self):
        (self.values,) = kustomize.load(CHART / "values.yaml")
        self.schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def test_every_value_is_in_the_schema_and_every_one_of_the_schema_in_the_values(self):
        self.hold(self.values, self.schema, "")

    def hold(self, values, schema, where):
        if "properties" not in schema:
            return
        self.assertEqual(set(values), set(schema["properties"]) - {"global"}, where)
        for name, value in values.items():
            self.hold(value, schema["properties"][name], where + "." + name)

    def test_what_stands_in_the_values_fits_but_for_what_a_site_must_say(self):
        missing = {"/".join(map(str, e.absolute_path)) for e in
                   jsonschema.Draft7Validator(self.schema).iter_errors(self.values)}
        self.assertEqual(missing, {"site", "config", "ceph/conf"})

    def test_the_versions_are_the_programs(self):
        text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        version = text.split("project(tidemark VERSION ")[1].split()[0]
        (chart,) = kustomize.load(CHART / "Chart.yaml")
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))


if __name__ == "__main__":
    if not HELM:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(Values)
        done = unittest.TextTestRunner().run(suite)
        print("helm is not there: scripts/install-deploy-tools brings it", file=sys.stderr)
        sys.exit(SKIPPED if done.wasSuccessful() else 1)
    unittest.main()
