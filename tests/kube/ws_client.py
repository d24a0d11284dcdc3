"""The client's side of exec, for tests: handshake, masked frames, channels."""

import base64
import json
import os
import urllib.parse

import websocket
from wire import Connection


class Exec:
    """One exec stream, read to its end by `rest`."""

    def __init__(self, client, namespace, pod, command, protocol="v5.channel.k8s.io", **query):
        pairs = [("command", part) for part in command]
        pairs += [(k, v if isinstance(v, str) else "true") for k, v in query.items()]
        path = (f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?"
                + urllib.parse.urlencode(pairs))
        http = client.connect()
        http.connect()
        self.sock = http.sock
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: Upgrade",
                 "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
                 f"Sec-WebSocket-Protocol: {protocol}"]
        if client.token:
            lines.append(f"Authorization: Bearer {client.token}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self.connection = Connection(self.sock, None)
        self.status_line = self.connection._line()
        self.headers = {}
        while line := self.connection._line():
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        if self.code != 101:
            self.body = self.connection._exactly(int(self.headers["content-length"]))
            return
        assert self.headers["sec-websocket-accept"] == websocket.accept_key(key)
        self.messages, self.closed, self.pongs = [], None, []

    @property
    def code(self):
        return int(self.status_line.split(" ")[1])

    def frame(self, opcode, data, final=True):
        mask = os.urandom(4)
        size = len(data)
        head = bytes([(0x80 if final else 0) | opcode])
        head += bytes([0x80 | size]) if size < 126 else \
            bytes([0x80 | 126]) + size.to_bytes(2, "big") if size < 65536 else \
            bytes([0x80 | 127]) + size.to_bytes(8, "big")
        self.sock.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def send(self, channel, data):
        self.frame(websocket.BINARY, bytes([channel]) + data)

    def close_stdin(self):
        self.frame(websocket.BINARY, b"\xff\x00")

    def next(self):
        """The next (opcode, payload) of the server."""
        first, size = self.connection._exactly(2)
        wide = {126: 2, 127: 8}.get(size, 0)
        if wide:
            size = int.from_bytes(self.connection._exactly(wide), "big")
        return first & 0x0F, self.connection._exactly(size)

    def rest(self):
        """Reads to the close. Returns (stdout, stderr, status or None)."""
        while self.closed is None:
            opcode, data = self.next()
            if opcode == websocket.CLOSE:
                self.closed = int.from_bytes(data[:2], "big")
            elif opcode == websocket.PONG:
                self.pongs.append(data)
            else:
                self.messages.append((data[0], data[1:]))
        parts = {n: b"".join(d for c, d in self.messages if c == n) for n in (1, 2, 3)}
        self.sock.close()
        return parts[1], parts[2], json.loads(parts[3]) if parts[3] else None
