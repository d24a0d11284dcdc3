"""What is compared of recorded watches, and how they are replayed beside other requests."""

import json
import threading


def events_of(body):
    return [json.loads(line) for line in body.decode().splitlines()]


def trail(events, *of):
    """What is compared of a watch: type, name and some fields of each event."""
    found = []
    for event in events:
        obj, values = event["object"], []
        for path in of:
            value = obj
            for step in path.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            values.append(value)
        found.append((event["type"], obj["metadata"].get("name"), *values))
    return found


def by_object(found):
    """Trails object by object: what happens to two of them at once has no order."""
    parts = {}
    for entry in found:
        parts.setdefault(entry[1], []).append(entry)
    return parts


class Background(threading.Thread):
    """A recorded watch, replayed beside other requests."""

    def __init__(self, replayer, request, wait):
        super().__init__(daemon=True)
        self.replayer, self.request, self.wait, self.answer = replayer, request, wait, None
        self.start()

    def run(self):
        self.answer = self.replayer.send(self.request, wait=self.wait)

    def ended(self):
        self.join(60)
        return self.answer
