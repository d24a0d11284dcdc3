"""Who asks, and what they may: bearer tokens, client certificates, and RBAC read from the store."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import uuid

from errors import ApiError, forbidden, unauthorized

RBAC = "rbac.authorization.k8s.io"
ISSUER = "https://kubernetes.default.svc"
SERVICE_ACCOUNT = "system:serviceaccount:"
READ_PATHS = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
DISCOVERY_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi",
                   "/openapi/*", "/readyz", "/version", "/version/"]


class User:
    def __init__(self, name, groups=(), uid="", extra=None):
        self.name, self.groups, self.uid = name, list(groups), uid
        self.extra = extra or {}

    def info(self):
        found = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        found["groups"] = self.groups
        if self.extra:
            found["extra"] = self.extra
        return found


ANONYMOUS = User("system:anonymous", ["system:unauthenticated"])


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    """Tokens that are listed in a file (read again when it changes) and tokens issued here.

    The file is JSON: [{"token": ..., "user": ..., "groups": [...], "expires": seconds since 1970}],
    the last two optional. `leeway` is how long a token lives on after its expiry.
    """

    def __init__(self, path=None, leeway=0.0):
        self.path, self.leeway = path, leeway
        self._lock = threading.Lock()
        self._stamp, self._listed = None, []
        self._secret = os.urandom(32)
        self._revoked = set()
        self._added = []
        self._not_before = 0.0

    def add(self, entry):
        with self._lock:
            self._added.append(entry)

    def expire(self, which=None):
        """Ends one token, or (None) all that were ever given out until now."""
        with self._lock:
            if which is not None:
                self._revoked.add(which)
                return
            self._revoked |= {e["token"] for e in self._added + self._read()}
            self._not_before = time.time()

    def restore(self):
        """Tokens that were ended by hand are good again."""
        with self._lock:
            self._revoked.clear()
            self._not_before = 0.0

    def _read(self):
        if not self.path:
            return []
        try:
            stat = os.stat(self.path)
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                with open(self.path, encoding="utf-8") as file:
                    self._listed = json.load(file)
                self._stamp = stamp
        except (OSError, ValueError):
            pass  # half written: what was read before goes on
        return self._listed

    def issue(self, namespace, account, seconds, audiences):
        """A token of a ServiceAccount object, as TokenRequest gives it, and when it expires."""
        begin = int(time.time())
        claims = {"aud": audiences or [ISSUER], "exp": begin + seconds, "iat": begin, "iss": ISSUER,
                  "jti": str(uuid.uuid4()), "nbf": begin,
                  "kubernetes.io": {"namespace": namespace, "serviceaccount": {
                      "name": account["metadata"]["name"], "uid": account["metadata"]["uid"]}},
                  "sub": f"{SERVICE_ACCOUNT}{namespace}:{account['metadata']['name']}",
                  "at": time.time()}
        head = _b64(json.dumps({"alg": "HS256", "kid": "test"}).encode())
        body = head + "." + _b64(json.dumps(claims).encode())
        return body + "." + self._sign(body), claims["exp"]

    def _sign(self, body):
        return _b64(hmac.new(self._secret, body.encode(), hashlib.sha256).digest())

    def user(self, token, store):
        """Whose token it is; 401 if nobody's, or no longer."""
        with self._lock:
            entries, revoked = self._added + self._read(), token in self._revoked
            not_before = self._not_before
        if revoked:
            raise unauthorized()
        for entry in entries:
            if hmac.compare_digest(str(entry["token"]).encode(), token.encode()):
                expires = entry.get("expires")
                if expires is not None and time.time() > expires + self.leeway:
                    raise unauthorized()
                return self._complete(entry["user"], entry.get("groups"), store, "")
        body, _, signature = token.rpartition(".")
        if not body or not hmac.compare_digest(self._sign(body), signature):
            raise unauthorized()
        claims = json.loads(_unb64(body.split(".")[1]))
        if time.time() > claims["exp"] + self.leeway or claims["at"] < not_before:
            raise unauthorized()
        user = self._complete(claims["sub"], None, store, claims["jti"])
        if user.uid != claims["kubernetes.io"]["serviceaccount"]["uid"]:
            raise unauthorized()  # the account is gone, or another one has its name
        return user

    def named(self, name, groups, store):
        """The user of a name, with the groups that come with it."""
        return self._complete(name, groups, store, "")

    def _complete(self, name, groups, store, jti):
        if not name.startswith(SERVICE_ACCOUNT):
            return User(name, list(groups or []) + ["system:authenticated"])
        namespace, account = name[len(SERVICE_ACCOUNT):].split(":", 1)
        found = store.get(("", "serviceaccounts"), namespace, account)
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={jti}"]} if jti else {}
        return User(name, list(groups or []) + [
            "system:serviceaccounts", f"system:serviceaccounts:{namespace}",
            "system:authenticated"], found["metadata"]["uid"] if found else "", extra)


def _role(name, rules):
    return {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": rules}


def _binding(name, *groups):
    return {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": g} for g in groups]}


def bootstrap():
    """The roles that every cluster has, as far as an ordinary client meets them."""
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                  {"verbs": ["*"], "nonResourceURLs": ["*"]}]
    basic = [{"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
              "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
             {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
              "resources": ["selfsubjectreviews"]}]
    keys = ["/.well-known/openid-configuration", "/.well-known/openid-configuration/",
            "/openid/v1/jwks", "/openid/v1/jwks/"]
    read, everyone = ["get"], "system:authenticated"
    return [
        _role("cluster-admin", everything), _binding("cluster-admin", "system:masters"),
        _role("system:basic-user", basic), _binding("system:basic-user", everyone),
        _role("system:discovery", [{"verbs": read, "nonResourceURLs": DISCOVERY_PATHS}]),
        _binding("system:discovery", everyone),
        _role("system:service-account-issuer-discovery",
              [{"verbs": read, "nonResourceURLs": keys}]),
        _binding("system:service-account-issuer-discovery", "system:serviceaccounts"),
        _role("system:public-info-viewer", [{"verbs": read, "nonResourceURLs": READ_PATHS}]),
        _binding("system:public-info-viewer", everyone, "system:unauthenticated")]


class Request:
    """What RBAC looks at: a verb on a resource, or on a path that is none."""

    def __init__(self, verb, group="", resource="", subresource="", namespace="", name="", path=None):
        self.verb, self.group, self.resource = verb, group, resource
        self.subresource, self.namespace, self.name, self.path = subresource, namespace, name, path

    @property
    def full(self):
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def _path_fits(pattern, path):
    return pattern == "*" or pattern == path or (
        pattern.endswith("*") and path.startswith(pattern[:-1]))


def rule_allows(rule, request):
    def among(values, *wanted):
        return any(v == "*" or v in wanted for v in values or [])
    if not among(rule.get("verbs"), request.verb):
        return False
    if request.path is not None:
        return any(_path_fits(p, request.path) for p in rule.get("nonResourceURLs") or [])
    names = rule.get("resourceNames") or []
    return (among(rule.get("apiGroups"), request.group)
            and among(rule.get("resources"), request.full,
                      *([f"*/{request.subresource}"] if request.subresource else []))
            and (not names or request.name in names))


class Authorizer:
    """RBAC. `roles_known` False plays a server that has just started and knows no role yet."""

    def __init__(self, store):
        self.store = store
        self.roles_known = True

    def _is_subject(self, subject, user, namespace):
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User":
            return name == user.name
        if kind == "Group":
            return name in user.groups
        place = subject.get("namespace") or namespace
        return kind == "ServiceAccount" and user.name == f"{SERVICE_ACCOUNT}{place}:{name}"

    def _bindings(self, namespace):
        yield from self.store.items((RBAC, "clusterrolebindings"))
        if namespace:
            for found in self.store.items((RBAC, "rolebindings")):
                if found["metadata"]["namespace"] == namespace:
                    yield found

    def grants(self, user, namespace):
        """(rule, binding, subject) for all that the user has there, and the roles not found."""
        grants, missing = [], []
        for binding in self._bindings(namespace):
            place = binding["metadata"].get("namespace", "")
            subject = next((s for s in binding.get("subjects") or []
                            if self._is_subject(s, user, place)), None)
            if subject is None:
                continue
            ref = binding["roleRef"]
            local = ref["kind"] == "Role"
            role = self.store.get((RBAC, "roles" if local else "clusterroles"),
                                  place if local else "", ref["name"])
            if role is None or not self.roles_known:
                missing.append(f'{"role" if local else "clusterrole"}.{RBAC} "{ref["name"]}" '
                               "not found")
                continue
            grants += [(rule, binding, subject) for rule in role.get("rules") or []]
        return grants, missing

    def allows(self, user, request):
        """(allowed, reason): the reason as the server words it, or what stood in the way."""
        if "system:masters" in user.groups:
            return True, ""
        grants, missing = self.grants(user, request.namespace)
        for rule, binding, subject in grants:
            if rule_allows(rule, request):
                return True, self._reason(binding, subject)
        if not missing:
            return False, ""
        return False, "RBAC: " + (missing[0] if len(missing) == 1
                                  else "[" + ", ".join(missing) + "]")

    @staticmethod
    def _reason(binding, subject):
        meta, ref = binding["metadata"], binding["roleRef"]
        who = f'{subject["name"]}/{subject.get("namespace", meta.get("namespace", ""))}' \
            if subject["kind"] == "ServiceAccount" else subject["name"]
        name = f'{meta["name"]}/{meta["namespace"]}' if "namespace" in meta else meta["name"]
        return (f'RBAC: allowed by {binding["kind"]} "{name}" of {ref["kind"]} "{ref["name"]}" '
                f'to {subject["kind"]} "{who}"')

    def check(self, user, request):
        """Raises 403 if the user may not."""
        allowed, reason = self.allows(user, request)
        if not allowed:
            raise refused(user, request, reason)


class _Named:
    """As much of a resource as an error message needs, when it may not exist at all."""

    def __init__(self, group, plural):
        self.group, self.plural = group, plural
        self.qualified = f"{plural}.{group}" if group else plural


def refused(user, request, reason=""):
    headers = {"X-Content-Type-Options": "nosniff"}
    more = f": {reason}" if reason else ""
    if request.path is not None:
        return ApiError(403, f'forbidden: User "{user.name}" cannot {request.verb} path '
                        f'"{request.path}"{more}', "Forbidden", details={}, headers=headers)
    where = f'in the namespace "{request.namespace}"' if request.namespace \
        else "at the cluster scope"
    text = (f'User "{user.name}" cannot {request.verb} resource "{request.full}" in API group '
            f'"{request.group}" {where}{more}')
    res = _Named(request.group, request.resource)
    if request.name:
        error = forbidden(res, request.name, text)
    else:
        error = ApiError(403, f"{res.qualified} is forbidden: {text}", "Forbidden",
                         {**({"group": res.group} if res.group else {}), "kind": res.plural})
    error.headers.update(headers)
    return error
