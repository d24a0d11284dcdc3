"""A proxy before a gateway that misbehaves as it is told. Requests pass unchanged, so that their signatures
hold."""

import http.client
import http.server
import re
import socket
import struct
import threading
import time
import urllib.parse

ENTRY = re.compile(rb"<(Contents|Version|DeleteMarker)>.*?</\1>", re.DOTALL)
SLOW_DOWN = b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>"
INTERNAL = b"<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>"


class Request:
    def __init__(self, method, target):
        self.method = method
        path, _, query = target.partition("?")
        self.path, self.query = path, urllib.parse.parse_qs(query, keep_blank_values=True)
        parts = path.lstrip("/").split("/", 1)
        self.bucket, self.key = parts[0], parts[1] if len(parts) > 1 else ""

    @property
    def lists(self):
        return (self.method == "GET" and bool(self.bucket) and not self.key
                and ("list-type" in self.query or "versions" in self.query))


def partial_page(body):
    """The first half of a page, which says that more follow: what a server may answer at any time."""
    entries = list(ENTRY.finditer(body))
    if len(entries) < 2:
        return body
    cut, end = entries[len(entries) // 2].start(), entries[-1].end()
    return (body[:cut] + body[end:]).replace(b"<IsTruncated>false<", b"<IsTruncated>true<")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def log_message(self, *_):
        pass

    def forward(self, body):
        if not hasattr(self, "upstream"):
            self.upstream = http.client.HTTPConnection("127.0.0.1", self.server.to_port, timeout=120)
        connection = self.upstream
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def answer(self, status, headers, body, announced=None):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
        elif self.command == "HEAD":
            self.send_header("Content-Length", next((v for n, v in headers if n.lower() == "content-length"), "0"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path)
        misdeed = self.server.next_misdeed(request)
        if misdeed == "throttle":
            return self.answer(503, [("Retry-After", "0")], SLOW_DOWN)
        if misdeed == "error":
            return self.answer(500, [], INTERNAL)
        if misdeed == "reset":
            return self.cut()
        if misdeed == "slow":
            time.sleep(0.3)
        if misdeed == "twice":
            self.forward(body)
        status, headers, got = self.forward(body)
        if misdeed == "lost":
            return self.cut()
        if misdeed == "error after":
            return self.answer(500, [], INTERNAL)
        if misdeed == "short" and self.command == "GET":
            self.answer(status, headers, got[:len(got) // 2], announced=len(got))
            return self.cut()
        if misdeed == "half" and self.command == "GET":
            got = got[:len(got) // 2]
        if misdeed == "empty" and self.command == "GET":
            got = b""
        if misdeed == "partial" and status == 200:
            got = partial_page(got)
        return self.answer(status, headers, got)

    def finish(self):
        if hasattr(self, "upstream"):
            self.upstream.close()
        try:
            super().finish()
        except OSError:
            pass

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any


class S3Proxy(http.server.ThreadingHTTPServer):
    """`choose(request)` names a misdeed or gives None; called by one thread at a time. `done` counts."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, to_port, choose):
        super().__init__(("127.0.0.1", 0), Handler)
        self.to_port, self.choose, self.lock, self.done = to_port, choose, threading.Lock(), {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next_misdeed(self, request):
        with self.lock:
            misdeed = self.choose(request)
            self.done[misdeed or "none"] = self.done.get(misdeed or "none", 0) + 1
            return misdeed

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        pass  # connections that break are what it is for

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
