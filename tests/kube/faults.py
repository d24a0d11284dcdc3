"""Misbehaviour on demand, and the record of who asked for what. README.md describes /_test."""

import itertools
import threading
import time

from errors import ApiError, timed_out, too_many_requests, unauthorized
from wire import Gone

MESSAGES = {500: ("Internal error occurred: etcdserver: leader changed", "InternalError"),
            503: ("the server is currently unable to handle the request", "ServiceUnavailable"),
            403: ("", "Forbidden")}


class Rule:
    """One fault: for requests that match, `count` times (None: until it is taken back)."""

    FIELDS = {"match", "count", "skip", "status", "done", "retryAfter", "message", "drop", "delay",
              "cutAfterBytes"}

    def __init__(self, number, spec):
        unknown = set(spec) - self.FIELDS
        if unknown:
            raise ApiError(400, f"unknown fields of a fault: {sorted(unknown)}", "BadRequest")
        self.number, self.spec, self.hits = number, spec, 0
        self.left, self.skip = spec.get("count"), spec.get("skip", 0)

    def matches(self, seen):
        return all(seen.get(name, "") in (want if isinstance(want, list) else [want])
                   for name, want in (self.spec.get("match") or {}).items())

    def shown(self):
        return {"id": self.number, **self.spec, "hits": self.hits, "left": self.left}


class WatchSettings:
    """How watches misbehave. `match` restricts cuts to those of certain requests."""

    def __init__(self, bookmark_seconds):
        self.bookmark_seconds = bookmark_seconds
        self.cut_after_bytes, self.cut_count = None, None
        self.delay_seconds, self.duplicate, self.gone_as_http = 0.0, False, False

    NAMES = {"bookmarkSeconds": "bookmark_seconds", "cutAfterBytes": "cut_after_bytes",
             "cutCount": "cut_count", "delaySeconds": "delay_seconds", "duplicate": "duplicate",
             "goneAsHttp": "gone_as_http"}

    def set(self, spec):
        for name, value in spec.items():
            if name not in self.NAMES:
                raise ApiError(400, f"unknown setting of watches: {name}", "BadRequest")
            setattr(self, self.NAMES[name], value)

    def shown(self):
        return {name: getattr(self, field) for name, field in self.NAMES.items()}


class Faults:
    """All of it in one place. Any thread may call."""

    def __init__(self, bookmark_seconds):
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._rules = []
        self._seen, self._since = {}, time.time()
        self._bookmark_seconds = bookmark_seconds
        self.watch = WatchSettings(bookmark_seconds)
        self.watch_generation, self.cut_clean = 0, True
        self.silent_until = 0.0
        self.store_answers, self.store_does_writes = True, False
        self.ready, self.custom_ready, self.shutting_down = True, True, False

    # Rules

    def add(self, specs):
        made = [Rule(next(self._numbers), spec) for spec in specs]
        with self._lock:
            self._rules += made
        return [rule.number for rule in made]

    def clear(self, number=None):
        with self._lock:
            self._rules = [r for r in self._rules if number is not None and r.number != number]

    def rules(self):
        with self._lock:
            return [rule.shown() for rule in self._rules]

    def find(self, seen):
        """The fault that this request meets, used up by one; or None."""
        with self._lock:
            for rule in self._rules:
                if rule.left == 0 or not rule.matches(seen):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                return rule.spec
        return None

    # Watches

    def begin_watch(self, connection):
        with self._lock:
            settings = self.watch
            if settings.cut_after_bytes is None or settings.cut_count == 0:
                return
            if settings.cut_count is not None:
                settings.cut_count -= 1
            connection.cut_after = settings.cut_after_bytes

    def reset_watch(self):
        self.watch = WatchSettings(self._bookmark_seconds)

    def cut_watches(self, clean):
        self.cut_clean = clean
        self.watch_generation += 1

    # The record

    def note(self, seen):
        key = tuple(sorted(seen.items()))
        with self._lock:
            self._seen[key] = self._seen.get(key, 0) + 1

    def requests(self):
        with self._lock:
            return {"seconds": round(time.time() - self._since, 3),
                    "requests": [{**dict(key), "count": count}
                                 for key, count in self._seen.items()]}

    def forget_requests(self):
        with self._lock:
            self._seen, self._since = {}, time.time()

    # The store

    def wait_for_store(self, seconds, write):
        """Waits while the store does not answer. Returns whether a write is to be done."""
        deadline = time.monotonic() + seconds
        while not self.store_answers:
            if time.monotonic() >= deadline:
                if write and self.store_does_writes:
                    return True
                raise timed_out()
            time.sleep(0.02)
        return False


def before(spec, connection):
    """What a fault does before the request is worked on. Returns what is left to do after it."""
    if spec.get("delay"):
        time.sleep(spec["delay"])
    if spec.get("cutAfterBytes") is not None:
        connection.cut_after = spec["cutAfterBytes"]
    if spec.get("drop") == "before":
        connection.abort()
        raise Gone
    if spec.get("status") and not spec.get("done"):
        raise answer(spec)
    return spec.get("drop") == "after" or bool(spec.get("done"))


def after(spec, connection):
    """What a fault does once the request was carried out."""
    if spec.get("drop") == "after":
        connection.abort()
        raise Gone
    if spec.get("done") and spec.get("status"):
        raise answer(spec)


def answer(spec):
    code = spec["status"]
    if code == 429:
        return too_many_requests(spec.get("retryAfter", 1))
    if code == 504:
        return timed_out()
    if code == 401:
        return unauthorized()
    message, reason = MESSAGES.get(code, ("", None))
    headers, details = {}, None
    if spec.get("retryAfter") is not None:
        headers["Retry-After"] = str(spec["retryAfter"])
        details = {"retryAfterSeconds": spec["retryAfter"]}
    return ApiError(code, spec.get("message", message), reason, details, headers)
