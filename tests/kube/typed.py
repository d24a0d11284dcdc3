"""Reading objects as the server's Go types do: known fields of known types, in their order."""

import os
import re

import yaml

from errors import bad_request
from schema import joined, prune

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "types.yaml"),
          encoding="utf-8") as _file:
    TYPES = yaml.safe_load(_file)

MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
JSON_NAMES = {bool: "bool", int: "number", float: "number", str: "string", dict: "object",
              list: "array"}
GO_NAMES = {"str": "string", "int": "int32", "bool": "bool"}


def type_of(res):
    found = TYPES.get(f"{res.group}/{res.kind}", TYPES.get(res.kind))
    return {"apiVersion": "str", "kind": "str", "metadata": TYPES["ObjectMeta"], **found}


def _mismatch(kind, path, value, wanted):
    return f"json: cannot unmarshal {JSON_NAMES[type(value)]} into Go struct field {kind}.{path} " \
           f"of type {wanted}"


def _time(value, micro):
    pattern, layout = (MICRO, "2006-01-02T15:04:05.000000Z07:00") if micro \
        else (TIME, "2006-01-02T15:04:05Z07:00")
    if pattern.fullmatch(value):
        return value
    rest = value[19:] if TIME.fullmatch(value) else value
    asked = layout[19:26] if micro and TIME.fullmatch(value) else "2006"
    raise ValueError(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{asked}"')


class Reader:
    """Reads one object; `unknown` holds the fields that the type does not have."""

    def __init__(self, kind):
        self.kind, self.unknown = kind, []

    def read(self, value, typ, path=""):
        """The value as its type keeps it: None where it is empty and would not be written."""
        keep_empty = isinstance(typ, str) and typ.endswith("?")
        typ = typ.rstrip("?") if isinstance(typ, str) else typ
        if value is None or typ == "any":
            return value
        if isinstance(typ, dict):
            if not isinstance(value, dict):
                raise ValueError(_mismatch(self.kind, path, value, "map[string]string"
                                           if "*" in typ else "v1." + path.split(".")[-1].title()))
            return self._object(value, typ, path)
        if isinstance(typ, list):
            if not isinstance(value, list):
                raise ValueError(_mismatch(self.kind, path, value, "[]string"))
            item = typ[0] + "?" if isinstance(typ[0], str) else typ[0]
            return [self.read(v, item, path) for v in value] or None
        if typ in ("str", "time", "micro") and not isinstance(value, str):
            raise ValueError(_mismatch(self.kind, path, value, "string"))
        if typ == "bool" and not isinstance(value, bool):
            raise ValueError(_mismatch(self.kind, path, value, "bool"))
        if typ == "int" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(_mismatch(self.kind, path, value, GO_NAMES[typ]))
        if typ in ("time", "micro"):
            return _time(value, typ == "micro")
        if typ == "quantity":
            if not QUANTITY.fullmatch(str(value)):
                raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)"
                                 "([eEinumkKMGTP]*[-+]?[0-9]*)$'")
            return str(value)
        return value if value != "" or keep_empty else None

    def _object(self, value, typ, path):
        found = {}
        if "*" in typ:
            for name in sorted(value):
                below = self.read(value[name], typ["*"] + "?" if isinstance(typ["*"], str)
                                  else typ["*"], path)
                found[name] = "" if below is None else below
            return found or None
        self.unknown += [joined(path, name) for name in value if name not in typ]
        for name, below in typ.items():
            if name in value:
                read = self.read(value[name], below, joined(path, name))
                if read is not None:
                    found[name] = read
        return found


def read_built_in(obj, res):
    """The object as its Go type keeps it, and its unknown fields. Raises 400."""
    reader = Reader(res.kind)
    try:
        found = reader.read(obj, type_of(res))
    except ValueError as error:
        raise bad_request(f'{res.kind} in version "{res.version}" cannot be handled as a '
                          f'{res.kind}: {error}') from None
    found.setdefault("metadata", {})
    return {"kind": found.pop("kind"), "apiVersion": found.pop("apiVersion"), **found}, \
        reader.unknown


def read_custom(obj, res):
    """The custom resource without what its schema does not know, and the paths of that."""
    reader = Reader(res.kind)
    root = {**res.schema, "properties": {**(res.schema.get("properties") or {}),
                                         "apiVersion": {}, "kind": {}, "metadata": {
                                             "x-kubernetes-preserve-unknown-fields": True}}}
    found, unknown = prune(obj, root)
    try:
        meta = reader.read(obj.get("metadata") or {}, TYPES["ObjectMeta"], "metadata")
    except ValueError as error:
        raise bad_request(f'{res.kind} in version "{res.version}" cannot be handled as a '
                          f'{res.kind}: {error}') from None
    found["metadata"] = meta
    return found, unknown + reader.unknown


META_ORDER = list(TYPES["ObjectMeta"])


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(v) for v in value] if isinstance(value, list) else value


def shown(obj, res):
    """The object in the order in which the real server writes its fields."""
    if res.custom:
        return _sorted(obj)
    meta = obj["metadata"]
    order = {name: _sorted(meta[name]) if name in ("labels", "annotations") else meta[name]
             for name in META_ORDER if name in meta}
    known = list(type_of(res))
    rest = {name: obj[name] for name in known if name in obj and name not in (
        "kind", "apiVersion", "metadata")}
    found = {"kind": res.kind, "apiVersion": res.api_version, "metadata": order, **rest}
    if res.group == "events.k8s.io":
        found.setdefault("deprecatedSource", {})
        found.setdefault("deprecatedFirstTimestamp", None)
        found.setdefault("deprecatedLastTimestamp", None)
        found.setdefault("eventTime", None)
    elif (res.group, res.kind) == ("", "Event"):
        found.setdefault("eventTime", None)
        for name in ("firstTimestamp", "lastTimestamp"):
            found.setdefault(name, None)
        for name in ("source",):
            found.setdefault(name, {})
        for name in ("reportingComponent", "reportingInstance"):
            found.setdefault(name, "")
    return found
