"""/openapi/v3: which kinds there are and what their fields are, as kubectl asks for it.

Custom resources come with the schema of their CRD. Of built-in kinds only the outermost fields are told:
enough for a client that asks which verbs take `fieldValidation`.
"""

import hashlib

import typed

PARAMETERS = {"patch": ["dryRun", "fieldManager", "fieldValidation", "force"],
              "post": ["dryRun", "fieldManager", "fieldValidation"],
              "put": ["dryRun", "fieldManager", "fieldValidation"],
              "get": ["pretty"], "delete": ["dryRun", "gracePeriodSeconds", "propagationPolicy"]}
ON_NAMES = ("get", "put", "patch", "delete")


def _path(res):
    """Of one group version, as the index has it."""
    return f"apis/{res.group}/{res.version}" if res.group else f"api/{res.version}"


def _kind(res):
    return {"group": res.group, "version": res.version, "kind": res.kind}


def _schema_name(res):
    if res.custom:
        place = ".".join(reversed(res.group.split(".")))
        return f"{place}.{res.version}.{res.kind}"
    return f"io.k8s.api.{(res.group or 'core').split('.')[0]}.{res.version}.{res.kind}"


def _schema(res):
    head = {"type": "object", "x-kubernetes-group-version-kind": [_kind(res)]}
    texts = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    if res.custom:
        below = {**(res.schema.get("properties") or {}), **texts}
        return {**res.schema, **head, "properties": {**below, "metadata": {"type": "object"}}}
    fields = {name: texts.get(name, {"x-kubernetes-preserve-unknown-fields": True})
              for name in typed.type_of(res)}
    return {**head, "properties": fields}


def _operation(res, method):
    query = [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
             for name in PARAMETERS[method]]
    return {"x-kubernetes-action": method, "x-kubernetes-group-version-kind": _kind(res),
            "parameters": query, "responses": {"200": {"description": "OK"}}}


def _paths(res):
    below = "/namespaces/{namespace}" if res.namespaced else ""
    base = f"/{_path(res)}{below}/{res.plural}"
    if res.virtual:
        return {base: {"post": _operation(res, "post")}}
    found = {base: {method: _operation(res, method) for method in ("get", "post")},
             base + "/{name}": {method: _operation(res, method) for method in ON_NAMES}}
    return found


def index(registry):
    """The list of documents. Their addresses change with what is in them."""
    found = {}
    for res in registry.all():
        found.setdefault(_path(res), []).append(res)
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(kinds)}"}
                      for path, kinds in sorted(found.items())}}


def _hash(kinds):
    return hashlib.sha256(repr([(r.plural, r.schema) for r in kinds]).encode()).hexdigest().upper()


def document(registry, path):
    """That of one group version, or None."""
    kinds = [res for res in registry.all() if _path(res) == path]
    if not kinds:
        return None
    paths, schemas = {}, {}
    for res in kinds:
        paths.update(_paths(res))
        schemas[_schema_name(res)] = _schema(res)
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.0"},
            "paths": paths, "components": {"schemas": schemas}}
