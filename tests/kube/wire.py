"""HTTP/1.1 as the server speaks it: requests read, answers written, over TLS, a thread for each."""

import json
import select
import socket
import ssl
import struct
import threading
import urllib.parse
import uuid
from email.utils import formatdate
from http import HTTPStatus

BODY_MAX = 3 * 1024 * 1024  # of a request; more is answered with 413
DISCARD_MAX = 4 * BODY_MAX  # of a body that is too large: still read, and thrown away
PLAIN_MAX = 2048  # bytes of a body that comes with Content-Length; longer ones come chunked
CHUNK = 4096
HEAD_MAX = 1 << 20
FLOW_SCHEMA = str(uuid.uuid4())
PRIORITY_LEVEL = str(uuid.uuid4())


class Gone(Exception):
    """The connection is over, by whichever side."""


def go_json(body):
    """JSON as Go writes it: compact, UTF-8, and without what HTML would take for markup."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text.encode()


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.too_large = False
        self.audit_id = str(uuid.uuid4())
        split = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(split.path)
        self.pairs = urllib.parse.parse_qsl(split.query, keep_blank_values=True)
        self.query = {}
        for name, value in self.pairs:
            self.query.setdefault(name, value)

    def header(self, name, default=""):
        return self.headers.get(name.lower(), default)

    @property
    def media(self):
        return self.header("Content-Type", "application/json").split(";")[0].strip()

    @property
    def manager(self):
        return self.header("User-Agent", "unknown").split("/")[0]

    def all(self, name):
        return [v for n, v in self.pairs if n == name]


class Connection:
    """One connection: used by its own thread, except for `abort`, which any thread may call."""

    def __init__(self, sock, peer_user):
        self.sock, self.peer_user = sock, peer_user
        self._rest = b""
        self.keep = True
        self.cut_after = None  # bytes that may still be written before the connection is cut
        self.used = False  # an answer has begun

    # Reading

    def _more(self):
        try:
            data = self.sock.recv(65536)
        except (OSError, ValueError) as error:
            raise Gone from error
        if not data:
            raise Gone
        self._rest += data

    def _line(self):
        while b"\r\n" not in self._rest:
            if len(self._rest) > HEAD_MAX:
                raise Gone
            self._more()
        line, self._rest = self._rest.split(b"\r\n", 1)
        return line.decode("latin-1")

    def _exactly(self, size):
        while len(self._rest) < size:
            self._more()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def read_request(self):
        line = self._line()
        try:
            method, target, version = line.split(" ")
        except ValueError:
            raise Gone from None
        headers = {}
        while True:
            line = self._line()
            if not line:
                break
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        self.keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        self.used = False
        request = Request(method, target, headers, b"")
        if headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.used = False
        if headers.get("transfer-encoding", "").lower() == "chunked":
            request.body = self._chunks(request)
        else:
            size = int(headers.get("content-length") or 0)
            request.too_large = size > BODY_MAX
            if request.too_large:
                self.keep = False
                self._discard(min(size, DISCARD_MAX))
            else:
                request.body = self._exactly(size)
        return request

    def _discard(self, size):
        """Reads what will be refused, so that the client gets to read the refusal."""
        while size > 0:
            if not self._rest:
                self._more()
            size -= len(self._rest)
            self._rest = b""

    def _chunks(self, request):
        body = b""
        while True:
            size = int(self._line().split(";")[0], 16)
            body += self._exactly(size)
            if size == 0:
                while self._line():
                    pass
                return body
            self._exactly(2)
            if len(body) > BODY_MAX:
                request.too_large, self.keep = True, False
                return b""

    # Writing

    def write(self, data):
        cut = self.cut_after is not None and len(data) > self.cut_after
        if cut:
            data = data[:self.cut_after]
        try:
            self.used = True
            self.sock.sendall(data)
        except (OSError, ValueError) as error:
            raise Gone from error
        if self.cut_after is not None:
            self.cut_after -= len(data)
        if cut:
            self.abort()
            raise Gone

    @staticmethod
    def head(code, request, headers, flow=True):
        names = {"Audit-Id": request.audit_id, "Cache-Control": "no-cache, private", **headers}
        if flow is not None:
            names["X-Kubernetes-Pf-Flowschema-Uid"] = FLOW_SCHEMA if flow else ""
            names["X-Kubernetes-Pf-Prioritylevel-Uid"] = PRIORITY_LEVEL if flow else ""
        names["Date"] = formatdate(usegmt=True)
        lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}"]
        for name, value in names.items():
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"{name}: {one}")
        return "\r\n".join(lines)

    def answer(self, code, request, body, content_type, headers=None, flow=True):
        """A whole answer. `body` is bytes. `flow` None leaves the flow headers out."""
        head = self.head(code, request, {"Content-Type": content_type, **(headers or {})}, flow)
        if not self.keep:
            head += "\r\nConnection: close"
        if len(body) <= PLAIN_MAX or content_type.startswith("text/"):
            self.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return
        self.write(f"{head}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for begin in range(0, len(body), CHUNK):
            self.chunk(body[begin:begin + CHUNK])
        self.write(b"0\r\n\r\n")

    def json(self, code, request, body, headers=None, flow=True):
        self.answer(code, request, go_json(body) + b"\n", "application/json", headers, flow)

    def chunk(self, data):
        self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    # The end

    def closed_by_peer(self):
        """Whether the peer has closed; what it sent meanwhile is kept for the next request."""
        if not self.sock.pending() and not select.select([self.sock], [], [], 0)[0]:
            return False
        try:
            self.sock.setblocking(False)
            data = self.sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except (OSError, ValueError):
            return True
        finally:
            try:
                self.sock.setblocking(True)
            except OSError:
                pass
        self._rest += data
        return not data

    def close(self):
        """Ends the connection as a server in order does, with TLS close_notify."""
        try:
            self.sock.setblocking(False)
            self.sock.unwrap()
        except (OSError, ValueError):
            pass
        self.sock.close()

    def abort(self):
        """Ends the connection as a server that dies does."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass


class Listener:
    """Accepts on 127.0.0.1 and runs `serve(connection)` in a thread for each."""

    def __init__(self, port, context, serve):
        self.context, self.serve = context, serve
        self.sock = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self.sock.getsockname()[1]
        self.lock = threading.Lock()
        self.connections = set()
        self.stopped = False

    def run(self):
        while not self.stopped:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, raw):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(30)
        try:
            sock = self.context.wrap_socket(raw, server_side=True)
        except (OSError, ssl.SSLError):
            raw.close()
            return
        sock.settimeout(None)
        connection = Connection(sock, peer_of(sock))
        with self.lock:
            self.connections.add(connection)
        try:
            self.serve(connection)
        except Gone:
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def drop_all(self, but=None):
        """Cuts all connections, as a server that dies does. Returns how many."""
        with self.lock:
            found = [c for c in self.connections if c is not but]
        for connection in found:
            connection.abort()
        return len(found)

    def close(self):
        self.stopped = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def peer_of(sock):
    """(name, groups) of the client's certificate, or None."""
    certificate = sock.getpeercert()
    if not certificate:
        return None
    subject = [pair for part in certificate["subject"] for pair in part]
    names = [value for name, value in subject if name == "commonName"]
    return names[0] if names else "", [v for n, v in subject if n == "organizationName"]
