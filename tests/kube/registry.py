"""Which resources there are: the built-in ones, those of CRDs, and the discovery documents of both."""

import base64
import hashlib
import threading

ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
# The order in which the real server lists the verbs of custom resources.
CUSTOM_VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
STATUS_VERBS = ["get", "patch", "update"]


class Resource:
    """One resource in one version. Those of the same `storage` are views of the same objects."""

    def __init__(self, group, version, plural, kind, namespaced=True, **more):
        self.group, self.version, self.plural, self.kind = group, version, plural, kind
        self.namespaced = namespaced
        self.singular = more.get("singular", kind.lower())
        self.list_kind = more.get("list_kind", kind + "List")
        self.short_names = more.get("short_names", [])
        self.categories = more.get("categories", [])
        self.verbs = more.get("verbs", ALL_VERBS)
        self.status = more.get("status", False)  # has the status subresource
        self.generation = more.get("generation", False)
        self.returns_deleted = more.get("returns_deleted", False)
        self.unconditional = more.get("unconditional", True)  # PUT without resourceVersion
        self.selectable = more.get("selectable", [])  # fields besides metadata.name and .namespace
        self.subresources = more.get("subresources", {})  # name -> entry of discovery
        self.virtual = more.get("virtual", False)  # nothing is stored: reviews
        self.custom = more.get("custom", False)
        self.schema = more.get("schema")  # of a custom resource
        self.columns = more.get("columns", [])  # of a custom resource, for tables
        self.preserve = more.get("preserve", True)
        self.cached = more.get("cached", True)  # watched from a cache, as all but events are
        self.storage = more.get("storage", (group, plural))
        self.invalid_group = more.get("invalid_group", group)

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self):
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def discovery(self):
        found = {"name": self.plural, "singularName": self.singular, "namespaced": self.namespaced,
                 "kind": self.kind, "verbs": self.verbs}
        if self.short_names:
            found["shortNames"] = self.short_names
        if self.categories:
            found["categories"] = self.categories
        if not self.virtual:
            text = f"{self.group}/{self.version}/{self.kind}".encode()
            found["storageVersionHash"] = base64.b64encode(
                hashlib.sha256(text).digest()[:8]).decode()
        yield found
        under = dict(self.subresources)
        if self.status:
            under["status"] = {"kind": self.kind, "verbs": STATUS_VERBS}
        for name in sorted(under):
            yield {"name": f"{self.plural}/{name}", "singularName": "",
                   "namespaced": self.namespaced, **under[name]}


EVENT_FIELDS = ["involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
                "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
                "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"]
POD_FIELDS = ["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
              "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"]
EXEC = {"kind": "PodExecOptions", "verbs": ["create", "get"]}
TOKEN = {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest",
         "verbs": ["create"]}
RBAC = "rbac.authorization.k8s.io"


def built_in():
    core = ["", "v1"]
    auth, access = ["authentication.k8s.io", "v1"], ["authorization.k8s.io", "v1"]
    review = {"namespaced": False, "verbs": ["create"], "virtual": True}
    return [
        Resource(*core, "configmaps", "ConfigMap", short_names=["cm"]),
        Resource(*core, "events", "Event", short_names=["ev"], selectable=EVENT_FIELDS,
                 cached=False),
        Resource(*core, "namespaces", "Namespace", namespaced=False, short_names=["ns"], status=True,
                 selectable=["status.phase"], returns_deleted=True,
                 verbs=[v for v in ALL_VERBS if v != "deletecollection"],
                 subresources={"finalize": {"kind": "Namespace", "verbs": ["update"]}}),
        Resource(*core, "persistentvolumeclaims", "PersistentVolumeClaim", short_names=["pvc"],
                 status=True, returns_deleted=True),
        Resource(*core, "persistentvolumes", "PersistentVolume", namespaced=False,
                 short_names=["pv"], status=True, returns_deleted=True),
        Resource(*core, "nodes", "Node", namespaced=False, short_names=["no"], status=True,
                 selectable=["spec.unschedulable"]),
        Resource(*core, "pods", "Pod", short_names=["po"], categories=["all"], status=True,
                 returns_deleted=True, selectable=POD_FIELDS, subresources={"exec": EXEC}),
        Resource(*core, "secrets", "Secret", selectable=["type"]),
        Resource(*core, "serviceaccounts", "ServiceAccount", short_names=["sa"],
                 returns_deleted=True, subresources={"token": TOKEN}),
        Resource(*core, "services", "Service", short_names=["svc"], categories=["all"],
                 status=True, returns_deleted=True),
        Resource("events.k8s.io", "v1", "events", "Event", short_names=["ev"], cached=False,
                 selectable=["reason", "reportingController", "type"], storage=("", "events"),
                 invalid_group=""),
        Resource(*auth, "selfsubjectreviews", "SelfSubjectReview", **review),
        Resource(*auth, "tokenreviews", "TokenReview", **review),
        Resource(*access, "localsubjectaccessreviews", "LocalSubjectAccessReview",
                 verbs=["create"], virtual=True),
        Resource(*access, "selfsubjectaccessreviews", "SelfSubjectAccessReview", **review),
        Resource(*access, "selfsubjectrulesreviews", "SelfSubjectRulesReview", **review),
        Resource(*access, "subjectaccessreviews", "SubjectAccessReview", **review),
        Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
        Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
        Resource(RBAC, "v1", "rolebindings", "RoleBinding"),
        Resource(RBAC, "v1", "roles", "Role"),
        Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False,
                 short_names=["sc"]),
        Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions",
                 "CustomResourceDefinition", namespaced=False, short_names=["crd", "crds"],
                 categories=["api-extensions"], status=True, generation=True,
                 returns_deleted=True, unconditional=False),
        Resource("coordination.k8s.io", "v1", "leases", "Lease"),
        # What manifests bring along: kept as it comes, and nothing acts on it.
        Resource("apps", "v1", "deployments", "Deployment", status=True, generation=True,
                 short_names=["deploy"], categories=["all"]),
        Resource("apps", "v1", "statefulsets", "StatefulSet", status=True, generation=True,
                 short_names=["sts"], categories=["all"]),
        Resource("batch", "v1", "jobs", "Job", status=True, generation=True, categories=["all"]),
        Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", generation=True,
                 short_names=["netpol"]),
        Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", status=True,
                 generation=True, short_names=["pdb"]),
        Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False),
        Resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment",
                 namespaced=False, status=True),
    ]


def of_crd(crd):
    """The resources of one CustomResourceDefinition, one for each version that is served."""
    spec, found = crd["spec"], []
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        found.append(Resource(
            spec["group"], version["name"], names["plural"], names["kind"],
            spec["scope"] == "Namespaced", singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or names["kind"] + "List",
            short_names=names.get("shortNames", []), categories=names.get("categories", []),
            verbs=CUSTOM_VERBS, status="status" in version.get("subresources", {}), generation=True,
            unconditional=False, custom=True,
            schema=version.get("schema", {}).get("openAPIV3Schema", {}),
            columns=version.get("additionalPrinterColumns", []),
            selectable=[f["jsonPath"].lstrip(".") for f in version.get("selectableFields", [])]))
    return found


class Registry:
    """All resources that are served at the moment. Safe to use from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_path = {}
        for res in built_in():
            self._by_path[(res.group, res.version, res.plural)] = res

    def find(self, group, version, plural):
        with self._lock:
            return self._by_path.get((group, version, plural))

    def of_storage(self, storage):
        """Some view of what is stored there."""
        with self._lock:
            return next((r for r in self._by_path.values() if r.storage == storage), None)

    def of_kind(self, api_version, kind):
        with self._lock:
            return next((r for r in self._by_path.values()
                         if r.api_version == api_version and r.kind == kind), None)

    def all(self):
        with self._lock:
            return list(self._by_path.values())

    def install(self, resources):
        with self._lock:
            for res in resources:
                self._by_path[(res.group, res.version, res.plural)] = res

    def remove(self, group, plural):
        with self._lock:
            for path in [p for p in self._by_path if p[0] == group and p[2] == plural]:
                del self._by_path[path]

    def groups(self):
        """Group names with their versions, in the order in which they came."""
        found = {}
        for res in self.all():
            if res.group and res.version not in found.setdefault(res.group, []):
                found[res.group].append(res.version)
        return found

    def group_list(self):
        return {"kind": "APIGroupList", "apiVersion": "v1",
                "groups": [self.group(name) for name in self.groups()]}

    def group(self, name):
        versions = [{"groupVersion": f"{name}/{v}", "version": v}
                    for v in self.groups().get(name, [])]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def resource_list(self, group, version):
        found = [r for r in self.all() if (r.group, r.version) == (group, version)]
        if not found:
            return None
        entries = [e for r in sorted(found, key=lambda r: r.plural) for e in r.discovery()]
        head = {"kind": "APIResourceList"}
        if group:
            head["apiVersion"] = "v1"
        head["groupVersion"] = f"{group}/{version}" if group else version
        return {**head, "resources": entries}
