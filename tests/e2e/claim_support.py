"""What the end-to-end tests of claims share: an API server for each site, in front of its real cluster."""

import base64
import os
import re
import subprocess
import sys

import yaml

ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
sys.path[:0] = [os.path.join(ROOT, "tests/kube"), os.path.join(ROOT, "lab")]

import apiserver  # noqa: E402
from harness import Harness  # noqa: E402
from ports import free_port  # noqa: E402

CORE, STORAGE = "/api/v1", "/apis/storage.k8s.io/v1"
TIDEMARK = "/apis/tidemark.dev/v1alpha1"
BUCKETS = "/apis/objectbucket.io/v1alpha1"
CRDS = os.path.join(ROOT, "deploy/kubernetes/crds")
CLASS, BUCKET_CLASS = "rook-ceph-block", "rook-ceph-bucket"


def storage_class(name=CLASS, **more):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "rook-ceph.rbd.csi.ceph.com", "reclaimPolicy": "Delete", "allowVolumeExpansion": True,
            "volumeBindingMode": "Immediate",
            "parameters": {"clusterID": "rook-ceph", "pool": "rbd", "imageFeatures": "layering"}, **more}


def bucket_class(name=BUCKET_CLASS, **more):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "rook-ceph.ceph.rook.io/bucket", "reclaimPolicy": "Delete",
            "parameters": {"objectStoreName": "store", "objectStoreNamespace": "rook-ceph"}, **more}


def bucket_claim(name, annotations=None, storage_class_name=BUCKET_CLASS, **spec):
    if "bucketName" not in spec:
        spec["generateBucketName"] = name
    return {"apiVersion": "objectbucket.io/v1alpha1", "kind": "ObjectBucketClaim",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"storageClassName": storage_class_name, **spec}}


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

    def __init__(self, case, conf, namespaces=("shop", "tidemark"), gateway=None):
        self.case = case
        self.api = Harness("--port", str(free_port()), "--ceph-conf", conf,
                           "--manifest", os.path.join(ROOT, "tests/kube/buckets.yaml"),
                           *(("--rgw-endpoint", gateway) if gateway else ()))
        self.api.make(f"{STORAGE}/storageclasses", storage_class())
        if gateway:
            self.api.make(f"{STORAGE}/storageclasses", bucket_class())
        for name in namespaces:
            self.api.namespace(name)
        self.kubeconfig = self.api.path("kubeconfig")
        config = apiserver.kubeconfig(self.api.server)
        config["contexts"][0]["context"]["namespace"] = "tidemark"
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)

    def close(self):
        self.api.close()

    def as_agent(self, *components, namespaces=()):
        """From now on the product is the agent's service account, with the rights that deploy/ gives it: of all
        namespaces, or of these, and then the little besides that docs/kubernetes.md says."""
        rbac, name = "/apis/rbac.authorization.k8s.io/v1", "system:serviceaccount:tidemark:tidemark-agent"
        deploy = os.path.join(ROOT, "deploy/kubernetes")
        objects = []
        for path in ("base", *(f"components/{one}" for one in components)):
            with open(os.path.join(deploy, path, "rbac.yaml"), encoding="utf-8") as file:
                objects += yaml.safe_load_all(file)
        if namespaces:
            with open(os.path.join(ROOT, "docs/kubernetes.md"), encoding="utf-8") as file:
                (more,) = re.findall(r"```yaml\n(# Of the cluster, where .*?)```", file.read(), re.DOTALL)
            objects += yaml.safe_load_all(more)
        for obj in objects:
            bound_to = [None] if obj["kind"].startswith("Cluster") else ["tidemark"]
            if namespaces and obj["kind"] == "ClusterRoleBinding" and obj["metadata"]["name"] == "tidemark-agent":
                obj = dict(obj, kind="RoleBinding", metadata={"name": "tidemark-agent-here"})
                bound_to = namespaces
            for ns in bound_to:
                space = f"/namespaces/{ns}" if ns else ""
                self.api.make(f"{rbac}{space}/{obj['kind'].lower()}s", obj)
        self.api.test("tokens", {"add": {"token": "of-the-agent", "user": name, "groups": [
            "system:serviceaccounts", "system:serviceaccounts:tidemark", "system:authenticated"]}})
        with open(self.kubeconfig, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        config["users"][0]["user"] = {"token": "of-the-agent"}
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)

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

    # Bucket claims

    @staticmethod
    def buckets_path(name="", ns="shop"):
        return f"{BUCKETS}/namespaces/{ns}/objectbucketclaims" + (f"/{name}" if name else "")

    def make_bucket_claim(self, obj, ns="shop"):
        self.api.make(self.buckets_path(ns=ns), obj)
        name = obj["metadata"]["name"]

        def look():
            found = self.get(self.buckets_path(name, ns))
            return found if found and (found.get("status") or {}).get("phase") == "Bound" else None
        return self.case.wait_for(f"bucket claim {name} to be bound", look)

    def remove_bucket_claim(self, name, ns="shop"):
        self.api.admin.delete(self.buckets_path(name, ns))
        self.case.wait_for(f"bucket claim {name} to go", lambda: not self.get(self.buckets_path(name, ns)))

    def bucket_claim_names(self, ns="shop"):
        return sorted(one["metadata"]["name"] for one in self.get(self.buckets_path(ns=ns))["items"])

    def object_bucket(self, name, ns="shop"):
        return self.get(f"{BUCKETS}/objectbuckets/obc-{ns}-{name}")

    def connection(self, name, ns="shop"):
        """(ConfigMap, Secret); None for one that is not there."""
        return [self.get(f"{CORE}/namespaces/{ns}/{kind}/{name}") for kind in ("configmaps", "secrets")]

    def login(self, name, ns="shop"):
        """(bucket, keys) as an application finds them, in the form of Cluster.create_s3_user()."""
        config, secret = self.connection(name, ns)
        keys = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        data = config["data"]
        return data["BUCKET_NAME"], {"endpoint": f"http://{data['BUCKET_HOST']}:{data['BUCKET_PORT']}",
                                     "access_key": keys["AWS_ACCESS_KEY_ID"],
                                     "secret_key": keys["AWS_SECRET_ACCESS_KEY"]}

    # Writes of the product

    def writes(self):
        """How many the server has seen so far."""
        seen = self.api.test("requests", method="GET")["requests"]
        return sum(one["count"] for one in seen if one["verb"] not in ("get", "list", "watch"))

    def run_watched(self, command, before_write):
        """Runs it; `before_write(number, process)` is called when the server gets a write of its (from 0). True
        from it: the process was killed."""
        objects, process, count = self.api.server.api, None, [0]
        handle = objects.handle

        def watch(connection, request):
            if request.method in ("POST", "PUT", "PATCH", "DELETE") and "tidemark" in request.header("User-Agent"):
                count[0] += 1
                if before_write(count[0] - 1, process):
                    raise ConnectionResetError
            return handle(connection, request)
        objects.handle = watch
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            process.wait(timeout=300)
        finally:
            objects.handle = handle
        return process

    def killed_at(self, command, number):
        """Runs it, and kills it when the server gets its write of that number (from 0)."""
        def kill(seen, process):
            if seen != number:
                return False
            process.kill()
            process.wait()
            return True
        return self.run_watched(command, kill)
