"""Watches: a stream of events from a version on, with bookmarks, until the time is over."""

import base64
import json
import random
import time

import builtin
import typed
from errors import expired
from lists import list_fault, partial, version_of
from selection import Selector
from wire import Gone, go_json

POLL_SECONDS = 0.2  # how soon a peer that left, or a change of settings, is noticed
BEFORE_END_SECONDS = 2.0  # when the last bookmark comes
TIMEOUT_SECONDS = (1800, 3600)  # of a watch that names none
WATCH_LIST_OFF = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
COMPACTED = "The resourceVersion for the provided watch is too old."
END = "k8s.io/initial-events-end"
BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"


class Watch:
    """One watch of one connection. `settings` are those of faults.WatchSettings."""

    def __init__(self, server, connection, request, res, namespace, only_metadata):
        self.store, self.faults = server.store, server.faults
        self.connection, self.request, self.res = connection, request, res
        self.only_metadata = only_metadata
        query = request.query
        self.selector = Selector(res, namespace, query)
        self.rv = version_of(query.get("resourceVersion"))
        self.bookmarks = query.get("allowWatchBookmarks") == "true"
        self.streams_list = query.get("sendInitialEvents")
        self._check_streaming(server.options.watch_list, query)
        seconds = float(query.get("timeoutSeconds") or random.uniform(*TIMEOUT_SECONDS))
        self.deadline = time.monotonic() + seconds
        self.last_bookmark, self.bookmarked = False, None
        self.begun = self.faults.watch_generation

    def _check_streaming(self, allowed, query):
        match = query.get("resourceVersionMatch", "")
        if self.streams_list and not allowed:
            raise list_fault("sendInitialEvents", "forbidden", WATCH_LIST_OFF)
        if self.streams_list and match != "NotOlderThan":
            raise list_fault("resourceVersionMatch", "forbidden", "sendInitialEvents requires "
                             "setting resourceVersionMatch to NotOlderThan")
        if match and not self.streams_list:
            raise list_fault("resourceVersionMatch", "forbidden",
                             "resourceVersionMatch is forbidden for watch unless sendInitialEvents "
                             "is provided")

    # What is sent

    def _send(self, type_, obj):
        if obj.get("kind") != "Status" and type_ not in ("BOOKMARK",):
            obj = typed.shown(obj, self.res)
            obj = partial(obj) if self.only_metadata else obj
        event = {"type": type_, "object": obj}
        self.connection.chunk(go_json(event) + b"\n")

    def _bookmark(self, rv, annotations=None):
        meta = {"resourceVersion": str(rv)}
        if not self.res.custom:
            meta["creationTimestamp"] = None
        if annotations:
            meta["annotations"] = annotations
        obj = {"kind": self.res.kind, "apiVersion": self.res.api_version, "metadata": meta}
        if self.res.kind == "PersistentVolumeClaim":
            obj.update({"spec": {"resources": {}}, "status": {}})
        elif self.res.kind == "PersistentVolume":
            obj.update({"spec": {}, "status": {}})
        if self.only_metadata:
            obj = partial(obj)
        self._send("BOOKMARK", obj)
        self.bookmarked = rv

    def _end_of_initial(self, rv):
        empty = {"kind": self.res.list_kind, "apiVersion": self.res.api_version, "metadata": {},
                 "items": None}
        if self.res.custom:
            empty = {"apiVersion": self.res.api_version, "items": [], "kind": self.res.list_kind}
        text = json.dumps(empty, separators=(",", ":")) + "\n"
        self._bookmark(rv, {END: "true", BLUEPRINT: base64.b64encode(text.encode()).decode()})

    def _initial(self):
        """The state first, as ADDED, where the watch does not begin at a version."""
        with self.store.lock:
            objects, rv = self.store.items(self.res.storage), self.store.rv
        for obj in objects:
            obj = builtin.viewed(obj, self.res)
            if self.selector.matches(obj):
                self._send("ADDED", obj)
        explicit = self.request.query.get("resourceVersion") == "0" and not self.streams_list
        if self.bookmarks and not explicit:
            self._end_of_initial(rv)
        self.rv = rv

    def _translated(self, event):
        """What an event is to one who sees only what the selector matches."""
        new = builtin.viewed(event.obj, self.res)
        old = event.old and builtin.viewed(event.old, self.res)
        before = old is not None and self.selector.matches(old)
        after = event.type != "DELETED" and self.selector.matches(new)
        if after:
            return ("MODIFIED" if before else "ADDED"), new
        if not before:
            return None
        if event.type == "DELETED":
            return "DELETED", new
        meta = {**old["metadata"], "resourceVersion": str(event.rv)}
        return "DELETED", {**old, "metadata": meta}

    # The stream

    def _too_old(self):
        """The error for a start that lies too far back, or None."""
        if self.rv == 0 or self.rv >= self.store.cache_from and self.rv >= self.store.compacted:
            return None
        if not self.res.cached:
            return expired(COMPACTED)
        return expired(f"too old resource version: {self.rv} ({self.store.cache_from})")

    def run(self):
        """Sends the stream. Ends when the time is over, or by Gone."""
        wants_state = self.rv == 0
        error = self._too_old()
        if error and self.faults.watch.gone_as_http:
            raise error
        self.faults.begin_watch(self.connection)
        head = self.connection.head(200, self.request, {"Content-Type": "application/json"})
        self.connection.write(f"{head}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        if error:
            self._send("ERROR", error.status())
        else:
            if wants_state and not (self.streams_list == "false"):
                self._initial()
            elif wants_state:
                self.rv = self.store.rv
            self._follow()
        self.connection.write(b"0\r\n\r\n")

    def _follow(self):
        next_bookmark = time.monotonic() + self.faults.watch.bookmark_seconds
        while time.monotonic() < self.deadline:
            if self.faults.watch_generation != self.begun:
                if not self.faults.cut_clean:
                    self.connection.abort()
                return
            events = self._wait()
            if events is None:
                self._send("ERROR", expired(COMPACTED).status())
                return
            for event in events:
                sent = self._translated(event)
                for _ in range(2 if sent and self.faults.watch.duplicate else 1):
                    if sent:
                        self._send(*sent)
                self.rv = event.rv
            clock = time.monotonic()
            closing = not self.last_bookmark and self.rv != self.bookmarked and \
                clock > self.deadline - BEFORE_END_SECONDS
            if self.bookmarks and not events and self.rv <= self.store.rv and (
                    clock >= next_bookmark or closing):
                self._bookmark(self.rv)
                self.last_bookmark = self.last_bookmark or closing
                next_bookmark = clock + self.faults.watch.bookmark_seconds

    def _wait(self):
        """The next events, [] after a while without any, None if they are compacted."""
        delay = self.faults.watch.delay_seconds
        with self.store.changed:
            if self.rv > self.store.rv:
                found = []  # a version from the future: silence until it comes
            else:
                found = self.store.events_since(self.rv, self.res.storage)
            if found is None:
                return None
            ready = [e for e in found if time.monotonic() - e.time >= delay]
            if ready:
                return ready
            if not found and self.rv < self.store.rv:
                self.rv = self.store.rv  # changes of other resources only: progress all the same
            self.store.changed.wait(min(POLL_SECONDS,
                                        max(self.deadline - time.monotonic(), 0.001)))
        if self.connection.closed_by_peer():
            raise Gone
        return []

