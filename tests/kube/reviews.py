"""Questions about rights and identities: answered, never stored. And tokens of service accounts."""

import time

import builtin
from auth import ISSUER, Request as Right, User
from errors import ApiError, Fault, invalid

ACCESS = "authorization.k8s.io"


def _managed(call, spec, group):
    """managedFields of a review, as the real server fills them in."""
    def tree(value):
        return {f"f:{k}": ({".": {}, **tree(v)} if isinstance(v, dict) else {})
                for k, v in value.items()}
    return [{"manager": call.manager, "operation": "Update", "apiVersion": f"{group}/v1",
             "time": builtin.now(), "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": tree(spec)}}]


def _right(spec):
    attributes = spec.get("resourceAttributes")
    if attributes is None:
        path = spec.get("nonResourceAttributes") or {}
        return Right(path.get("verb", ""), path=path.get("path", ""))
    return Right(attributes.get("verb", ""), attributes.get("group", ""),
                 attributes.get("resource", ""), attributes.get("subresource", ""),
                 attributes.get("namespace", ""), attributes.get("name", ""))


def _access(authorizer, user, spec):
    allowed, reason = authorizer.allows(user, _right(spec))
    status = {"allowed": allowed}
    if reason:
        status["reason" if allowed else "evaluationError"] = reason
    return status


def _rules(authorizer, user, namespace):
    resources, paths = [], []
    for rule, _, _ in authorizer.grants(user, namespace)[0]:
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            resources.append({k: rule[k] for k in ("verbs", "apiGroups", "resources",
                                                   "resourceNames") if rule.get(k)})
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def _token(tokens, store, spec):
    try:
        user = tokens.user(spec.get("token", ""), store)
    except ApiError:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": user.info(), "audiences": [ISSUER]}


def review(server, res, obj, user, call):
    """The answered review."""
    spec = obj.get("spec") or {}
    head = {"kind": res.kind, "apiVersion": res.api_version}
    if res.kind == "SelfSubjectReview":
        return {**head, "metadata": {"creationTimestamp": builtin.now()},
                "status": {"userInfo": user.info()}}
    meta = {"creationTimestamp": None}
    if res.kind == "SelfSubjectRulesReview":
        return {**head, "metadata": meta, "spec": {},
                "status": _rules(server.authorizer, user, spec.get("namespace", ""))}
    meta["managedFields"] = _managed(call, spec, res.group)
    if res.kind == "TokenReview":
        status = _token(server.tokens, server.store, spec)
    else:
        who = user if res.kind == "SelfSubjectAccessReview" else User(
            spec.get("user", ""), spec.get("groups") or [])
        status = _access(server.authorizer, who, spec)
    return {**head, "metadata": meta, "spec": spec, "status": status}


def token_request(server, account, obj, call):
    """The answered TokenRequest of a ServiceAccount."""
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds", 3600)
    if seconds < 600:
        raise invalid("TokenRequest", "authentication.k8s.io", "", [Fault(
            "spec.expirationSeconds", "invalid",
            f"{seconds}: may not specify a duration less than 10 minutes")])
    audiences = spec.get("audiences") or [ISSUER]
    meta = account["metadata"]
    token, expires = server.tokens.issue(meta["namespace"], account, seconds, audiences)
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"],
                         "creationTimestamp": builtin.now(),
                         "managedFields": [{
                             "manager": call.manager, "operation": "Update",
                             "apiVersion": "authentication.k8s.io/v1", "time": builtin.now(),
                             "fieldsType": "FieldsV1",
                             "fieldsV1": {"f:spec": {"f:expirationSeconds": {}}},
                             "subresource": "token"}]},
            "spec": {"audiences": audiences, "expirationSeconds": seconds,
                     "boundObjectRef": spec.get("boundObjectRef")},
            "status": {"token": token, "expirationTimestamp": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))}}
