#!/usr/bin/env python3
"""kubectl, the real one, with all that is to be applied: against the API server of tests/kube.

It is taken from $TM_KUBECTL, tools/ of the build or the path. Where none is new enough, ctest says that this was
skipped (scripts/install-deploy-tools brings it).
"""

import json
import os
import subprocess
import sys
import unittest

import yaml

import kustomize
import tools

sys.path.insert(0, str(tools.ROOT / "tests/kube"))

import apiserver  # noqa: E402
from harness import Harness, wait_for  # noqa: E402

KUBERNETES = tools.ROOT / "deploy/kubernetes"
OVERLAYS = ["source", "store", "pair/tokyo", "pair/osaka"]
KUBECTL = tools.find_kubectl()
SKIPPED = 77
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Of cert-manager and of the Prometheus operator: that they are there, not what is in them.
OTHERS = [("cert-manager.io", "v1", "Certificate", "certificates"), ("cert-manager.io", "v1", "Issuer", "issuers"),
          ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
          ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")]


def any_kind(group, version, kind, plural):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Namespaced",
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": kind + "List"},
                     "versions": [{"name": version, "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": schema}}]}}


class Cluster(unittest.TestCase):
    def setUp(self):
        self.api = Harness()
        self.addCleanup(self.api.close)
        with open(self.api.path("kubeconfig"), "w", encoding="utf-8") as file:
            yaml.safe_dump(apiserver.kubeconfig(self.api.server), file)

    def kubectl(self, *arguments, code=0, text=None):
        out = subprocess.run([KUBECTL, "--kubeconfig", self.api.path("kubeconfig"), *arguments], capture_output=True,
                             text=True, check=False, input=text, timeout=60,
                             env={**os.environ, "HOME": self.api.folder})
        self.assertEqual(out.returncode, code, f"{arguments}: {out.stdout}{out.stderr}")
        if code == 0:
            self.assertEqual(out.stderr, "", arguments)
        return out.stdout if code == 0 else out.stderr

    def install_others(self):
        for one in OTHERS:
            self.api.crd(any_kind(*one))

    def install_ours(self):
        self.kubectl("apply", "-k", str(KUBERNETES / "crds"))
        for plural in ("drills", "protectionpolicies", "recoverypoints", "restores"):
            path = f"/apis/tidemark.dev/v1alpha1/{plural}"
            wait_for(lambda path=path: self.api.admin.get(path).code == 200, f"{plural} are served")

    @staticmethod
    def folder(name):
        return str(KUBERNETES / "overlays" / name)

    def assert_all(self, text, count, end):
        lines = text.splitlines()
        self.assertEqual(len(lines), count, text)
        for line in lines:
            self.assertTrue(line.endswith(end), line)


class Applying(Cluster):
    def test_every_overlay_would_be_taken(self):
        self.install_others()
        for name in OVERLAYS:
            with self.subTest(name):
                count = len(kustomize.render(self.folder(name)))
                self.assert_all(self.kubectl("apply", "--dry-run=client", "-k", self.folder(name)), count,
                                "created (dry run)")
        self.kubectl("apply", "-f", str(KUBERNETES / "base/namespace.yaml"))
        for name in OVERLAYS:
            with self.subTest(f"{name}, by the server"):
                text = self.kubectl("apply", "--dry-run=server", "--validate=strict", "-k", self.folder(name))
                self.assertEqual(len(text.splitlines()), len(kustomize.render(self.folder(name))))
        self.assertEqual(json.loads(self.kubectl("get", "deployments,crd,pvc,jobs", "-A", "-o", "json"))["items"],
                         self.stand_ins(), "a dry run leaves nothing behind")

    def stand_ins(self):
        return json.loads(self.kubectl("get", "crd", "-o", "json"))["items"][:len(OTHERS)]

    def test_every_overlay_is_applied_and_applying_it_again_changes_nothing(self):
        for name in OVERLAYS:
            with self.subTest(name):
                self.setUp()
                self.install_others()
                self.install_ours()
                self.kubectl("apply", "-k", self.folder(name))
                again = self.kubectl("apply", "-k", self.folder(name)).splitlines()
                # kubectl sends a budget's selector each time, as it is replaced and not merged.
                changed = [line for line in again if not line.endswith("unchanged")]
                self.assertEqual(changed, ["poddisruptionbudget.policy/tidemark-agent configured"])
                # What is stored says all that the manifests say: nothing was pruned or refused.
                there = json.loads(self.kubectl("get", "-k", self.folder(name), "-o", "json"))["items"]
                stored = {kustomize.identity(one): one for one in there}
                for manifest in kustomize.render(self.folder(name)):
                    self.assert_within(manifest, stored[kustomize.identity(manifest)], kustomize.identity(manifest))

    def assert_within(self, asked, there, where):
        if isinstance(asked, dict):
            for key, value in asked.items():
                if value not in ({}, [], None, ""):
                    self.assertIn(key, there, where)
                    self.assert_within(value, there[key], f"{where}.{key}")
        elif isinstance(asked, list):
            self.assertEqual(len(asked), len(there), where)
            for one, other in zip(asked, there):
                self.assert_within(one, other, where)
        else:
            self.assertEqual(asked, there, where)

    def test_a_change_of_an_overlay_reaches_what_runs(self):
        self.install_ours()
        self.kubectl("apply", "-k", self.folder("source"))
        text = self.kubectl("kustomize", self.folder("source"))
        self.assertIn("image: tidemark:", text)
        self.kubectl("apply", "-f", "-", text=text.replace("image: tidemark:", "image: registry.example/tidemark:9"))
        there = json.loads(self.kubectl("-n", "tidemark", "get", "deployment", "tidemark-agent", "-o", "json"))
        (container,) = there["spec"]["template"]["spec"]["containers"]
        self.assertIn("registry.example/tidemark:9", container["image"])
        (asked,) = [one for one in kustomize.load_text(text) if one["kind"] == "Deployment"]
        self.assert_within(asked["spec"]["template"]["spec"]["containers"][0]["volumeMounts"],
                           container["volumeMounts"], "what is mounted")

    def test_what_is_deleted_with_the_overlay_is_gone(self):
        self.install_ours()
        self.kubectl("apply", "-k", self.folder("store"))
        # The rest of the namespace may be gone before it is asked for.
        self.kubectl("delete", "-k", self.folder("store"), "--wait=false", "--ignore-not-found")
        wait_for(lambda: self.api.admin.get("/api/v1/namespaces/tidemark").code == 404, "the namespace to go")
        left = self.kubectl("get", "deployments,pvc,networkpolicies,clusterroles", "-A", "-o", "name").splitlines()
        self.assertEqual([name for name in left if "tidemark" in name], [])


class Resources(Cluster):
    def setUp(self):
        super().setUp()
        self.install_ours()
        for name in ("tidemark", "shop"):
            self.api.namespace(name)

    def test_samples_are_taken_strictly_and_shown_in_the_columns_of_their_kinds(self):
        count = len(kustomize.render(KUBERNETES / "samples"))
        for mode in ("client", "server"):
            text = self.kubectl("apply", f"--dry-run={mode}", "--validate=strict", "-k", str(KUBERNETES / "samples"))
            self.assertEqual(len(text.splitlines()), count)
        self.kubectl("apply", "-k", str(KUBERNETES / "samples"))
        self.assert_all(self.kubectl("apply", "-k", str(KUBERNETES / "samples")), count, "unchanged")
        for path in sorted((KUBERNETES / "crds").glob("tidemark.dev_*.yaml")):
            (crd,) = kustomize.load(path)
            names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
            for wide in (False, True):
                shown = [c for c in version["additionalPrinterColumns"] if wide or not c.get("priority")]
                head, *rows = self.kubectl("get", names["shortNames"][0], "-A", *(["-o", "wide"] if wide else [])) \
                    .splitlines()
                self.assertEqual(head.split(), " ".join(["NAMESPACE", "NAME"] + [c["name"].upper() for c in shown])
                                 .split(), names["kind"])
                self.assertEqual(len(rows), 1)
            self.assertIn("DESCRIPTION", self.kubectl("explain", names["plural"] + ".spec"))
        (sample,) = kustomize.load(KUBERNETES / "samples/protectionpolicy.yaml")
        row = self.kubectl("get", "tmpp", "-A").splitlines()[1].split()
        self.assertEqual(row[1:3], [sample["metadata"]["name"], sample["spec"]["destination"]])
        self.assertRegex(row[-1], r"^\d+s$")

    def test_the_columns_show_what_the_status_says(self):
        self.kubectl("apply", "-k", str(KUBERNETES / "samples"))
        (sample,) = kustomize.load(KUBERNETES / "samples/restore.yaml")
        meta, ready = sample["metadata"], {"type": "Ready", "status": "False", "reason": "NotFound", "message": "none",
                                           "lastTransitionTime": "2026-11-22T09:30:00Z"}
        status = {"status": {"phase": "Failed", "conditions": [ready]}}
        self.kubectl("-n", meta["namespace"], "patch", "restore", meta["name"], "--subresource=status",
                     "--type=merge", "-p", json.dumps(status))
        head, row = self.kubectl("-n", meta["namespace"], "get", "tmr", meta["name"]).splitlines()
        self.assertIn("Failed", row)
        self.assertEqual(row.index("Failed"), head.index("PHASE"))

    def test_a_mistake_is_named_before_it_is_stored(self):
        text = (KUBERNETES / "samples/restore.yaml").read_text(encoding="utf-8")
        wrong = text.replace("  target:\n", "  targett: {}\n  target:\n")
        self.assertIn('unknown field "spec.targett"', self.kubectl("apply", "-f", "-", text=wrong, code=1))
        (sample,) = kustomize.load_text(text)
        del sample["spec"]["target"]
        self.assertIn("spec.target: Required value",
                      self.kubectl("apply", "-f", "-", text=yaml.safe_dump(sample), code=1))
        self.assertEqual(json.loads(self.kubectl("get", "tmr", "-A", "-o", "json"))["items"], [])


if __name__ == "__main__":
    if not KUBECTL:
        print("no kubectl of 1.27 or newer: scripts/install-deploy-tools brings it", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
