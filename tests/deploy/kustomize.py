"""What of kustomize deploy/kubernetes uses, so that its overlays can be tested where there is no kubectl.

Resources, components, namespace, labels, ConfigMaps from files, patches in both forms. Anything else in a
kustomization is refused. Where kubectl is there, test_manifests.py holds this against it.
"""

import copy
import pathlib
import re

import yaml

CLUSTER_KINDS = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
KEYS = {"apiVersion", "kind", "namespace", "labels", "resources", "components", "patches",
        "configMapGenerator", "generatorOptions"}


SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UniqueKeys(SafeLoader):
    """YAML as an API server takes it: a key that is there twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} twice", node.start_mark)
        return super().construct_mapping(node, deep)


# 0440 is an octal number for Kubernetes and for this YAML version alike; times stay texts.
UniqueKeys.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def load_text(text):
    return [d for d in yaml.load_all(text, UniqueKeys) if d is not None]


def load(path):
    return load_text(pathlib.Path(path).read_text(encoding="utf-8"))


def identity(manifest):
    return (manifest["kind"], manifest["metadata"]["name"])


def merge(onto, patch):
    """A strategic merge without lists of objects: maps are merged, all else is replaced."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            merge(onto[key], value)
        else:
            onto[key] = copy.deepcopy(value)


def apply_json_patch(manifest, operations):
    for operation in operations:
        *path, last = operation["path"].strip("/").split("/")
        where = manifest
        for step in path:
            where = where[int(step) if isinstance(where, list) else step]
        if operation["op"] != "add" or last != "-":
            raise ValueError(f"{operation}: only 'add' at the end of a list is known here")
        where.append(copy.deepcopy(operation["value"]))


def selected(manifest, target):
    if set(target) - {"kind", "name", "labelSelector"}:
        raise ValueError(f"target {target}")
    labels = manifest["metadata"].get("labels", {})
    wanted = [part.split("=") for part in target.get("labelSelector", "").split(",") if part]
    return (re.fullmatch(target.get("kind", ".*"), manifest["kind"])
            and re.fullmatch(target.get("name", ".*"), manifest["metadata"]["name"])
            and all(labels.get(key) == value for key, value in wanted))


def apply_patches(manifests, patches, folder):
    for entry in patches:
        if "target" in entry:
            operations = yaml.load(entry["patch"], UniqueKeys)
            for manifest in manifests:
                if selected(manifest, entry["target"]):
                    apply_json_patch(manifest, operations)
            continue
        for patch in load(folder / entry["path"]):
            matching = [m for m in manifests if identity(m) == identity(patch)]
            if len(matching) != 1:
                raise ValueError(f"{folder / entry['path']}: {len(matching)} resources to patch")
            merge(matching[0], patch)


def generated(kustomization, folder):
    for entry in kustomization.get("configMapGenerator", []):
        options = kustomization.get("generatorOptions", {})
        if not options.get("disableNameSuffixHash"):
            raise ValueError("names with a hash are not known here")
        yield {"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": entry["name"], "labels": dict(options.get("labels", {}))},
               "data": {name: (folder / name).read_text(encoding="utf-8")
                        for name in entry["files"]}}


def render(folder, manifests=None):
    """The manifests of a kustomization; a component works on those that are there."""
    folder = pathlib.Path(folder).resolve()
    (kustomization,) = load(folder / "kustomization.yaml")
    if set(kustomization) - KEYS:
        raise ValueError(f"{folder}: {set(kustomization) - KEYS} is not known here")
    manifests = [] if manifests is None else manifests
    for name in kustomization.get("resources", []):
        path = folder / name
        manifests.extend(render(path) if path.is_dir() else load(path))
    manifests.extend(generated(kustomization, folder))
    for name in kustomization.get("components", []):
        render(folder / name, manifests)
    apply_patches(manifests, kustomization.get("patches", []), folder)
    for manifest in manifests:
        if "namespace" in kustomization and manifest["kind"] not in CLUSTER_KINDS:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for entry in kustomization.get("labels", []):
            manifest["metadata"].setdefault("labels", {}).update(entry["pairs"])
    return manifests
