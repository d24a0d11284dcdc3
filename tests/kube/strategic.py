"""Strategic merge patches: in lists of objects that have a key, items with the same one are merged."""

import copy

# What the tags of the server's types say, for the lists of the kinds that are served here.
KEYS = {"containers": "name", "initContainers": "name", "volumes": "name", "env": "name",
        "imagePullSecrets": "name", "secrets": "name", "volumeMounts": "mountPath",
        "volumeDevices": "devicePath", "hostAliases": "ip", "conditions": "type",
        "ownerReferences": "uid", "topologySpreadConstraints": "topologyKey"}
PRIMITIVE = {"finalizers"}
ORDER, DELETED, RETAINED = "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"


def _key(name, items):
    if name == "ports":  # of a container, or of a service
        return "containerPort" if all("containerPort" in one for one in items) else "port"
    return KEYS.get(name)


def merge(target, change):
    """`target` with the patch applied; neither is altered."""
    if change.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in change.items() if key != "$patch"}
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if key.startswith("$"):
            continue
        gone = isinstance(value, dict) and value.get("$patch") == "delete"
        if value is None or gone:
            found.pop(key, None)
        elif isinstance(value, dict):
            found[key] = merge(found.get(key), value)
        elif isinstance(value, list):
            found[key] = _list(key, found.get(key) or [], value, change.get(ORDER + key, []))
        else:
            found[key] = value
    for key, gone in change.items():
        if key.startswith(DELETED):
            name = key[len(DELETED):]
            found[name] = [one for one in found.get(name) or [] if one not in gone]
    if RETAINED in change:
        found = {key: value for key, value in found.items() if key in change[RETAINED]}
    return found


def _list(name, old, new, order):
    if name in PRIMITIVE:
        return [*old, *(one for one in new if one not in old)]
    items = [one for one in new if one != {"$patch": "replace"}]
    key = _key(name, [*old, *items])
    if key is None or len(items) < len(new):
        return copy.deepcopy(items)
    found = {one[key]: one for one in old}
    for one in items:
        if one.get("$patch") == "delete":
            found.pop(one[key], None)
        else:
            found[one[key]] = merge(found.get(one[key]), one)
    wanted = [one[key] for one in order if key in one] or list(found)
    return sorted(found.values(), key=lambda one: wanted.index(one[key]) if one[key] in wanted else len(wanted))
