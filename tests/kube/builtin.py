"""What the server does to built-in objects besides storing them: defaults, admission, validation."""

import base64
import re
import time

import cel
import schema
from errors import Fault, forbidden, invalid
from quantity import compare, parse

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAME_RULE = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
             "or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
             "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*"
             "[a-z0-9])?)*')")
LABEL_RULE = ("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
              "and must start and end with an alphanumeric character (e.g. 'my-name',  or "
              "'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')")
PATH_NAMES = ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
DATA_MAX = 1024 * 1024
NOTE_MAX = 1024
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
IMMUTABLE_SPEC = ("spec is immutable after creation except resources.requests and "
                  "volumeAttributesClassName for bound claims")


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def name_faults(res, name):
    if res.plural in PATH_NAMES:
        return [] if name and "/" not in name and "%" not in name else [
            Fault("metadata.name", "invalid", f'"{name}": may not contain \'/\'')]
    rule, text = (LABEL, LABEL_RULE) if res.plural == "namespaces" else (SUBDOMAIN, NAME_RULE)
    if not name:
        return [Fault("metadata.name", "required", "name or generateName is required")]
    if not rule.fullmatch(name) or len(name) > (63 if rule is LABEL else 253):
        return [Fault("metadata.name", "invalid", f'"{name}": {text}')]
    return []


def prepare_create(obj, res, store):
    """Defaults and admission of a new object, in place."""
    meta = obj["metadata"]
    if res.kind == "PersistentVolumeClaim":
        meta.setdefault("finalizers", [])
        if "kubernetes.io/pvc-protection" not in meta["finalizers"]:
            meta["finalizers"].append("kubernetes.io/pvc-protection")
        spec = obj.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")
        if "storageClassName" not in spec:
            for found in store.items(("storage.k8s.io", "storageclasses")):
                if found["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true":
                    spec["storageClassName"] = found["metadata"]["name"]
        obj["status"] = {"phase": "Pending"}
    elif res.kind == "PersistentVolume":
        meta.setdefault("finalizers", [])
        if "kubernetes.io/pv-protection" not in meta["finalizers"]:
            meta["finalizers"].append("kubernetes.io/pv-protection")
        spec = obj.setdefault("spec", {})
        spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
        spec.setdefault("volumeMode", "Filesystem")
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": now()}
    elif res.kind == "Namespace":
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta.get("name", "")
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}
    elif res.kind == "StorageClass":
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")
    elif res.kind == "CustomResourceDefinition":
        _prepare_crd(obj)
    elif res.kind in ("RoleBinding", "ClusterRoleBinding"):
        obj.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
        for subject in obj.get("subjects", []):
            if subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", "rbac.authorization.k8s.io")
    prepare(obj)


def prepare(obj):
    """Defaults of a new or a changed object, in place."""
    if obj["kind"] == "Secret":
        obj.setdefault("type", "Opaque")
        for name, value in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


def _prepare_crd(crd):
    spec = crd.setdefault("spec", {})
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.setdefault("names", {})
    names.setdefault("singular", names.get("kind", "").lower())
    names.setdefault("listKind", names.get("kind", "") + "List")
    stored = [v["name"] for v in spec.get("versions", []) if v.get("storage")]
    crd["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""},
                     "storedVersions": stored}


def _claim_faults(obj):
    spec = obj.get("spec", {})
    if not spec.get("accessModes"):
        yield Fault("spec.accessModes", "required", "at least 1 access mode is required")
    size = (spec.get("resources") or {}).get("requests", {}).get("storage")
    if size is None:
        yield Fault("spec.resources[storage]", "required")
    elif parse(size) <= 0:
        yield Fault("spec.resources[storage]", "invalid", f'"{size}": must be greater than zero')


def _volume_faults(obj):
    spec = obj.get("spec", {})
    if not spec.get("accessModes"):
        yield Fault("spec.accessModes", "required")
    if not spec.get("capacity", {}).get("storage"):
        yield Fault("spec.capacity", "required")
    if not any(spec.get(kind) for kind in ("csi", "hostPath", "nfs", "local", "rbd")):
        yield Fault("spec", "required", "must specify a volume type")
    if spec.get("csi"):
        for name in ("driver", "volumeHandle"):
            if not spec["csi"].get(name):
                yield Fault(f"spec.csi.{name}", "required")


def _event_faults(obj, res):
    """Names of fields in their old form, as the server checks events of both groups in one."""
    if res.group == "events.k8s.io":
        for name in ("reportingController", "reportingInstance", "action", "reason"):
            if not obj.get(name):
                yield Fault(name, "required")
        if not obj.get("eventTime"):
            yield Fault("eventTime", "required")
        if obj.get("type") not in ("Normal", "Warning"):
            yield Fault("type", "invalid", f'"{obj.get("type", "")}": has invalid value')
        if len(obj.get("note", "")) > NOTE_MAX:
            yield Fault("message", "invalid", '"": can have at most 1024 characters')
    elif obj["metadata"].get("namespace") != obj.get("involvedObject", {}).get(
            "namespace", "default"):
        yield Fault("involvedObject.namespace", "invalid",
                    f'"{obj.get("involvedObject", {}).get("namespace", "")}": '
                    "does not match event.namespace")


def _lease_faults(obj):
    spec = obj.get("spec") or {}
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield Fault("spec.leaseDurationSeconds", "invalid",
                    f"{spec['leaseDurationSeconds']}: must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        yield Fault("spec.leaseTransitions", "invalid",
                    f"{spec['leaseTransitions']}: must be greater than or equal to 0")


def _data_faults(obj):
    size = sum(len(v) for v in (obj.get("data") or {}).values())
    if size > DATA_MAX:
        where = "[]" if obj["kind"] == "ConfigMap" else "data"
        yield Fault(where, "too_long", f"may not be more than {DATA_MAX} bytes")
    for name in obj.get("data") or {}:
        if not re.fullmatch(r"[-._a-zA-Z0-9]+", name):
            yield Fault(f"data[{name}]", "invalid", f'"{name}": a valid config key must consist of '
                        "alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME', "
                        " or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')")


def _schema_faults(node, path):
    """What makes a schema not structural, and rules that this server cannot evaluate."""
    loose = node.get("x-kubernetes-int-or-string") or node.get(
        "x-kubernetes-preserve-unknown-fields")
    if not node.get("type") and not loose:
        yield Fault(f"{path}.type", "required", "must not be empty for specified object fields")
    if node.get("properties") and isinstance(node.get("additionalProperties"), dict):
        yield Fault(f"{path}.additionalProperties", "forbidden",
                    "additionalProperties and properties are mutually exclusive")
    if node.get("type") == "array" and not node.get("items"):
        yield Fault(f"{path}.items", "required", "must be specified")
    for index, rule in enumerate(node.get("x-kubernetes-validations") or []):
        try:
            cel.parse(rule["rule"])
        except cel.CelError as error:
            yield Fault(f"{path}.x-kubernetes-validations[{index}].rule", "invalid",
                        f'"{rule["rule"]}": compilation failed: {error}')
    for name, below in (node.get("properties") or {}).items():
        yield from _schema_faults(below, f"{path}.properties[{name}]")
        if "default" in below:
            for fault in schema.validate(below["default"], below, name):
                yield Fault(f"{path}.properties[{name}].default", "invalid", fault.message)
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from _schema_faults(node[name], f"{path}.{name}")


def _crd_faults(crd):
    spec = crd["spec"]
    names = spec["names"]
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    if crd["metadata"]["name"] != wanted:
        yield Fault("metadata.name", "invalid", f'"{crd["metadata"]["name"]}": must be '
                    "spec.names.plural+\".\"+spec.group")
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        yield Fault("spec.scope", "unsupported", f'"{spec.get("scope", "")}": supported values: '
                    '"Cluster", "Namespaced"')
    for name in ("plural", "kind"):
        if not names.get(name):
            yield Fault(f"spec.names.{name}", "required")
    if sum(bool(v.get("storage")) for v in spec.get("versions", [])) != 1:
        yield Fault("spec.versions", "invalid", "must have exactly one version marked as storage "
                    "version")
    for index, version in enumerate(spec.get("versions", [])):
        root = version.get("schema", {}).get("openAPIV3Schema")
        if root is None:
            yield Fault(f"spec.versions[{index}].schema.openAPIV3Schema", "required",
                        "schemas are required")
        else:
            yield from _schema_faults(root,
                                      f"spec.versions[{index}].schema.openAPIV3Schema")


def faults(obj, res):
    """What is wrong with a built-in object by itself."""
    kind = obj["kind"]
    if kind == "PersistentVolumeClaim":
        return list(_claim_faults(obj))
    if kind == "PersistentVolume":
        return list(_volume_faults(obj))
    if kind == "Event":
        return list(_event_faults(obj, res))
    if kind == "Lease":
        return list(_lease_faults(obj))
    if kind in ("ConfigMap", "Secret"):
        return list(_data_faults(obj))
    if kind == "CustomResourceDefinition":
        return list(_crd_faults(obj))
    if kind == "StorageClass" and not obj.get("provisioner"):
        return [Fault("provisioner", "required")]
    return []


def _claim_change(old, new, res, store):
    name = new["metadata"]["name"]
    before, after = dict(old["spec"]), dict(new["spec"])
    asked = (after.pop("resources", None) or {}).get("requests", {}).get("storage", "0")
    had = (before.pop("resources", None) or {}).get("requests", {}).get("storage", "0")
    if compare(asked, had) > 0:
        found = store.get(("storage.k8s.io", "storageclasses"), "",
                          old["spec"].get("storageClassName", ""))
        if not found or not found.get("allowVolumeExpansion"):
            raise forbidden(res, name, "only dynamically provisioned pvc can be resized and the "
                            "storageclass that provisions the pvc must support resize")
    for field in ("volumeName", "storageClassName"):
        if not before.get(field) and field in after and field not in old["spec"]:
            before[field] = after[field]
    for field in ("volumeAttributesClassName",):
        before.pop(field, None), after.pop(field, None)
    if before != after:
        yield Fault("spec", "forbidden", IMMUTABLE_SPEC)
    elif compare(asked, had) < 0 and compare(
            asked, old.get("status", {}).get("capacity", {}).get("storage", had)) < 0:
        yield Fault("spec.resources.requests.storage", "forbidden",
                    "field can not be less than status.capacity")
    elif asked != had and old.get("status", {}).get("phase") != "Bound":
        yield Fault("spec", "forbidden", IMMUTABLE_SPEC)


def _volume_change(old, new):
    def source(obj):
        return {k: v for k, v in obj["spec"].items() if k in ("csi", "hostPath", "nfs", "local",
                                                             "rbd")}
    if source(old) != source(new):
        yield Fault("spec.persistentvolumesource", "forbidden",
                    "spec.persistentvolumesource is immutable after creation")
    if old["spec"].get("volumeMode") != new["spec"].get("volumeMode"):
        yield Fault("spec.volumeMode", "invalid",
                    f'"{new["spec"].get("volumeMode", "")}": field is immutable')


def change_faults(old, new, res, store):
    """What must not change in a built-in object."""
    if res.kind == "PersistentVolumeClaim":
        return list(_claim_change(old, new, res, store))
    if res.kind == "PersistentVolume":
        return list(_volume_change(old, new))
    if res.kind in ("ConfigMap", "Secret") and old.get("immutable"):
        if any(old.get(k) != new.get(k) for k in ("data", "binaryData", "immutable")):
            return [Fault("data", "forbidden", "field is immutable when `immutable` is set")]
    if res.kind == "Secret" and old.get("type") != new.get("type"):
        return [Fault("type", "invalid", f'"{new.get("type")}": field is immutable')]
    if res.kind == "StorageClass":
        return [Fault(k, "forbidden", f"updates to {k} are forbidden.")
                for k in ("parameters", "provisioner", "reclaimPolicy") if old.get(k) != new.get(k)]
    if res.kind in ("RoleBinding", "ClusterRoleBinding") and old["roleRef"] != new["roleRef"]:
        return [Fault("roleRef", "invalid", "cannot change roleRef")]
    return []


# Core events and those of events.k8s.io are the same objects under other names.
EVENT_NAMES = {"involvedObject": "regarding", "message": "note", "source": "deprecatedSource",
               "firstTimestamp": "deprecatedFirstTimestamp", "count": "deprecatedCount",
               "lastTimestamp": "deprecatedLastTimestamp",
               "reportingComponent": "reportingController"}
EVENT_NAMES_BACK = {new: old for old, new in EVENT_NAMES.items()}


def viewed(obj, res):
    """A stored object in the version that `res` shows."""
    if obj["apiVersion"] == res.api_version:
        return obj
    names = EVENT_NAMES if res.group == "events.k8s.io" else EVENT_NAMES_BACK
    if res.kind != "Event":
        names = {}
    found = {names.get(key, key): value for key, value in obj.items()}
    found["apiVersion"] = res.api_version
    return found


def check(obj, old, res, store, twice=False):
    """Raises 422 for what is wrong with a built-in object, or with the change from `old` to it."""
    found = [] if old else name_faults(res, obj["metadata"].get("name"))
    found += change_faults(old, obj, res, store) if old else []
    found += faults(obj, res)
    if found:
        raise invalid(res.kind, res.invalid_group, obj["metadata"].get("name"), found, twice)


