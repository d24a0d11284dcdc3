"""Custom resources as a Table, with the columns that their CRD names: what `kubectl get` shows."""

import re
import time
from datetime import datetime, timezone

STEP = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]|\[(\d+|\*)\]""")
NAME = {"name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace."}
AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def find(obj, path):
    """All that a JSONPath finds; of its language what columns use."""
    found, at = [obj], 0
    while at < len(path):
        step = STEP.match(path, at)
        if not step:
            raise ValueError(f"JSONPath {path}")
        at = step.end()
        name, field, wanted, index = step.groups()
        if name:
            found = [o[name] for o in found if isinstance(o, dict) and name in o]
            continue
        items = [one for o in found if isinstance(o, list) for one in o]
        if field:
            found = [o for o in items if wanted in find(o, "." + field)]
        else:
            found = items if index == "*" else items[int(index):int(index) + 1]
    return found


def human(seconds):
    """A duration as kubectl shows it: two units where it is short, one where it is long."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(int(seconds), 0)
    minutes, hours = seconds // 60, seconds // 3600
    days = hours // 24
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def _cell(column, obj):
    found = find(obj, column["jsonPath"])
    if not found or found[0] is None:
        return None
    value, kind = found[0], column["type"]
    if kind == "date":
        try:
            then = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        except (TypeError, ValueError):
            return "<invalid>"
        return human(time.time() - then.timestamp())
    if kind == "boolean" or kind in ("integer", "number"):
        return value
    return value if isinstance(value, str) else str(value)


def of_objects(objects, meta, res):
    """The Table of these objects of a custom resource."""
    columns = res.columns or [AGE]
    shown = [{"name": c["name"], "type": c["type"], "format": c.get("format", ""),
              "description": c.get("description", "Custom resource definition column (in JSONPath "
                                   f"format): {c['jsonPath']}"),
              "priority": c.get("priority", 0)} for c in columns]
    rows = [{"cells": [obj["metadata"]["name"], *(_cell(column, obj) for column in columns)],
             "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": obj["metadata"]}} for obj in objects]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
            "columnDefinitions": [NAME, *shown], "rows": rows}
