"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

import copy

from errors import patch_failed


def merge(target, change):
    """`target` with the merge patch `change` applied; neither is altered."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found


def _steps(path):
    if path == "":
        return []
    if not isinstance(path, str) or not path.startswith("/"):
        raise patch_failed()
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _index(array, step, adding=False):
    if step == "-" and adding:
        return len(array)
    if not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise patch_failed()
    index = int(step)
    if index > len(array) - (0 if adding else 1):
        raise patch_failed()
    return index


def _walk(document, steps):
    for step in steps:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(document, step)]
        else:
            raise patch_failed()
    return document


def _add(document, steps, value):
    if not steps:
        return value
    parent, last = _walk(document, steps[:-1]), steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, last, adding=True), value)
    else:
        raise patch_failed()
    return document


def _remove(document, steps):
    if not steps:
        raise patch_failed()
    parent, last = _walk(document, steps[:-1]), steps[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(parent, last)]
    else:
        raise patch_failed()


def _same(a, b):
    """Equal as JSON: true is not 1."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def json_patch(target, operations):
    """`target` with all operations done, or an ApiError and nothing done."""
    document = copy.deepcopy(target)
    if not isinstance(operations, list):
        raise patch_failed()
    for operation in operations:
        if not isinstance(operation, dict) or "path" not in operation:
            raise patch_failed()
        op, steps = operation.get("op"), _steps(operation["path"])
        if op in ("add", "replace", "test") and "value" not in operation:
            raise patch_failed()
        value = copy.deepcopy(operation.get("value"))
        if op in ("move", "copy"):
            source = _steps(operation.get("from"))
            value = copy.deepcopy(_walk(document, source))
            if op == "move":
                _remove(document, source)
        if op == "test":
            if not _same(_walk(document, steps), value):
                raise patch_failed()
        elif op == "remove":
            _remove(document, steps)
        elif op == "replace":
            _walk(document, steps)
            if steps:
                parent = _walk(document, steps[:-1])
                last = steps[-1]
                parent[_index(parent, last) if isinstance(parent, list) else last] = value
            else:
                document = value
        elif op in ("add", "move", "copy"):
            document = _add(document, steps, value)
        else:
            raise patch_failed()
    return document
