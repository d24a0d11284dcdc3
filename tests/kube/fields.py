"""Who owns which field: metadata.managedFields, kept by updates and by server-side apply.

A field is a path of the keys that FieldsV1 uses: `f:name`, `k:{"type":"Ready"}`, `v:"x"`. A set of
fields is a set of such tuples; a path that has others below it is what FieldsV1 writes as `.`.
"""

import copy
import json
import time

from errors import ApiError

# Metadata that somebody owns; the rest of it is the server's.
META_FIELDS = ("annotations", "finalizers", "generateName", "labels", "ownerReferences")
# Parts of built-in objects that are owned as a whole.
ATOMIC = {"nodeStageSecretRef", "nodePublishSecretRef", "controllerExpandSecretRef", "regarding",
          "involvedObject", "related", "versions", "roleRef", "openAPIV3Schema"}


class Typing:
    """How lists of a resource merge: by keys, as a set, or (None) only as a whole."""

    def __init__(self, res):
        self.res = res

    def child(self, schema, key):
        if schema is None:
            return None
        found = (schema.get("properties") or {}).get(key)
        more = schema.get("additionalProperties")
        return found if found is not None else more if isinstance(more, dict) else None

    def list_keys(self, path, schema):
        if path == ("f:metadata", "f:finalizers"):
            return "set"
        if path == ("f:metadata", "f:ownerReferences"):
            return ["uid"]
        if schema is not None:
            kind = schema.get("x-kubernetes-list-type")
            return "set" if kind == "set" else schema.get("x-kubernetes-list-map-keys") \
                if kind == "map" else None
        if not self.res.custom and path == ("f:status", "f:conditions"):
            return ["type"]
        return None

    def whole(self, path, schema):
        if schema is not None and schema.get("x-kubernetes-map-type") == "atomic":
            return True
        return not self.res.custom and path[-1][2:] in ATOMIC

    def silent(self, path):
        """Structs that are not owned themselves, only what is in them."""
        return path == ("f:metadata",) or (
            not self.res.custom and path in (("f:spec",), ("f:status",), ("f:spec", "f:resources")))


def item_key(item, keys):
    if keys == "set":
        return "v:" + json.dumps(item, separators=(",", ":"))
    return "k:" + json.dumps({k: item[k] for k in keys if k in item}, separators=(",", ":"))


def fields_of(obj, res, door="", dots=True):
    """The set of all fields of an object that this door (the resource, or "status") may write."""
    typing, found = Typing(res), set()

    def walk(value, path, schema):
        keys = typing.list_keys(path, schema) if isinstance(value, list) else None
        if isinstance(value, dict) and value and not typing.whole(path, schema):
            if dots and not typing.silent(path):
                found.add(path)
            for name, below in value.items():
                walk(below, path + ("f:" + name,), typing.child(schema, name))
        elif isinstance(value, list) and value and keys:
            if dots:
                found.add(path)
            for item in value:
                here = path + (item_key(item, keys),)
                found.add(here)
                if isinstance(item, dict) and path[0] != "f:metadata":
                    for name, below in item.items():
                        items = (schema or {}).get("items")
                        walk(below, here + ("f:" + name,), typing.child(items, name))
        else:
            found.add(path)

    for name, value in obj.items():
        if name in ("apiVersion", "kind") or (name == "status" and res.status) != (door == "status"):
            if name != "metadata":
                continue
        if name == "metadata":
            value = {k: value[k] for k in META_FIELDS if value.get(k)}
            if not value or door == "status":
                continue
        walk(value, ("f:" + name,), typing.child(res.schema, name))
    return found


def encode(paths):
    tree = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    def mark(node, path):
        if path in paths and node:
            node["."] = {}
        for step, below in list(node.items()):
            if step != ".":
                mark(below, path + (step,))
    mark(tree, ())
    def tidy(node):
        return {step: tidy(node[step]) for step in sorted(node)}
    return tidy(tree)


def decode(tree):
    found = set()

    def walk(node, path):
        if path and (not node or "." in node):
            found.add(path)
        for step, below in node.items():
            if step != ".":
                walk(below, path + (step,))
    walk(tree or {}, ())
    return found


def lookup(obj, path):
    """The value at a path, or (None, False)."""
    value = obj
    for step in path:
        if step.startswith("f:") and isinstance(value, dict) and step[2:] in value:
            value = value[step[2:]]
        elif step[:2] in ("k:", "v:") and isinstance(value, list):
            want = json.loads(step[2:])
            match = [v for v in value if v == want or (
                step[0] == "k" and isinstance(v, dict) and all(v.get(k) == want[k] for k in want))]
            if not match:
                return None, False
            value = match[0]
        else:
            return None, False
    return value, True


def _differs(old, new, path):
    before, there = lookup(old, path)
    after, _ = lookup(new, path)
    return not there or (before != after and not isinstance(after, dict))


class Entries:
    """The managedFields of one object, to be changed and written back."""

    def __init__(self, obj, res):
        self.res = res
        self.entries = [(dict(e), decode(e.get("fieldsV1")))
                        for e in obj["metadata"].get("managedFields") or []]

    def get(self, manager, operation, door):
        for entry, paths in self.entries:
            if (entry.get("manager"), entry.get("operation"),
                    entry.get("subresource", "")) == (manager, operation, door):
                return entry, paths
        entry = {"manager": manager, "operation": operation, "apiVersion": self.res.api_version,
                 "time": None, "fieldsType": "FieldsV1", "fieldsV1": None}
        if door:
            entry["subresource"] = door
        self.entries.append((entry, set()))
        return self.entries[-1]

    def written(self):
        kept = []
        for entry, paths in self.entries:
            if paths:
                kept.append({**entry, "fieldsV1": encode(paths),
                             "time": entry["time"] or time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                                    time.gmtime())})
        return sorted(kept, key=lambda e: (e["operation"], e["time"], e["manager"],
                                           e.get("subresource", "")))


def note_update(old, new, res, manager, door=""):
    """Writes into `new` who owns what after `manager` changed `old` to it."""
    before = fields_of(old, res, door) if old else set()
    after = fields_of(new, res, door)
    changed = {p for p in after if p not in before or _differs(old, new, p)}
    entries = Entries(old or {"metadata": {}}, res)
    mine, paths = entries.get(manager, "Update", door)
    for entry, owned in entries.entries:
        gone = (before - after) & owned
        taken = {p for p in changed & owned if entry is not mine and p in before}
        owned -= gone | taken
        if gone and entry is mine:
            entry["time"] = None
    if changed:
        mine["time"] = None
    paths |= changed
    fields = entries.written()
    new["metadata"].pop("managedFields", None)
    if fields:
        new["metadata"]["managedFields"] = fields


def _merged(live, config, typing, path, schema):
    if isinstance(config, dict) and isinstance(live, dict) and not typing.whole(
            path or ("f:",), schema):
        found = dict(live)
        for name, value in config.items():
            found[name] = _merged(live.get(name), value, typing, path + ("f:" + name,),
                                  typing.child(schema, name))
        return found
    keys = typing.list_keys(path, schema) if isinstance(config, list) else None
    if keys and isinstance(live, list):
        found = list(live)
        at = {item_key(item, keys): i for i, item in enumerate(found)}
        for item in config:
            where = at.get(item_key(item, keys))
            if where is None:
                found.append(copy.deepcopy(item))
            else:
                found[where] = _merged(found[where], item, typing, path + ("k:",),
                                       (schema or {}).get("items"))
        return found
    return copy.deepcopy(config)


def _drop(obj, path):
    parent, there = lookup(obj, path[:-1])
    value, found = lookup(obj, path)
    if not there or not found:
        return
    if isinstance(parent, list):
        parent.remove(value)
    else:
        del parent[path[-1][2:]]


def _shown(path):
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += "." + step[2:]
        elif step.startswith("k:"):
            text += "[" + ",".join(f"{k}={json.dumps(v)}"
                                   for k, v in json.loads(step[2:]).items()) + "]"
        else:
            text += "[=" + step[2:] + "]"
    return text


def _owner(entry):
    if entry["operation"] == "Apply":
        return json.dumps(entry["manager"])
    under = f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else ""
    return f'{json.dumps(entry["manager"])}{under} using {entry["apiVersion"]}'


def conflicts_error(found):
    """409 of an apply: `found` is a list of (owner as shown, path)."""
    by_owner = {}
    for owner, path in found:
        by_owner.setdefault(owner, []).append(_shown(path))
    if len(found) == 1:
        text = f"conflict with {found[0][0]}: {_shown(found[0][1])}"
    else:
        text = "\n".join(f"conflicts with {owner}:\n" + "\n".join(f"- {p}" for p in paths)
                         for owner, paths in by_owner.items())
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {owner}",
               "field": _shown(path)} for owner, path in found]
    plural = "" if len(found) == 1 else "s"
    return ApiError(409, f"Apply failed with {len(found)} conflict{plural}: {text}", "Conflict",
                    {"causes": causes})


def apply(live, config, res, manager, force, door=""):
    """Server-side apply of `config` onto `live` (None creates). Returns the new object."""
    wanted = fields_of(config, res, door, dots=False)
    base = copy.deepcopy(live) if live else {"metadata": {}}
    entries = Entries(base, res)
    mine, owned = entries.get(manager, "Apply", door)
    found = []
    for path in sorted(wanted):
        if not _differs(base, config, path) or lookup(base, path) == (None, False):
            continue
        for entry, paths in entries.entries:
            if entry is not mine and path in paths:
                found.append((_owner(entry), path, paths))
    if found and not force:
        raise conflicts_error([(owner, path) for owner, path, _ in found])
    for _, path, paths in found:
        paths.discard(path)
    body = {k: v for k, v in config.items() if k not in ("apiVersion", "kind")}
    if res.status:
        body = {k: v for k, v in body.items() if (k == "status") == (door == "status")}
    if "metadata" in body:
        body["metadata"] = {k: v for k, v in body["metadata"].items()
                            if k in META_FIELDS or k in ("name", "namespace")}
    new = _merged(base, body, Typing(res), (), res.schema)
    others = set().union(*[p for e, p in entries.entries if e is not mine])
    for path in sorted(owned - wanted, key=len):  # an item goes before what is in it
        below = any(p[:len(path)] == path for p in others | wanted)
        if not below:
            _drop(new, path)
    if owned != wanted or any(_differs(base, new, p) for p in wanted):
        mine["time"] = None
    owned.clear()
    owned |= wanted
    new["metadata"]["managedFields"] = entries.written()
    return new
