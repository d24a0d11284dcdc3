"""What the server holds: objects with one counter of versions, and the history of their changes.

Objects are never changed in place: every write puts a new one in. So what was read may be kept and
shown by any thread, and an old state is had by undoing events.
"""

import bisect
import copy
import threading
import time


class Event:
    """One change. `old` is None for ADDED; `obj` of DELETED is the last state with the new version."""

    __slots__ = ("rv", "type", "storage", "key", "obj", "old", "time")

    def __init__(self, rv, type_, storage, key, obj, old):
        self.rv, self.type, self.storage, self.key = rv, type_, storage, key
        self.obj, self.old, self.time = obj, old, time.monotonic()


class Store:
    """Call with `lock` held where several calls belong together. `changed` is its condition."""

    def __init__(self, first_version=1):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.rv = first_version
        self.compacted = 0  # states older than this cannot be had any more
        self.cache_from = 0  # watches from before this are refused by the cache
        self._objects = {}  # storage -> {(namespace, name): object}
        self._history = []

    def get(self, storage, namespace, name):
        with self.lock:
            return self._objects.get(storage, {}).get((namespace or "", name))

    def items(self, storage):
        """All objects there now, in the order of their keys."""
        with self.lock:
            found = self._objects.get(storage, {})
            return [found[key] for key in sorted(found, key="/".join)]

    def storages(self):
        with self.lock:
            return list(self._objects)

    def at(self, storage, rv):
        """The objects as they were at `rv`, or None where that is compacted."""
        with self.lock:
            if rv < self.compacted:
                return None
            found = dict(self._objects.get(storage, {}))
            for event in reversed(self._history):
                if event.rv <= rv:
                    break
                if event.storage != storage:
                    continue
                if event.old is None:
                    found.pop(event.key, None)
                else:
                    found[event.key] = event.old
            return [found[key] for key in sorted(found)]

    def _note(self, type_, storage, key, obj, old):
        self._history.append(Event(self.rv, type_, storage, key, obj, old))
        self.changed.notify_all()

    def put(self, storage, obj):
        """Stores `obj` under its metadata with the next version and returns what is stored."""
        with self.lock:
            self.rv += 1
            stored = copy.deepcopy(obj)
            meta = stored["metadata"]
            meta["resourceVersion"] = str(self.rv)
            key = (meta.get("namespace", ""), meta["name"])
            old = self._objects.setdefault(storage, {}).get(key)
            self._objects[storage][key] = stored
            self._note("ADDED" if old is None else "MODIFIED", storage, key, stored, old)
            return stored

    def remove(self, storage, namespace, name, last=None):
        """Removes an object; `last` is its last state if not the stored one."""
        with self.lock:
            key = (namespace or "", name)
            old = self._objects[storage].pop(key)
            self.rv += 1
            gone = copy.deepcopy(last or old)
            gone["metadata"]["resourceVersion"] = str(self.rv)
            self._note("DELETED", storage, key, gone, old)
            return gone

    def events_since(self, rv, storage):
        """Events after `rv`, oldest first, or None where some of them are compacted."""
        with self.lock:
            if rv < self.compacted:
                return None
            first = bisect.bisect_right(self._history, rv, key=lambda e: e.rv)
            return [e for e in self._history[first:] if e.storage == storage]

    def compact(self, rv=None, cache=True):
        """Forgets what was before `rv` (now, if None); with `cache`, what watches start from too."""
        with self.lock:
            self.compacted = max(self.compacted, self.rv if rv is None else rv)
            if cache:
                self.cache_from = self.compacted
            first = bisect.bisect_right(self._history, self.compacted, key=lambda e: e.rv)
            del self._history[:first]
            self.changed.notify_all()

    def advance(self, rv):
        """Moves the counter forward, as writes elsewhere in a real cluster do."""
        with self.lock:
            self.rv = max(self.rv, rv)
