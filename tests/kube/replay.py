"""Replays recorded exchanges against a server, and compares what comes back with what came then.

uids, versions and continue tokens of the recording stand for those of this run: the first time one is
seen in a recorded answer it is tied to what this server sent in that place, and from then on it is
replaced in requests. Times, managedFields and the like are not compared.
"""

import glob
import json
import os
import re
import socket
import ssl
import time

import certs
import wire

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "kube")
# Keys whose values are this run's own. Their presence is compared.
OWN_VALUES = {"creationTimestamp", "deletionTimestamp", "lastTransitionTime", "firstTimestamp",
              "lastTimestamp", "time", "lastPhaseTransitionTime", "managedFields",
              "storageVersionHash", "expirationTimestamp", "token"}
TIED = {"uid", "resourceVersion", "continue"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Message:
    """A recorded or a received message: first line, headers, decoded body."""

    def __init__(self, raw):
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.first = lines[0]
        self.headers = [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "")
                        for line in lines[1:]]
        self.chunked = self.header("Transfer-Encoding") == "chunked"
        self.complete = True
        self.body = self._dechunk(body) if self.chunked else body

    def _dechunk(self, data):
        found = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            if not size:
                break
            if int(size, 16) == 0:
                return found
            found += data[:int(size, 16)]
            data = data[int(size, 16) + 2:]
        self.complete = False
        return found

    def header(self, name):
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    @property
    def code(self):
        return int(self.first.split(" ")[1])

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def recorded(number):
    """(request, answer, name) of an exchange."""
    path = glob.glob(os.path.join(GOLDEN, f"{number:03d}-*.request.txt"))[0]
    with open(path, "rb") as file:
        request = Message(file.read())
    with open(path[:-len("request.txt")] + "response.txt", "rb") as file:
        answer = Message(file.read())
    return request, answer, os.path.basename(path)[:-len(".request.txt")]


def all_numbers():
    return sorted(int(os.path.basename(p)[:3]) for p in glob.glob(
        os.path.join(GOLDEN, "*.request.txt")))


class Replayer:
    """Sends recorded requests, as the recording's users, to the server of a directory."""

    def __init__(self, port, folder):
        self.port, self.folder = port, folder
        self.tied = {}  # recorded value -> value of this run
        self.tokens = {}

    # Values of the recording and of this run

    def tie(self, recorded_body, body):
        """Remembers which value of this run stands where a recorded one stood."""
        if isinstance(recorded_body, dict) and isinstance(body, dict):
            for key, value in recorded_body.items():
                if key not in body:
                    continue
                if key in TIED and isinstance(value, str) and value:
                    self.tied[value] = body[key]
                else:
                    self.tie(value, body[key])
        elif isinstance(recorded_body, list) and isinstance(body, list):
            for one, other in zip(recorded_body, body):
                self.tie(one, other)

    def tied_text(self, text):
        """A text of the recording with the values of this run in it."""
        text = re.sub(r'("(?:uid|value)": ?")([0-9a-f-]{36})(")',
                      lambda m: m[1] + self.tied.get(m[2], m[2]) + m[3], text)
        text = re.sub(r'("resourceVersion": ?")(\d+)(")',
                      lambda m: m[1] + self.tied.get(m[2], m[2]) + m[3], text)
        text = re.sub(r"(resourceVersion=)(\d+)",
                      lambda m: m[1] + self.tied.get(m[2], m[2]), text)
        return re.sub(r"(continue=)(\w+)", lambda m: m[1] + self.tied.get(m[2], m[2]), text)

    # Sending

    def connect(self, admin):
        context = certs.client_context(self.folder, admin=admin)
        context.check_hostname = False
        raw = socket.create_connection(("127.0.0.1", self.port), 30)
        return context.wrap_socket(raw, server_hostname="127.0.0.1")

    def send(self, request, token=None, anonymous=False, body=None, wait=30.0):
        """The answer to a recorded request, sent as it was recorded but for tied values."""
        method, target, _ = request.first.split(" ")
        target = self.tied_text(target)
        if body is None:
            body = self.tied_text(request.body.decode()).encode()
        lines = [f"{method} {target} HTTP/1.1"]
        for name, value in request.headers:
            if name.lower() in ("content-length", "transfer-encoding"):
                continue
            if name.lower() == "authorization":
                value = f"Bearer {token or 'nonsense'}"
            lines.append(f"{name}: {value}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        admin = request.header("Authorization") is None and not anonymous
        with self.connect(admin) as sock:
            sock.sendall("\r\n".join(lines + ["", ""]).encode() + body)
            return Message(self._receive(sock, wait))

    @staticmethod
    def _receive(sock, wait):
        data, deadline = b"", time.monotonic() + wait
        while time.monotonic() < deadline:
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                more = sock.recv(65536)
            except (TimeoutError, ssl.SSLError, OSError):
                break
            data += more
            head, sep, body = data.partition(b"\r\n\r\n")
            size = re.search(rb"(?i)content-length: (\d+)", head)
            if not more or (sep and size and len(body) >= int(size[1])) or (
                    sep and b"chunked" in head and body.endswith(b"\r\n0\r\n\r\n")) or (
                    sep and b"chunked" in head and body == b"0\r\n\r\n"):
                break
        return data

    # Comparing

    def differences(self, want, have, path=""):
        """How an answer's body differs from the recorded one, as texts."""
        key = path.rsplit(".", 1)[-1]
        if key in OWN_VALUES:
            return [] if (want is None) == (have is None) else [f"{path}: {want!r} / {have!r}"]
        if isinstance(want, dict) and isinstance(have, dict):
            found = [f"{path}.{k} is missing" for k in want if k not in have]
            found += [f"{path}.{k} is too much" for k in have if k not in want]
            for name in want:
                if name in have:
                    found += self.differences(want[name], have[name], f"{path}.{name}")
            return found
        if isinstance(want, list) and isinstance(have, list):
            if len(want) != len(have):
                return [f"{path}: {len(want)} entries / {len(have)}"]
            return [d for i, (one, other) in enumerate(zip(want, have))
                    for d in self.differences(one, other, f"{path}[{i}]")]
        if key in TIED and want and have:
            return []
        if isinstance(want, str) and isinstance(have, str):
            tied = UUID.sub(lambda m: self.tied.get(m[0], m[0]), want)
            if want == have or self._plain(tied) == self._plain(have):
                return []
        elif want == have and type(want) is type(have):
            return []
        return [f"{path}: {want!r} / {have!r}"]

    def _plain(self, text):
        """A message without what is this run's own in it: versions, ports, ids."""
        text = re.sub(r"\((\d+)\)|(?<=precondition \()\d+|(?<=ResourceVersion: )\d+", "(N)", text)
        text = re.sub(r"(127\.0\.0\.1|localhost):\d+", "HOST", text)
        text = re.sub(r"^JTI=.*", "JTI", text)
        text = re.sub(r"current: \d+|version: \d+", "N", text)
        return text

    def compare(self, want, have, same_body=True):
        """All differences of two answers."""
        found = []
        if want.code != have.code:
            return [f"code {want.code} / {have.code}: {have.body[:300]!r}"]
        for name in ("Content-Type", "Retry-After", "Warning", "X-Content-Type-Options",
                     "Cache-Control"):
            if want.header(name) != have.header(name):
                found.append(f"header {name}: {want.header(name)!r} / {have.header(name)!r}")
        for name in ("Audit-Id", "X-Kubernetes-Pf-Flowschema-Uid"):
            if (want.header(name) is None) != (have.header(name) is None):
                found.append(f"header {name}: {want.header(name)!r} / {have.header(name)!r}")
        if not same_body:
            return found
        if want.json is None:
            return found + ([] if want.body == have.body
                            else [f"body {want.body!r} / {have.body!r}"])
        if have.json is None:
            return found + [f"body {have.body[:200]!r} is not JSON"]
        self.tie(want.json, have.json)
        if want.chunked != have.chunked and not self._near_limit(want, have):
            found.append(f"chunked {want.chunked} / {have.chunked}")
        return found + self.differences(want.json, have.json)

    @staticmethod
    def _near_limit(*answers):
        """managedFields are longer or shorter here: the border may lie between the two."""
        sizes = [len(answer.body) for answer in answers]
        return min(sizes) <= wire.PLAIN_MAX < max(sizes)
