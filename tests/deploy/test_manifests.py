#!/usr/bin/env python3
"""The manifests of deploy/kubernetes, rendered: complete, consistent, and with no right too many."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

import kustomize
import tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ["source", "store", "pair/tokyo", "pair/osaka"]
CLUSTER_KINDS = kustomize.CLUSTER_KINDS
# Made by hand before the manifests are applied (docs/kubernetes.md), or by cert-manager.
SECRETS = {"tidemark-tls", "tidemark-keys", "tidemark-ceph-keys", "tidemark-monitoring-tls",
           "tidemark-ca"}
OPTIONAL = {"tidemark-roots", "tidemark-keys"}
READ = {"get", "list", "watch"}
BINARY = os.environ.get("TM_BINARY", "")


def pod_specs(manifests):
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest, manifest["spec"]["template"]["spec"]


def roles(manifests):
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ClusterRole"}


def granted(role):
    """(group, resource, verb) of all rules."""
    return {(group, resource, verb) for rule in role["rules"] for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}


class EveryOverlay(unittest.TestCase):
    def renders(self):
        for name in OVERLAYS:
            with self.subTest(name):
                yield name, kustomize.render(KUBERNETES / "overlays" / name)

    def test_every_file_parses_and_is_used(self):
        used = set()
        for path in KUBERNETES.rglob("kustomization.yaml"):
            (text,) = kustomize.load(path)
            files = text.get("resources", []) + [p["path"] for p in text.get("patches", []) if "path" in p]
            for entry in text.get("configMapGenerator", []):
                files += entry["files"]
            used |= {(path.parent / name).resolve() for name in files} | {path.resolve()}
        for path in KUBERNETES.rglob("*.yaml"):
            kustomize.load(path)
            self.assertIn(path.resolve(), used, "no kustomization names it")

    def test_kubectl_renders_the_same(self):
        kubectl = tools.find_kubectl()
        if not kubectl:
            self.skipTest("no kubectl of 1.27 or newer: scripts/install-deploy-tools brings it")
        for name, ours in self.renders():
            out = subprocess.run([kubectl, "kustomize", KUBERNETES / "overlays" / name],
                                 capture_output=True, text=True, check=True)
            self.assertEqual(out.stderr, "")
            theirs = {kustomize.identity(m): m for m in kustomize.load_text(out.stdout)}
            self.assertEqual({kustomize.identity(m): m for m in ours}, theirs)

    def test_names_are_given_once(self):
        for _, manifests in self.renders():
            names = [kustomize.identity(m) for m in manifests]
            self.assertEqual(len(names), len(set(names)))

    def test_all_lies_in_the_namespace(self):
        for _, manifests in self.renders():
            for manifest in manifests:
                expected = None if manifest["kind"] in CLUSTER_KINDS else "tidemark"
                self.assertEqual(manifest["metadata"].get("namespace"), expected, manifest)
                self.assertEqual(manifest["metadata"]["labels"]["app.kubernetes.io/name"], "tidemark")

    def test_what_is_referred_to_is_there(self):
        for _, manifests in self.renders():
            have = {kustomize.identity(m) for m in manifests} | {("Secret", s) for s in SECRETS}
            for _, spec in pod_specs(manifests):
                self.assertIn(("ServiceAccount", spec["serviceAccountName"]), have)
                for kind, name, optional in sources_of(spec["volumes"]):
                    self.assertEqual(optional, name in OPTIONAL, name)
                    if not optional:
                        self.assertIn((kind, name), have)
            for manifest in manifests:
                if manifest["kind"].endswith("RoleBinding"):
                    reference = manifest["roleRef"]
                    self.assertIn((reference["kind"], reference["name"]), have)
                    for subject in manifest["subjects"]:
                        self.assertEqual(subject["namespace"], "tidemark")
                        self.assertIn((subject["kind"], subject["name"]), have)

    def test_selectors_meet_the_agents_pod(self):
        for _, manifests in self.renders():
            by_name = {kustomize.identity(m): m for m in manifests}
            agent = by_name["Deployment", "tidemark-agent"]["spec"]
            labels = agent["template"]["metadata"]["labels"].items()
            self.assertLessEqual(agent["selector"]["matchLabels"].items(), labels)
            service = by_name["Service", "tidemark-agent"]
            self.assertLessEqual(service["spec"]["selector"].items(), labels)
            ports = {p["name"] for p in agent["template"]["spec"]["containers"][0]["ports"]}
            self.assertIn(service["spec"]["ports"][0]["targetPort"], ports)
            budget = by_name["PodDisruptionBudget", "tidemark-agent"]["spec"]
            self.assertEqual(budget["selector"], agent["selector"])
            for manifest in manifests:
                if manifest["kind"] == "NetworkPolicy":
                    self.assertLessEqual(manifest["spec"]["podSelector"]["matchLabels"].items(), labels)
                if manifest["kind"] == "ServiceMonitor":
                    self.assertLessEqual(manifest["spec"]["selector"]["matchLabels"].items(),
                                         service["metadata"]["labels"].items())
                    self.assertEqual(service["metadata"]["labels"][manifest["spec"]["jobLabel"]],
                                     "tidemark")

    def test_the_configuration_is_one_that_the_agent_takes(self):
        schema = json.loads((ROOT / "tests/golden/config/schema.json").read_text(encoding="utf-8"))
        for name, manifests in self.renders():
            by_name = {kustomize.identity(m): m for m in manifests}
            (config,) = kustomize.load_text(by_name["ConfigMap", "tidemark-config"]["data"]["tidemark.yaml"])
            jsonschema.validate(config, schema)
            self.assertEqual(config["site"],
                             by_name["Deployment", "tidemark-agent"]["metadata"]["labels"]["tidemark.dev/site"])
            self.assertEqual(config["listen"], "0.0.0.0:7443")
            for manifest in manifests:
                if kustomize.identity(manifest) == ("Certificate", "tidemark-agent"):
                    self.assertEqual(manifest["spec"]["uris"], ["tidemark://site/" + config["site"]])
                    monitor = by_name["ServiceMonitor", "tidemark-agent"]["spec"]["endpoints"][0]
                    self.assertIn(monitor["tlsConfig"]["serverName"], manifest["spec"]["dnsNames"])
            if ("ServiceMonitor", "tidemark-agent") in by_name:
                self.assertTrue(config["peers"]["monitoring"]["metrics"], name)

    @unittest.skipUnless(os.path.exists(BINARY), "the program is not built")
    def test_the_program_finds_nothing_wrong_with_the_configuration(self):
        for overlay in OVERLAYS:
            text = (KUBERNETES / "overlays" / overlay / "tidemark.yaml").read_text(encoding="utf-8")
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "tidemark.yaml"
                path.write_text(text, encoding="utf-8")
                out = subprocess.run([BINARY, "--config", path, "config", "check"],
                                     capture_output=True, text=True, check=False)
                self.assertEqual((out.returncode, out.stderr), (0, ""), out.stdout)
                self.assertIn("good", out.stdout)

    def test_every_path_of_the_configuration_is_mounted(self):
        for _, manifests in self.renders():
            by_name = {kustomize.identity(m): m for m in manifests}
            text = by_name["ConfigMap", "tidemark-config"]["data"]["tidemark.yaml"]
            (container,) = by_name["Deployment", "tidemark-agent"]["spec"]["template"]["spec"]["containers"]
            mounts = [m["mountPath"] for m in container["volumeMounts"]]
            (config,) = kustomize.load_text(text)
            for path in paths_in(config):
                self.assertTrue(any(path.startswith(mount + "/") for mount in mounts), path)
            # The keyrings that ceph.conf names have the users that the configuration names.
            ceph = by_name["ConfigMap", "tidemark-ceph"]["data"]["ceph.conf"]
            users = {config["ceph"]["user"]}
            users |= {v for k, v in config.get("store", {}).get("backend", {}).items() if k == "ceph_user"}
            for user in users:
                self.assertIn(f"[client.{user}]\nkeyfile = /etc/ceph/{user}.key", ceph)


def paths_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from paths_in(item)
    elif isinstance(value, str) and value.startswith("/"):
        yield value


def sources_of(volumes):
    """(kind, name, optional) of what volumes are made of."""
    for volume in volumes:
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"], source["configMap"].get("optional", False)
            if "secret" in source:
                secret = source["secret"]
                yield ("Secret", secret.get("name") or secret["secretName"], secret.get("optional", False))
            if "persistentVolumeClaim" in source:
                yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"], False


class Privileges(unittest.TestCase):
    def test_no_container_has_more_than_the_restricted_profile_gives(self):
        for name in OVERLAYS:
            for manifest, spec in pod_specs(kustomize.render(KUBERNETES / "overlays" / name)):
                pod = spec["securityContext"]
                self.assertTrue(pod["runAsNonRoot"])
                self.assertEqual({pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]}, {10001})
                self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(spec), manifest)
                self.assertFalse(any("hostPath" in volume for volume in spec["volumes"]))
                for container in spec["containers"] + spec.get("initContainers", []):
                    context = container["securityContext"]
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertTrue(context["readOnlyRootFilesystem"])
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertIs(context["privileged"], False)
                    self.assertIn("memory", container["resources"]["limits"])
                    self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"})

    def test_no_role_has_a_wildcard(self):
        for path in KUBERNETES.rglob("*.yaml"):
            for manifest in kustomize.load(path):
                if manifest.get("kind") in ("Role", "ClusterRole"):
                    self.assertNotIn("*", json.dumps(manifest["rules"]), path)

    def test_the_agent_alone_writes_only_what_is_its_own(self):
        role = roles(kustomize.render(KUBERNETES / "overlays/source"))["tidemark-agent"]
        for group, resource, verb in granted(role):
            own = group == "tidemark.dev" or (resource == "events" and verb in ("create", "patch"))
            self.assertTrue(own or verb in READ, (group, resource, verb))
            self.assertNotIn(resource, ("secrets", "pods/exec"))
        for resource in ("persistentvolumeclaims", "persistentvolumes", "namespaces", "pods"):
            for verb in READ:
                self.assertIn(("", resource, verb), granted(role))

    def test_what_is_added_is_exactly_what_it_says(self):
        have = roles(kustomize.render(KUBERNETES / "overlays/pair/tokyo"))
        self.assertEqual(granted(have["tidemark-agent-secrets"]), {("", "secrets", "get")})
        self.assertEqual(granted(have["tidemark-agent-exec"]),
                         {("", "pods/exec", "get"), ("", "pods/exec", "create")})
        self.assertEqual(granted(have["tidemark-agent-workloads"]),
                         {(group, resource, "get") for group, resources in (
                             ("apps", ("deployments", "replicasets", "statefulsets", "daemonsets")),
                             ("batch", ("jobs", "cronjobs"))) for resource in resources})
        self.assertEqual(granted(have["tidemark-agent-restore"]),
                         {("", "persistentvolumeclaims", "create"), ("", "persistentvolumeclaims", "delete"),
                          ("", "persistentvolumes", "create"), ("", "persistentvolumes", "patch"),
                          ("", "nodes", "list"), ("events.k8s.io", "events", "list"),
                          *(("objectbucket.io", "objectbuckets", verb) for verb in ("create", "patch", "delete")),
                          ("objectbucket.io", "objectbuckets/status", "patch")})
        self.assertEqual(granted(have["tidemark-agent-restore-buckets"]),
                         {*(("objectbucket.io", "objectbucketclaims", verb) for verb in ("create", "patch", "delete")),
                          ("objectbucket.io", "objectbucketclaims/status", "patch"),
                          ("objectbucket.io", "objectbucketclaims/finalizers", "update"),
                          *(("", resource, verb) for resource in ("configmaps", "secrets")
                            for verb in ("get", "create", "patch"))})
        for name in ("source", "store", "pair/osaka"):
            have = roles(kustomize.render(KUBERNETES / "overlays" / name))
            self.assertEqual(set(have), {"tidemark-agent", "tidemark-view", "tidemark-edit"})

    def test_nothing_comes_in_but_to_the_agents_port_from_the_peer(self):
        for name in OVERLAYS:
            manifests = kustomize.render(KUBERNETES / "overlays" / name)
            policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
            self.assertEqual(policies["tidemark-agent"]["policyTypes"], ["Ingress", "Egress"])
            self.assertNotIn("ingress", policies["tidemark-agent"])
            for spec in policies.values():
                for rule in spec.get("ingress", []):
                    self.assertEqual(rule["ports"], [{"protocol": "TCP", "port": "https"}])
                for rule in spec.get("ingress", []) + spec.get("egress", []):
                    self.assertTrue(rule.get("from") or rule.get("to"), "from or to anywhere")
                    self.assertTrue(rule["ports"])
                    for end in rule.get("from", []) + rule.get("to", []):
                        self.assertNotIn("/0", end.get("ipBlock", {}).get("cidr", ""))
            peers = [e["ipBlock"]["cidr"] for r in policies["tidemark-site"].get("ingress", [])
                     for e in r["from"]]
            self.assertEqual(len(peers), 0 if name == "source" else 1)


class Prometheus(unittest.TestCase):
    def test_the_rule_resource_has_the_rules_of_the_file(self):
        (rule,) = kustomize.load(KUBERNETES / "components/monitoring/prometheusrule.yaml")
        (file,) = kustomize.load(ROOT / "deploy/prometheus/tidemark.rules.yaml")
        self.assertEqual(rule["spec"], file)


class Ceph(unittest.TestCase):
    def test_rooks_users_have_the_caps_of_the_page_and_no_others(self):
        page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
        written = {name: (mon, osd) for name, mon, osd in re.findall(
            r"ceph auth get-or-create client\.(\S+) mon '([^']*)' osd '([^']*)'", page)}
        self.assertEqual(set(written), {"tidemark", "tidemark-store"})
        users, pools = {}, set()
        for name in ("rook-source", "rook-store"):
            for manifest in kustomize.load(ROOT / "deploy/ceph" / (name + ".yaml")):
                if manifest["kind"] == "CephClient":
                    users[manifest["metadata"]["name"]] = manifest["spec"]["caps"]
                if manifest["kind"] == "CephBlockPool":
                    pools.add(manifest["metadata"]["name"])
        # Rook's usual pool of volumes has another name than the page's.
        found = {name: (caps.pop("mon"), caps.pop("osd").replace("pool=replicapool", "pool=rbd"))
                 for name, caps in users.items()}
        self.assertEqual(found, written)
        self.assertFalse(any(users.values()), "more caps than those")
        (config,) = kustomize.load(KUBERNETES / "overlays/store/tidemark.yaml")
        self.assertIn(config["store"]["backend"]["pool"], pools)


class Version(unittest.TestCase):
    def test_the_image_is_of_the_version_that_is_built(self):
        text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        version = text.split("project(tidemark VERSION ")[1].split()[0]
        for name in OVERLAYS:
            for _, spec in pod_specs(kustomize.render(KUBERNETES / "overlays" / name)):
                for container in spec["containers"]:
                    self.assertEqual(container["image"], "tidemark:" + version)


class TheYamlReader(unittest.TestCase):
    def test_a_key_that_is_there_twice_is_refused(self):
        with self.assertRaises(yaml.YAMLError):
            kustomize.load_text("a: 1\nb: 2\na: 3\n")


if __name__ == "__main__":
    unittest.main()
