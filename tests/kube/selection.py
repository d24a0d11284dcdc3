"""Label and field selectors."""

import re

from errors import bad_request

REQUIREMENT = re.compile(r"""\s*(?:
    (?P<not>!)\s*(?P<absent>[\w./-]+)
  | (?P<key>[\w./-]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
  | (?P<name>[\w./-]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[\w./-]*)
  | (?P<there>[\w./-]+)
)\s*(?:,|$)""", re.X)


def parse_labels(text):
    """A function from labels to whether they match. Raises 400."""
    tests, at = [], 0
    while at < len(text):
        match = REQUIREMENT.match(text, at)
        if not match:
            raise bad_request(f'unable to parse requirement: found \'{text[at:].strip()}\', '
                              "expected: identifier")
        at = match.end()
        tests.append(_label_test(match.groupdict()))
    return lambda labels: all(test(labels) for test in tests)


def _label_test(found):
    if found["absent"]:
        return lambda labels: found["absent"] not in labels
    if found["there"]:
        return lambda labels: found["there"] in labels
    if found["set"]:
        values = [v.strip() for v in found["values"].split(",")]
        key, wanted = found["key"], found["set"] == "in"
        return lambda labels: (labels[key] in values) == wanted if key in labels else not wanted
    name, op, value = found["name"], found["op"], found["value"]
    if op in ("=", "=="):
        return lambda labels: labels.get(name) == value
    if op == "!=":
        return lambda labels: labels.get(name) != value
    if not value.isdigit():
        raise bad_request("values[0]: Invalid value: for 'Gt', 'Lt' operators, the value must be an "
                          "integer")
    return lambda labels: labels.get(name, "").isdigit() and (
        int(labels[name]) > int(value) if op == ">" else int(labels[name]) < int(value))


def field_value(obj, name):
    value = obj
    if name == "source":
        return obj.get("source", {}).get("component", "")
    for step in name.split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _refused_field(res, name):
    if res.custom or res.selectable:
        return bad_request(f"field label not supported: {name}")
    return bad_request(f'"{name}" is not a known field selector: only "metadata.name", '
                       '"metadata.namespace"')


def parse_fields(text, res):
    """A function from an object to whether it matches. Raises 400."""
    tests = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"\s*([^=!]+?)(!=|==|=)(.*)", part)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        name, op, value = match.groups()
        if name not in ("metadata.name", "metadata.namespace") and name not in res.selectable:
            raise _refused_field(res, name)
        tests.append((name, op != "!=", value.strip()))
    return lambda obj: all((field_value(obj, name) == value) == equal
                           for name, equal, value in tests)


class Selector:
    """What a list or a watch is restricted to: a namespace, labels, fields."""

    def __init__(self, res, namespace, query):
        self.res, self.namespace = res, namespace
        self.labels = parse_labels(query.get("labelSelector", ""))
        self.fields = parse_fields(query.get("fieldSelector", ""), res)
        self.narrows = bool(query.get("labelSelector") or query.get("fieldSelector"))

    def matches(self, obj):
        meta = obj["metadata"]
        return ((not self.namespace or meta.get("namespace") == self.namespace)
                and self.labels(meta.get("labels") or {}) and self.fields(obj))
