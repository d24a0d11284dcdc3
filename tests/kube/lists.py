"""Lists: which state they show, how they are cut into pages, and in which form they come."""

import base64
import json
import time

import builtin
import typed
from errors import ApiError, Fault, bad_request, expired, invalid, unparsable_version, \
    version_too_large
from selection import Selector

NEWER_WAIT_SECONDS = 3.0
TOO_OLD = "The resourceVersion for the provided list is too old."
CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the first "
    "chunk was returned and now may show up in the list.")
WORDS = {"n": "null", "t": "true", "f": "false"}


def version_of(text):
    """A resourceVersion as a number; 0 where it is absent. Raises 500, as the real server does."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise unparsable_version(text)
    return int(text)


def list_fault(field, what, text):
    return invalid("ListOptions", "meta.k8s.io", "", [Fault(field, what, text)])


def make_token(rv, start):
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": rv, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _go_json_error(text):
    """What Go's JSON parser says of a text that is none."""
    word = WORDS.get(text[:1])
    if word:
        for mine, wanted in zip(text[1:], word[1:]):
            if mine != wanted:
                return f"invalid character '{mine}' in literal {word} (expecting '{wanted}')"
    if not text:
        return "unexpected end of JSON input"
    return f"invalid character '{text[0]}' looking for beginning of value"


def read_token(token):
    """(version or -1, the key after which the next page begins)."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (ValueError, UnicodeDecodeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    try:
        found = json.loads(text)
        return int(found["rv"]), found["start"].lstrip("/").rstrip("\0")
    except (ValueError, TypeError, KeyError):
        raise bad_request("invalid continue token: continue key is not valid: "
                          + _go_json_error(text)) from None


def _key(obj, namespace):
    meta = obj["metadata"]
    place = meta.get("namespace", "")
    return meta["name"] if namespace or not place else f"{place}/{meta['name']}"


class Lister:
    def __init__(self, store):
        self.store = store

    def _options(self, query):
        match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
        if query.get("sendInitialEvents"):
            raise list_fault("sendInitialEvents", "forbidden",
                             "sendInitialEvents is forbidden for list")
        if match and not version:
            raise list_fault("resourceVersionMatch", "forbidden", "resourceVersionMatch is "
                             "forbidden unless resourceVersion is provided")
        if match and match not in ("Exact", "NotOlderThan"):
            raise list_fault("resourceVersionMatch", "unsupported",
                             f'"{match}": supported values: "Exact", "NotOlderThan", ""')
        if match == "Exact" and version == "0":
            raise list_fault("resourceVersionMatch", "forbidden", "resourceVersionMatch \"Exact\" "
                             "is forbidden for resourceVersion \"0\"")
        if query.get("continue") and version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return match, version_of(version)

    def wait_for(self, rv):
        """Waits a moment until the store is as new as `rv`. Raises 504."""
        deadline = time.monotonic() + NEWER_WAIT_SECONDS
        with self.store.changed:
            while self.store.rv < rv:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise version_too_large(rv, self.store.rv)
                self.store.changed.wait(left)

    def _state(self, res, query, limit, namespace):
        """(objects, version, key to start after) that the list shows."""
        match, rv = self._options(query)
        token = query.get("continue")
        if token:
            rv, start = read_token(token)
            if rv == -1:
                with self.store.lock:
                    return self.store.items(res.storage), self.store.rv, start
            found = self.store.at(res.storage, rv)
            if found is None:
                raise expired(CONTINUE_TOO_OLD, make_token(-1, start + "\0"))
            return found, rv, start
        if rv and (match == "Exact" or (not match and limit)):
            self.wait_for(rv)
            found = self.store.at(res.storage, rv)
            if found is None:
                raise expired(TOO_OLD)
            return found, rv, None
        self.wait_for(rv)
        with self.store.lock:
            return self.store.items(res.storage), self.store.rv, None

    def list(self, res, namespace, query):
        """(objects, metadata of the list)."""
        try:
            limit = int(query.get("limit") or 0)
        except ValueError:
            raise ApiError(400, f'strconv.ParseInt: parsing "{query["limit"]}": invalid syntax',
                           "BadRequest") from None
        if query.get("resourceVersion") == "0" and not query.get("continue"):
            limit = 0  # served from the cache, which knows no pages
        selector = Selector(res, namespace, query)
        objects, rv, start = self._state(res, query, limit, namespace)
        viewed = [o for o in (builtin.viewed(o, res) for o in objects) if selector.matches(o)]
        if start is not None:
            viewed = [o for o in viewed if _key(o, namespace) > start]
        meta = {"resourceVersion": str(rv)}
        rest = viewed[limit:] if limit else []
        if rest:
            viewed = viewed[:limit]
            slash = "" if query.get("continue") else "/"
            meta["continue"] = make_token(rv, slash + _key(viewed[-1], namespace) + "\0")
            if not selector.narrows:
                meta["remainingItemCount"] = len(rest)
        elif res.custom:
            meta["continue"] = ""
        return viewed, meta


def partial(obj):
    """PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"]}


def as_list(objects, meta, res, only_metadata=False):
    if only_metadata:
        meta = {k: v for k, v in meta.items() if v != ""}
        return {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta,
                "items": [partial(typed.shown(obj, res)) for obj in objects]}
    items = [typed.shown(obj, res) for obj in objects]
    if res.custom:
        return {"apiVersion": res.api_version, "items": items, "kind": res.list_kind,
                "metadata": meta}
    items = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    return {"kind": res.list_kind, "apiVersion": res.api_version, "metadata": meta, "items": items}
