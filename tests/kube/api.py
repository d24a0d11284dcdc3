"""From a request to its answer: who asks, what for, whether they may, and the verbs."""

import json
import re

import auth
import errors
import execution
import faults
import health
import openapi
import reviews
import tables
import typed
from errors import ApiError
from faults import before as fault_before
from lists import Lister, as_list, partial
from objects import APPLY_PATCH, Call, parse_body
from watch import Watch
from wire import BODY_MAX

METHODS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch",
           "DELETE": "delete"}
WRITES = ("create", "update", "patch", "delete", "deletecollection")
STORE_TIMEOUT_SECONDS = 34.0
PARTIAL = re.compile(r"as=PartialObjectMetadata(List)?\b")
TABLE = re.compile(r"as=Table\b.*v=v1\b")


class Target:
    """What a path names. `group` is None where it is no resource at all."""

    def __init__(self, path):
        self.group = self.version = self.resource = self.subresource = None
        self.namespace = self.name = ""
        self.parts = [p for p in path.split("/") if p]
        parts = self.parts[:]
        if parts[:1] == ["api"] and len(parts) > 2:
            self.group, self.version, parts = "", parts[1], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            self.group, self.version, parts = parts[1], parts[2], parts[3:]
        else:
            return
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            self.namespace, parts = parts[1], parts[2:]
        elif parts[0] == "namespaces" and len(parts) > 1:
            self.namespace = parts[1]
        self.resource = parts[0]
        self.name = parts[1] if len(parts) > 1 else ""
        self.subresource = "/".join(parts[2:])


def duration(text):
    """Seconds of a duration as Go writes it, or None."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(n) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[u] for n, u in parts)


class Api:
    def __init__(self, server):
        self.server = server
        self.lister = Lister(server.store)

    # Before the verbs

    def _user(self, connection, request):
        """Who asks, or whom they ask to be taken for. Raises 401 and 403."""
        user = self._authenticated(connection, request)
        name = request.header("Impersonate-User")
        if not name:
            return user
        self.server.authorizer.check(user, auth.Request("impersonate", "", "users", name=name))
        groups = request.header("Impersonate-Group")
        return self.server.tokens.named(name, [groups] if groups else [], self.server.store)

    def _authenticated(self, connection, request):
        header = request.header("Authorization")
        if header:
            kind, _, token = header.partition(" ")
            if kind.lower() != "bearer":
                raise errors.unauthorized()
            return self.server.tokens.user(token.strip(), self.server.store)
        if connection.peer_user:
            name, groups = connection.peer_user
            return auth.User(name, groups + ["system:authenticated"])
        return auth.ANONYMOUS

    @staticmethod
    def _verb(request, target):
        verb = METHODS.get(request.method)
        if verb is None:
            raise errors.method_not_allowed()
        if target.resource is None:
            return request.method.lower()
        if verb == "get" and not target.name:
            verb = "list"
        if verb in ("list", "get") and request.query.get("watch") in ("true", "1"):
            verb = "watch"
        if verb == "delete" and not target.name:
            verb = "deletecollection"
        return verb

    def _right(self, request, target, verb):
        if target.resource is None:
            return auth.Request(request.method.lower(), path=request.path)
        return auth.Request(verb, target.group, target.resource, target.subresource,
                            target.namespace, target.name)

    def handle(self, connection, request):
        """Answers one request."""
        flow = True
        try:
            try:
                user = self._user(connection, request)
            except ApiError:
                flow = None  # refused before flow control sees it
                raise
            if request.path.startswith("/_test/"):
                self.server.admin.handle(connection, request, user)
                return
            self._serve(connection, request, user)
        except ApiError as error:
            if error.plain or request.path.endswith("/exec"):
                flow = None  # not, or not any more, in the hands of flow control
            if error.code == 503:
                flow = False
            self._fail(connection, request, error, flow)

    def _fail(self, connection, request, error, flow):
        if error.text is not None:
            connection.answer(error.code, request, error.text.encode(),
                              "text/plain; charset=utf-8", error.headers, flow)
        elif error.plain:
            connection.answer(error.code, request, json.dumps(
                error.status(), separators=(",", ":")).encode(), "text/plain; charset=utf-8",
                error.headers, flow)
        else:
            connection.json(error.code, request, error.status(), error.headers, flow)

    def _serve(self, connection, request, user):
        target = Target(request.path)
        verb = self._verb(request, target)
        seen = {"user": user.name, "verb": verb, "method": request.method}
        if target.resource is None:
            seen["path"] = request.path
        else:
            seen.update(group=target.group, resource=target.resource, namespace=target.namespace,
                        subresource=target.subresource)
            if target.name:
                seen["name"] = target.name
        self.server.faults.note({k: v for k, v in seen.items() if k != "name" and v})
        fault = self.server.faults.find(seen) or {}
        right = self._right(request, target, verb)
        if fault.get("status") == 403:
            raise auth.refused(user, right)
        fault_before(fault, connection)
        self.server.authorizer.check(user, right)
        if request.too_large:
            raise errors.too_large(BODY_MAX)
        if target.resource is None:
            self._path(connection, request, target)
            return
        self._resource(connection, request, user, target, verb, fault)

    # Paths that are no resources

    def _path(self, connection, request, target):
        registry, parts = self.server.registry, target.parts
        found = None
        if parts and parts[0] in ("readyz", "healthz", "livez"):
            health.answer(connection, request, self.server.faults)
            return
        if parts == ["version"]:
            found = health.VERSION
        elif parts == ["api"]:
            found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
                {"clientCIDR": "0.0.0.0/0", "serverAddress": f"127.0.0.1:{self.server.port}"}]}
        elif parts == ["apis"]:
            found = registry.group_list()
        elif parts == ["api", "v1"]:
            found = registry.resource_list("", "v1")
        elif parts == ["openapi", "v3"]:
            found = openapi.index(registry)
        elif parts[:2] == ["openapi", "v3"]:
            found = openapi.document(registry, "/".join(parts[2:]))
        elif len(parts) == 2 and parts[0] == "apis" and parts[1] in registry.groups():
            found = {"kind": "APIGroup", "apiVersion": "v1", **registry.group(parts[1])}
        elif len(parts) == 3 and parts[0] == "apis":
            found = registry.resource_list(parts[1], parts[2])
        if found is None:
            raise errors.page_not_found()
        connection.json(200, request, found)

    # Resources

    def _find(self, target):
        if not self.server.faults.custom_ready and not any(
                r.group == target.group and not r.custom for r in self.server.registry.all()):
            raise ApiError(503, "the request has been made before all known HTTP paths have been "
                           "installed, please try again", "ServiceUnavailable",
                           {"retryAfterSeconds": 5}, {"Retry-After": "5"})
        res = self.server.registry.find(target.group, target.version, target.resource)
        if res is None:
            raise errors.page_not_found()
        if target.subresource and target.subresource not in res.subresources and not (
                target.subresource == "status" and res.status):
            raise errors.page_not_found()
        if target.namespace and not res.namespaced and target.resource != "namespaces":
            raise errors.page_not_found()
        return res

    @staticmethod
    def _check_accept(request, res):
        """In which form it is asked for: "metadata", "table" or "". Raises 406."""
        offers = [part.strip() for part in request.header("Accept", "*/*").split(",")]
        for offer in offers:
            media = offer.split(";")[0].strip()
            if PARTIAL.search(offer) and media == "application/json":
                return "metadata"
            if TABLE.search(offer) and media == "application/json" and res.custom:
                return "table"
            if media in ("application/json", "application/*", "*/*") and "as=" not in offer:
                return ""
        raise errors.not_acceptable()

    def _store_wait(self, request, verb):
        """Waits where the store does not answer; True if a write is done although it times out."""
        query = request.query
        if verb == "watch" or (verb in ("get", "list") and query.get("resourceVersion") == "0"):
            return False
        seconds = duration(query.get("timeout", "")) or STORE_TIMEOUT_SECONDS
        return self.server.faults.wait_for_store(seconds, verb in WRITES)

    def _resource(self, connection, request, user, target, verb, fault):
        res = self._find(target)
        if target.subresource == "exec":
            execution.run(self.server, connection, request, target)
            return
        form = self._check_accept(request, res)
        only_metadata = form == "metadata"
        if verb == "watch":
            if target.name:
                request.query["fieldSelector"] = f"metadata.name={target.name}"
            Watch(self.server, connection, request, res, target.namespace, only_metadata).run()
            return
        plain_get = verb in ("get", "list") and not res.virtual
        allowed = verb in res.verbs or verb == "create" and target.subresource == "token"
        if not allowed or (verb == "create" and target.name and not target.subresource) or (
                verb in ("update", "patch") and not target.name) or (
                res.namespaced and not target.namespace and not plain_get):
            raise errors.method_not_allowed()
        late = self._store_wait(request, verb)
        code, body, warnings = self._verbs(request, user, res, target, verb, form)
        if late:
            raise errors.timed_out()
        faults.after(fault, connection)
        headers = {"Warning": [f"299 - {json.dumps(w)}" for w in warnings]} if warnings else {}
        connection.json(code, request, body, headers)

    def _verbs(self, request, user, res, target, verb, form):
        """(code, body, warnings)."""
        objects, query = self.server.objects, request.query
        door = target.subresource if target.subresource in ("status", "finalize") else ""
        call = Call(request.manager, query, door, user)
        if verb == "list":
            found, meta = self.lister.list(res, target.namespace, query)
            if form == "table":
                return 200, tables.of_objects(found, meta, res), []
            return 200, as_list(found, meta, res, form == "metadata"), []
        if verb == "deletecollection":
            return 200, self._delete_collection(request, res, target, call), []
        created = verb == "create"
        if verb == "get":
            obj = objects.current(res, target.namespace, target.name)
        elif verb == "create":
            body = parse_body(request.body, res, request.media) if not target.subresource \
                else json.loads(request.body)
            if target.subresource == "token":
                account = objects.current(res, target.namespace, target.name)
                return 201, reviews.token_request(self.server, account, body, call), []
            if res.virtual:
                return 201, reviews.review(self.server, res, body, user, call), []
            obj = objects.create(res, target.namespace, body, call)
        elif verb == "update":
            body = parse_body(request.body, res, request.media)
            obj = objects.update(res, target.namespace, target.name, body, call)
        elif verb == "patch":
            media = request.header("Content-Type").split(";")[0].strip() or APPLY_PATCH
            obj, created = objects.patch(res, target.namespace, target.name, request.body, media,
                                         call)
        else:
            return 200, self._delete(request, res, target, call), []
        shown = typed.shown(obj, res)
        if form == "table":
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            shown = tables.of_objects([shown], version, res)
        elif form == "metadata":
            shown = partial(shown)
        return 201 if created else 200, shown, call.warnings

    # Deleting

    @staticmethod
    def _options(request, call):
        if not request.body:
            return {}
        try:
            options = json.loads(request.body)
        except ValueError as error:
            raise errors.bad_request(f"couldn't get version/kind; json parse error: {error}") \
                from None
        if options.get("dryRun") == ["All"]:
            call.dry_run = True
        return options

    def _delete(self, request, res, target, call):
        options = self._options(request, call)
        with self.server.store.lock:
            uid = None
            found = self.server.store.get(
                res.storage, target.namespace if res.namespaced else "", target.name)
            if found:
                uid = found["metadata"]["uid"]
            obj = self.server.objects.delete(res, target.namespace, target.name, options, call)
        if obj is not None:
            return typed.shown(obj, res)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": errors.details_of(res, target.name, uid=uid)}

    def _delete_collection(self, request, res, target, call):
        options = self._options(request, call)
        found, meta = self.lister.list(res, target.namespace, request.query)
        for obj in found:
            try:
                self.server.objects.delete(res, obj["metadata"].get("namespace"),
                                           obj["metadata"]["name"], options, call)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        return as_list(found, meta, res)
