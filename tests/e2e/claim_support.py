"""What the end-to-end tests of claims share: an API server for each site, in front of its real cluster."""

import os
import sys

import yaml

ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
sys.path.insert(0, os.path.join(ROOT, "tests/kube"))

import apiserver  # noqa: E402
from harness import Harness  # noqa: E402

CORE, STORAGE = "/api/v1", "/apis/storage.k8s.io/v1"
TIDEMARK = "/apis/tidemark.dev/v1alpha1"
CRDS = os.path.join(ROOT, "deploy/kubernetes/crds")
CLASS = "rook-ceph-block"


def storage_class(name=CLASS, **more):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "rook-ceph.rbd.csi.ceph.com", "reclaimPolicy": "Delete", "allowVolumeExpansion": True,
            "volumeBindingMode": "Immediate",
            "parameters": {"clusterID": "rook-ceph", "pool": "rbd", "imageFeatures": "layering"}, **more}


def claim(name, size="16Mi", storage_class_name=CLASS, labels=None, annotations=None, **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class_name,
                     "resources": {"requests": {"storage": size}}, **spec}}


def pod(name, claim_name, folder=None, annotations=None):
    marks = dict(annotations or {})
    if folder:
        marks["kube-test/exec-dir"] = folder
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": marks},
            "spec": {"nodeName": "node-1", "containers": [{"name": "db", "image": "db"}],
                     "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]},
            "status": {"phase": "Running"}}


class KubeCluster:
    """One cluster: an API server whose provisioner makes real images."""

    def __init__(self, case, conf, namespaces=("shop", "tidemark")):
        self.case = case
        self.api = Harness("--ceph-conf", conf, "--manifest", os.path.join(ROOT, "tests/kube/buckets.yaml"))
        self.api.make(f"{STORAGE}/storageclasses", storage_class())
        for name in namespaces:
            self.api.namespace(name)
        self.kubeconfig = self.api.path("kubeconfig")
        config = apiserver.kubeconfig(self.api.server)
        config["contexts"][0]["context"]["namespace"] = "tidemark"
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)

    def close(self):
        self.api.close()

    def install_crds(self):
        for name in sorted(os.listdir(CRDS)):
            if name.startswith("tidemark.dev_"):
                with open(os.path.join(CRDS, name), encoding="utf-8") as file:
                    self.api.crd(yaml.safe_load(file))

    @staticmethod
    def claims_path(name="", ns="shop"):
        return f"{CORE}/namespaces/{ns}/persistentvolumeclaims" + (f"/{name}" if name else "")

    def get(self, path):
        answer = self.api.admin.get(path)
        return answer.json if answer.code == 200 else None

    def make_claim(self, obj, ns="shop"):
        self.api.make(self.claims_path(ns=ns), obj)
        return self.bound(obj["metadata"]["name"], ns)

    def make_node(self, name, ready, taints):
        self.api.make(f"{CORE}/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                                        "spec": {"taints": taints} if taints else {},
                                        "status": {"conditions": [{"type": "Ready", "status": ready}]}})

    def bound(self, name, ns="shop"):
        def look():
            found = self.get(self.claims_path(name, ns))
            return found if found and found["status"].get("phase") == "Bound" else None
        return self.case.wait_for(f"claim {name} to be bound", look)

    def remove_claim(self, name, ns="shop"):
        self.api.admin.delete(self.claims_path(name, ns))
        self.case.wait_for(f"claim {name} to go", lambda: not self.get(self.claims_path(name, ns)))

    def volume(self, name, ns="shop"):
        found = self.get(self.claims_path(name, ns))
        return self.get(f"{CORE}/persistentvolumes/{found['spec']['volumeName']}")

    def image(self, name, ns="shop"):
        return self.volume(name, ns)["spec"]["csi"]["volumeAttributes"]["imageName"]

    def claim_names(self, ns="shop"):
        return sorted(one["metadata"]["name"] for one in self.get(self.claims_path(ns=ns))["items"])
