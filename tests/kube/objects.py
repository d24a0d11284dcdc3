"""Writing objects: create, update, patch, delete, with all that the server does on the way."""

import copy
import json
import random
import uuid

import yaml

import builtin
import fields
import patch as patches
import schema
import strategic
import typed
from errors import ApiError, Fault, already_exists, bad_request, conflict, forbidden, invalid, \
    not_found, unsupported_media

NAMESPACES = ("", "namespaces")
NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
JSON_TYPES = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Call:
    """What a write carries besides the object: who, through which door, and the query."""

    def __init__(self, manager, query=None, door="", user=None):
        self.manager, self.door, self.user = manager, door, user
        self.query = query or {}
        self.warnings = []
        self.dry_run = self.query.get("dryRun") == "All"
        if self.query.get("fieldManager"):
            self.manager = self.query["fieldManager"]


def parse_body(body, res, media):
    """The object that a body holds. Raises 400 and 415."""
    if media not in JSON_TYPES[:2]:
        raise unsupported_media(JSON_TYPES)
    try:
        found = yaml.safe_load(body) if media == "application/yaml" else json.loads(body)
    except (ValueError, yaml.YAMLError) as error:
        text = body.decode("utf-8", "replace")
        why = "unexpected end of JSON input" if isinstance(error, json.JSONDecodeError) and \
            error.pos >= len(text.rstrip()) else str(error)
        begin = text[:30] + (" ..." if len(text) > 30 else "")
        raise bad_request(f"the object provided is unrecognized (must be of type {res.kind}): "
                          f"couldn't get version/kind; json parse error: {why} "
                          f"({begin})") from None
    if not isinstance(found, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {res.kind})")
    for name, wanted in (("apiVersion", res.api_version), ("kind", res.kind)):
        if found.setdefault(name, wanted) != wanted:
            raise bad_request(f"the object provided ({found.get('apiVersion')}, Kind="
                              f"{found.get('kind')}) does not match the expected "
                              f"({res.api_version}, Kind={res.kind})")
    return found


class Objects:
    """The write path over a store. Every method may be called from any thread."""

    def __init__(self, store, registry):
        self.store, self.registry = store, registry
        self.random = random.Random()

    # Reading what a client sent

    def read(self, obj, res, call):
        """The object as the server keeps it; unknown fields are refused or warned about."""
        found, unknown = typed.read_custom(obj, res) if res.custom \
            else typed.read_built_in(obj, res)
        mode = call.query.get("fieldValidation", "Warn")
        if unknown and mode == "Strict":
            listed = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(f'{res.kind} in version "{res.version}" cannot be handled as a '
                              f"{res.kind}: strict decoding error: {listed}")
        if unknown and mode == "Warn":
            call.warnings += [f'unknown field "{path}"' for path in unknown]
        if res.custom:
            found = schema.fill_defaults(found, {**res.schema, "type": "object"})
        else:
            builtin.prepare(found)
        return found

    def _validate(self, obj, old, res):
        if not res.custom:
            builtin.check(obj, old, res, self.store)
            return
        found = [] if old else builtin.name_faults(res, obj["metadata"].get("name"))
        found += schema.check(obj, old, res.schema)
        if found:
            raise invalid(res.kind, res.group, obj["metadata"].get("name"), found)

    # Create

    def _check_namespace(self, res, namespace, name):
        if not res.namespaced:
            return
        found = self.store.get(NAMESPACES, "", namespace)
        if found is None:
            raise not_found(self.registry.find("", "v1", "namespaces"), namespace)
        if found["metadata"].get("deletionTimestamp"):
            raise forbidden(res, name, f"unable to create new content in namespace {namespace} "
                            "because it is being terminated",
                            [{"reason": "NamespaceTerminating",
                              "message": f"namespace {namespace} is being terminated",
                              "field": "metadata.namespace"}])

    def create(self, res, namespace, obj, call):
        obj = self.read(copy.deepcopy(obj), res, call)
        meta = obj["metadata"]
        for name in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation",
                     "deletionGracePeriodSeconds", "managedFields", "selfLink"):
            given = meta.pop(name, None)
            if name == "resourceVersion" and given:
                raise bad_request("resourceVersion should not be set on objects to be created")
        if res.namespaced:
            if meta.setdefault("namespace", namespace) != namespace:
                raise bad_request("the namespace of the provided object does not match the "
                                  "namespace sent on the request")
        else:
            meta.pop("namespace", None)
        with self.store.lock:
            if not meta.get("name") and meta.get("generateName"):
                meta["name"] = meta["generateName"] + "".join(
                    self.random.choice(NAME_LETTERS) for _ in range(5))
            self._check_namespace(res, namespace, meta.get("name"))
            meta["uid"], meta["creationTimestamp"] = str(uuid.uuid4()), builtin.now()
            if res.generation:
                meta["generation"] = 1
            if res.status and res.custom:
                obj.pop("status", None)
            self._validate_created(obj, res)
            fields.note_update(None, obj, res, call.manager, "")
            if self.store.get(res.storage, meta.get("namespace"), meta["name"]):
                raise already_exists(res, meta["name"])
            return self._stored(res, obj, call)

    def _validate_created(self, obj, res):
        if not res.custom:
            builtin.prepare_create(obj, res, self.store)
        self._validate(obj, None, res)

    def _stored(self, res, obj, call):
        if call.dry_run:
            return obj
        return self.store.put(res.storage, obj)

    # Update and patch

    def current(self, res, namespace, name):
        found = self.store.get(res.storage, namespace if res.namespaced else "", name)
        if found is None:
            raise not_found(res, name)
        return builtin.viewed(found, res)

    def update(self, res, namespace, name, obj, call):
        """PUT."""
        if obj.get("metadata", {}).get("name", name) != name:
            raise bad_request(f"the name of the object ({obj['metadata']['name']}) does not match "
                              f"the name on the URL ({name})")
        obj = self.read(copy.deepcopy(obj), res, call)
        with self.store.lock:
            old = self.current(res, namespace, name)
            meta = obj["metadata"]
            if not meta.get("resourceVersion") and not res.unconditional:
                raise invalid(res.plural, res.group, name, [Fault(
                    "metadata.resourceVersion", "invalid", "0x0: must be specified for an update")])
            uid = meta.get("uid")
            if uid and uid != old["metadata"]["uid"]:
                place = f"/{namespace}" if res.namespaced else ""
                raise conflict(res, name, "StorageError: invalid object, Code: 4, Key: /registry/"
                               f"{res.plural}{place}/{name}, ResourceVersion: 0, "
                               f"AdditionalErrorMsg: Precondition failed: UID in precondition: "
                               f"{uid}, UID in object meta: {old['metadata']['uid']}")
            return self._replace(res, old, obj, call)

    def patch(self, res, namespace, name, body, media, call):
        """PATCH of any kind. Returns (object, created)."""
        accepted = [JSON_PATCH, MERGE_PATCH] + ([] if res.custom else [STRATEGIC_PATCH]) \
            + [APPLY_PATCH]
        if media not in accepted:
            raise unsupported_media(accepted)
        try:
            change = yaml.safe_load(body) if media == APPLY_PATCH else json.loads(body)
        except (ValueError, yaml.YAMLError) as error:
            raise bad_request(f"error decoding patch: {error}") from None
        if media == APPLY_PATCH:
            return self._apply(res, namespace, name, change, call)
        with self.store.lock:
            old = self.current(res, namespace, name)
            if media == JSON_PATCH:
                new = patches.json_patch(old, change)
            elif not isinstance(change, dict):
                raise bad_request("error decoding patch: it is no object")
            else:
                merge = strategic.merge if media == STRATEGIC_PATCH else patches.merge
                new = merge(old, change)
            new = self.read(new, res, call)
            uid = new["metadata"].get("uid")
            if uid != old["metadata"]["uid"]:
                raise invalid(res.kind, res.invalid_group, name, [Fault(
                    "metadata.uid", "invalid", f'"{uid}": field is immutable')], twice=True)
            return self._replace(res, old, new, call), False

    def _apply(self, res, namespace, name, config, call):
        if not call.query.get("fieldManager"):
            raise invalid("PatchOptions", "meta.k8s.io", "", [Fault(
                "fieldManager", "required", "is required for apply patch")])
        if not isinstance(config, dict) or (config.get("apiVersion"), config.get("kind")) != (
                res.api_version, res.kind):
            raise bad_request("apiVersion and kind of an apply patch must be those of the URL")
        config.setdefault("metadata", {}).setdefault("name", name)
        if config["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        strict, _ = (typed.read_custom if res.custom else typed.read_built_in)(config, res)
        force = call.query.get("force") == "true"
        with self.store.lock:
            old = self.store.get(res.storage, namespace if res.namespaced else "", name)
            if old is None and call.door:
                raise not_found(res, name)
            if old is not None:
                old = builtin.viewed(old, res)
            self.read(config, res, call)  # for what it says about unknown fields
            new = fields.apply(old, strict, res, call.manager, force, call.door)
            if old is not None:
                new = schema.fill_defaults(new, res.schema) if res.custom else new
                new.update(apiVersion=res.api_version, kind=res.kind)
                return self._replace(res, old, new, call, applied=True), False
            owned = new["metadata"].pop("managedFields")
            new.update(apiVersion=res.api_version, kind=res.kind)
            return self._created_by_apply(res, namespace, new, owned, call), True

    def _created_by_apply(self, res, namespace, new, owned, call):
        dry = Call(call.manager, {**call.query, "dryRun": "All"})
        made = self.create(res, namespace, new, dry)
        made["metadata"]["managedFields"] = owned
        return self._stored(res, made, call)

    def _keep_system_fields(self, res, old, new, call):
        """What only the server writes stays as it is, and so does what the other door writes."""
        meta, before = new["metadata"], old["metadata"]
        for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds", "generation", "generateName"):
            meta.pop(name, None)
            if name in before:
                meta[name] = before[name]
        if call.door == "status":
            kept = {k: v for k, v in old.items() if k != "status"}
            if not res.custom:
                kept["metadata"] = meta  # annotations may be written through either door
            else:
                kept["metadata"] = dict(before)
            if "status" in new:
                kept["status"] = new["status"]
            return kept
        if res.status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if res.kind == "Namespace" and call.door != "finalize":
            new["spec"] = old["spec"]
        return new

    def _replace(self, res, old, new, call, applied=False):
        name = old["metadata"]["name"]
        version = new["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise conflict(res, name)
        owned = new["metadata"].get("managedFields")
        new = self._keep_system_fields(res, old, new, call)
        meta = new["metadata"]
        for part in ("finalizers", "ownerReferences", "labels", "annotations"):
            if part in meta and not meta[part]:
                del meta[part]
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        if meta.get("deletionTimestamp"):
            self._check_finalizers(res, old, new)
        if res.generation and self._spec_changed(old, new):
            meta["generation"] = old["metadata"].get("generation", 1) + 1
        self._validate(new, old, res)
        if applied:
            meta["managedFields"] = owned
        else:
            fields.note_update(old, new, res, call.manager, call.door)
        if self._same(old, new):
            return old
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not call.dry_run \
                and not (res.kind == "Namespace" and new["spec"].get("finalizers")):
            self.store.remove(res.storage, meta.get("namespace"), name, new)
            return new
        return self._stored(res, new, call)

    @staticmethod
    def _spec_changed(old, new):
        def relevant(obj):
            return {k: v for k, v in obj.items() if k not in ("metadata", "status")}
        return relevant(old) != relevant(new)

    @staticmethod
    def _same(old, new):
        def relevant(obj):
            entries = [{**e, "time": ""} for e in obj["metadata"].get("managedFields") or []]
            return {**obj, "metadata": {**obj["metadata"], "managedFields": entries}}
        return relevant(old) == relevant(new)

    @staticmethod
    def _check_finalizers(res, old, new):
        added = [f for f in new["metadata"].get("finalizers") or []
                 if f not in (old["metadata"].get("finalizers") or [])]
        if added:
            shown = "[]string{" + ", ".join(json.dumps(f) for f in added) + "}"
            raise invalid(res.kind, res.invalid_group, old["metadata"]["name"], [Fault(
                "metadata.finalizers", "forbidden", "no new finalizers can be added if the object "
                f"is being deleted, found new finalizers {shown}")], twice=True)

    # Delete

    def delete(self, res, namespace, name, options, call):
        """Returns (object or None if it is a Status that answers, uid)."""
        with self.store.lock:
            old = self.current(res, namespace, name)
            self._check_preconditions(res, old, options.get("preconditions") or {})
            policy = options.get("propagationPolicy") or call.query.get("propagationPolicy")
            extra = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(policy, [])
            meta = old["metadata"]
            if meta.get("deletionTimestamp"):
                return old
            new = copy.deepcopy(old)
            finalizers = list(meta.get("finalizers") or [])
            finalizers += [f for f in extra if f not in finalizers]
            if res.kind == "CustomResourceDefinition":
                finalizers.append("customresourcecleanup.apiextensions.k8s.io")
            if finalizers or res.kind == "Namespace":
                new["metadata"].update(deletionTimestamp=builtin.now(),
                                       deletionGracePeriodSeconds=0)
                if finalizers:
                    new["metadata"]["finalizers"] = finalizers
                if res.kind == "Namespace":
                    del new["metadata"]["deletionGracePeriodSeconds"]
                    new["status"] = {**new.get("status", {}), "phase": "Terminating"}
                if res.generation:
                    new["metadata"]["generation"] = meta.get("generation", 1) + 1
                return self._stored(res, new, call)
            if not call.dry_run:
                self.store.remove(res.storage, meta.get("namespace"), name)
            return old if res.returns_deleted else None

    @staticmethod
    def _check_preconditions(res, old, preconditions):
        name, meta = old["metadata"]["name"], old["metadata"]
        uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
        if uid is not None and uid != meta["uid"]:
            raise conflict(res, name, f"the UID in the precondition ({uid}) does not match the UID "
                           f"in record ({meta['uid']}). The object might have been deleted and then "
                           "recreated", kind=res.kind)
        if version is not None and version != meta["resourceVersion"]:
            raise conflict(res, name, f"the ResourceVersion in the precondition ({version}) does "
                           f"not match the ResourceVersion in record ({meta['resourceVersion']}). "
                           "The object might have been modified", kind=res.kind)

    # For controllers

    def change(self, res, obj, alter, manager, door=""):
        """Reads an object anew, lets `alter` change a copy, writes it. None if it is gone."""
        meta = obj["metadata"]
        with self.store.lock:
            try:
                old = self.current(res, meta.get("namespace"), meta["name"])
            except ApiError:
                return None
            if old["metadata"]["uid"] != meta["uid"]:
                return None
            new = copy.deepcopy(old)
            alter(new)
            return self._replace(res, old, new, Call(manager, door=door))
