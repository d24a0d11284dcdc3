"""Structural schemas of custom resources: pruning, defaults, validation, in the server's words."""

import copy
import json
import re

import cel
from errors import Fault

META = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
FORMATS = {"date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
           "date": re.compile(r"\d{4}-\d\d-\d\d"),
           "uuid": re.compile(r"(?i)[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"),
           "ipv4": re.compile(r"(\d{1,3}\.){3}\d{1,3}"),
           "duration": re.compile(r"([0-9.]+(ns|us|µs|ms|s|m|h|d|w))+"),
           "byte": re.compile(r"[A-Za-z0-9+/]*={0,2}")}
NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object",
         list: "array", type(None): "null"}


def with_root(schema):
    """The schema of a whole object: type, metadata and what the CRD says."""
    root = {"type": "object", **schema}
    properties = dict(root.get("properties") or {})
    properties.setdefault("apiVersion", {"type": "string"})
    properties.setdefault("kind", {"type": "string"})
    properties["metadata"] = META
    root["properties"] = properties
    return root


def joined(path, name):
    return f"{path}.{name}" if path else name


def prune(value, schema, path="", unknown=None):
    """`value` without what the schema does not know; `unknown` collects the paths of that."""
    unknown = [] if unknown is None else unknown
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        keep = schema.get("x-kubernetes-preserve-unknown-fields")
        if schema.get("x-kubernetes-embedded-resource"):
            properties = with_root(schema)["properties"]
        found = {}
        for name, below in value.items():
            at = joined(path, name)
            if name in properties:
                found[name] = prune(below, properties[name], at, unknown)[0]
            elif isinstance(more, dict):
                found[name] = prune(below, more, at, unknown)[0]
            elif keep or more is True:
                found[name] = below
            else:
                unknown.append(at)
        return found, unknown
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [prune(v, items, f"{path}[{i}]", unknown)[0] for i, v in enumerate(value)], unknown
    return value, unknown


def fill_defaults(value, schema):
    """`value` with the schema's defaults filled in; null where a default is known gives way to it."""
    if isinstance(value, dict):
        found = dict(value)
        for name, below in (schema.get("properties") or {}).items():
            if found.get(name) is None and name in found and not below.get("nullable"):
                if "default" in below:
                    del found[name]
            if name not in found and "default" in below:
                found[name] = copy.deepcopy(below["default"])
            if name in found:
                found[name] = fill_defaults(found[name], below)
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for name in found:
                if name not in (schema.get("properties") or {}):
                    found[name] = fill_defaults(found[name], more)
        return found
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [fill_defaults(v, schema["items"]) for v in value]
    return value


def _type_fits(value, schema):
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    if value is None:
        return bool(schema.get("nullable")) or kind is None
    if kind is None:
        return True
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind == "number":
        return isinstance(value, (int, float))
    return NAMES.get(type(value)) == kind


def _shown(value):
    return json.dumps(value, separators=(",", ":"))


def _numbers(value, schema, path):
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        orequal = "" if schema.get("exclusiveMinimum") else " or equal to"
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body should be greater than"
                    f"{orequal} {_shown(low)}")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        orequal = "" if schema.get("exclusiveMaximum") else " or equal to"
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body should be less than"
                    f"{orequal} {_shown(high)}")
    if schema.get("multipleOf") and value % schema["multipleOf"]:
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body should be a multiple of "
                    f"{_shown(schema['multipleOf'])}")


def _strings(value, schema, path):
    if len(value) < schema.get("minLength", 0):
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body should be at least "
                    f"{schema['minLength']} chars long")
    if len(value) > schema.get("maxLength", len(value)):
        yield Fault(path, "too_long", f"may not be more than {schema['maxLength']} bytes")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield Fault(path, "invalid",
                    f"{_shown(value)}: {path} in body should match '{schema['pattern']}'")
    known = FORMATS.get(schema.get("format"))
    if known and not known.fullmatch(value):
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body must be of type "
                    f"{schema['format']}: {_shown(value)}")


def _lists(value, schema, path):
    if len(value) < schema.get("minItems", 0):
        yield Fault(path, "invalid",
                    f"{len(value)}: {path} in body should have at least {schema['minItems']} items")
    if len(value) > schema.get("maxItems", len(value)):
        yield Fault(path, "too_many",
                    f"{len(value)}: must have at most {schema['maxItems']} items")
    keys, seen = schema.get("x-kubernetes-list-map-keys"), []
    kind = schema.get("x-kubernetes-list-type")
    for index, item in enumerate(value):
        key = item if kind == "set" else None
        if kind == "map" and isinstance(item, dict):
            key = {k: item.get(k) for k in keys}
        if key is not None and key in seen:
            shown = _shown(key) if kind == "set" else "map[string]interface {}" + _shown(key)
            yield Fault(f"{path}[{index}]", "duplicate", shown)
        seen.append(key)
        yield from validate(item, schema.get("items") or {}, f"{path}[{index}]")


def _objects(value, schema, path):
    for name in schema.get("required") or []:
        if name not in value:
            yield Fault(joined(path, name), "required")
    if len(value) < schema.get("minProperties", 0):
        yield Fault(path, "invalid", f"{len(value)}: {path} in body should have at least "
                    f"{schema['minProperties']} properties")
    if len(value) > schema.get("maxProperties", len(value)):
        yield Fault(path, "too_many",
                    f"{len(value)}: must have at most {schema['maxProperties']} items")
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in sorted(value):
        if name in properties:
            yield from validate(value[name], properties[name], joined(path, name))
        elif isinstance(more, dict):
            yield from validate(value[name], more, joined(path, name))


def validate(value, schema, path=""):
    """What is wrong with `value`, field by field; rules in CEL are not looked at."""
    if not _type_fits(value, schema):
        kind = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema["type"]
        name = NAMES[type(value)]
        yield Fault(path or "<nil>", "type",
                    f'"{name}": {path} in body must be of type {kind}: "{name}"')
        return
    if "enum" in schema and value not in schema["enum"]:
        yield Fault(path, "unsupported", f"{_shown(value)}: supported values: "
                    + ", ".join(_shown(v) for v in schema["enum"]))
    if isinstance(value, dict):
        yield from _objects(value, schema, path)
    elif isinstance(value, list):
        yield from _lists(value, schema, path)
    elif isinstance(value, str):
        yield from _strings(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _numbers(value, schema, path)
    yield from _combined(value, schema, path)


def _combined(value, schema, path):
    """allOf, anyOf, oneOf, not: in a structural schema they hold value checks only."""
    def fits(part):
        return not list(validate(value, part, path))
    for part in schema.get("allOf") or []:
        yield from validate(value, part, path)
    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        if not schema.get("x-kubernetes-int-or-string"):
            yield Fault(path, "invalid", f"{_shown(value)}: {path} in body must validate at least "
                        "one schema (anyOf)")
    if "oneOf" in schema and sum(map(fits, schema["oneOf"])) != 1:
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body must validate one and only "
                    "one schema (oneOf)")
    if "not" in schema and fits(schema["not"]):
        yield Fault(path, "invalid", f"{_shown(value)}: {path} in body must not validate the "
                    "schema (not)")


def has_rules(schema):
    if not isinstance(schema, dict):
        return False
    below = [*(schema.get("properties") or {}).values(), schema.get("items"),
             schema.get("additionalProperties")]
    return bool(schema.get("x-kubernetes-validations")) or any(map(has_rules, below))


def _old_item(item, old, schema):
    """The item of the old list that the list type says is the same one."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return None
    return next((o for o in old if all(o.get(k) == item.get(k) for k in keys)), None)


def check_rules(value, old, schema, path=""):
    """What the CEL rules of the schema object to. `old` is None where there was nothing."""
    if value is None:
        return
    for rule in schema.get("x-kubernetes-validations") or []:
        if cel.mentions(rule["rule"], "oldSelf") and old is None:
            continue
        if cel.evaluate(rule["rule"], {"self": value, "oldSelf": old}) is not True:
            text = rule.get("message") or f"failed rule: {rule['rule']}"
            where = path + rule.get("fieldPath", "")
            what = {"FieldValueForbidden": "forbidden", "FieldValueRequired": "required",
                    "FieldValueDuplicate": "duplicate"}.get(rule.get("reason"), "invalid")
            shown = f'"{NAMES[type(value)]}": {text}' if what in ("invalid", "duplicate") else text
            yield Fault(where.lstrip(".") or "<nil>", what, shown)
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for name in sorted(value):
            below = properties.get(name, more if isinstance(more, dict) else None)
            if below:
                before = old.get(name) if isinstance(old, dict) else None
                yield from check_rules(value[name], before, below, joined(path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            before = _old_item(item, old, schema)
            yield from check_rules(item, before, schema.get("items") or {}, f"{path}[{index}]")


def check(obj, old, schema):
    """All faults of a custom resource against its schema, in the order the server lists them."""
    root = with_root(schema)
    faults = list(validate(obj, root))
    if faults:
        if has_rules(root):
            faults.append(Fault("<nil>", "invalid", '"null": some validation rules were not checked '
                                "because the object was invalid; correct the existing errors to "
                                "complete validation"))
        return faults
    return list(check_rules(obj, old, root))
