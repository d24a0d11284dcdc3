"""exec: a command of a "container", run as a process of this machine, over WebSocket v5 or v4."""

import os
import selectors
import signal
import socket
import ssl
import subprocess
import urllib.parse

import websocket
from errors import ApiError, bad_request
from wire import Gone, go_json

PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
DIRECTORY = "kube-test/exec-dir"  # annotation of a pod: where its commands run
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
READ = 32768
KUBELET_DOWN = "dial tcp 127.0.0.1:{port}: connect: connection refused"


def _pod(server, target):
    res = server.registry.find("", "v1", "pods")
    return server.objects.current(res, target.namespace, target.name)


def _container(pod, wanted):
    name = pod["metadata"]["name"]
    names = [c["name"] for c in (pod.get("spec") or {}).get("containers") or []]
    if not wanted and len(names) == 1:
        return names[0]
    if not wanted:
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: "
                          f"[{' '.join(names)}]")
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _directory(server, pod):
    """Where the commands of the pod run; None where its node cannot be reached."""
    meta = pod["metadata"]
    found = (meta.get("annotations") or {}).get(DIRECTORY)
    if found is None and server.options.exec_root:
        found = os.path.join(server.options.exec_root, meta["namespace"], meta["name"])
        os.makedirs(found, exist_ok=True)
    return found


def _closed_port():
    """A port on which nobody listens: what a node that is gone looks like."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(server, connection, request, target):
    """Answers an exec request, and serves its stream to the end."""
    pod = _pod(server, target)
    query, name = request.query, pod["metadata"]["name"]
    if not request.all("command"):
        raise bad_request("you must specify at least one command for the container")
    container = _container(pod, query.get("container", ""))
    if not (pod.get("spec") or {}).get("nodeName"):
        raise bad_request(f"pod {name} does not have a host assigned")
    if request.header("Upgrade").lower() != "websocket":
        raise bad_request("Upgrade request required")
    offered = [p.strip() for p in request.header("Sec-WebSocket-Protocol").split(",")]
    protocol = next((p for p in offered if p in PROTOCOLS), None)
    directory = _directory(server, pod)
    down = KUBELET_DOWN.format(port=_closed_port()) if directory is None else None
    if protocol != PROTOCOLS[0] and down:
        raise ApiError(500, f"error dialing backend: {down}")
    if protocol is None:
        raise ApiError(500, "error dialing backend: unable to upgrade: no subprotocol in common")
    connection.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Accept: "
                      f"{websocket.accept_key(request.header('Sec-WebSocket-Key'))}\r\n"
                      f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n").encode())
    connection.keep = False
    asked = {stream: query.get(stream) in ("true", "1")
             for stream in ("stdin", "stdout", "stderr", "tty")}
    stream = Stream(connection, protocol == PROTOCOLS[0], asked)
    stream.begin()
    if down:
        stream.fail_at_node(request, target, container, down)
        return
    stream.run(request.all("command"), directory)


class Stream:
    """One exec stream. One thread reads the socket and the pipes in turn."""

    def __init__(self, connection, version5, asked):
        self.connection, self.version5, self.asked = connection, version5, asked
        self.reader = websocket.Reader()
        self.process = None
        self.pending = b""  # for the command's stdin
        self.stdin_closed = not asked["stdin"]
        self.peer_closed = False

    def send(self, channel, data=b""):
        self.connection.sock.setblocking(True)
        self.connection.write(websocket.frame(websocket.BINARY, bytes([channel]) + data))

    def begin(self):
        """The empty message that opens the stream, on the first channel that is open."""
        first = STDOUT if self.asked["stdout"] else STDERR if self.asked["stderr"] else STATUS
        self.send(first)

    def finish(self, status):
        self.send(STATUS, go_json(status))
        self.connection.write(websocket.close_frame(1000))

    def fail_at_node(self, request, target, container, down):
        given = [f"command={urllib.parse.quote(c)}" for c in request.all("command")]
        given += [f"{short}=1" for short, name in (("error", "stderr"), ("input", "stdin"),
                                                   ("output", "stdout")) if self.asked[name]]
        port = down.split(":")[1]
        why = (f'error sending request: Post "https://localhost:{port}/exec/{target.namespace}/'
               f'{target.name}/{container}?{"&".join(given)}": {down}')
        self.finish({"metadata": {}, "status": "Failure",
                     "message": f"Internal error occurred: {why}", "reason": "InternalError",
                     "details": {"causes": [{"message": why}]}, "code": 500})

    # A command that runs

    def run(self, command, directory):
        tty = self.asked["tty"]
        try:
            self.process = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if tty else subprocess.PIPE, start_new_session=True)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            why = f"command terminated with exit code {code}"
            self.finish(self._exit_status(code, why))
            return
        try:
            self._pump()
            self.finish(self._result(self.process.wait()))
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe:
                    try:
                        pipe.close()
                    except OSError:
                        pass

    @staticmethod
    def _exit_status(code, message):
        return {"metadata": {}, "status": "Failure", "message": message,
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}

    def _result(self, code):
        if code == 0:
            return {"metadata": {}, "status": "Success"}
        code = 128 - code if code < 0 else code  # ended by a signal, as a shell says it
        return self._exit_status(code, f"command terminated with exit code {code}: Error executing "
                                 "in container: exit status " + str(code))

    def _pump(self):
        """Moves bytes until the command has closed its outputs."""
        sock, process = self.connection.sock, self.process
        with selectors.DefaultSelector() as waiting:
            open_outputs = 0
            for pipe, channel in ((process.stdout, STDOUT), (process.stderr, STDERR)):
                if pipe:
                    waiting.register(pipe, selectors.EVENT_READ, channel)
                    open_outputs += 1
            waiting.register(sock, selectors.EVENT_READ, None)
            if self.stdin_closed:
                process.stdin.close()
            else:
                os.set_blocking(process.stdin.fileno(), False)
            writing = False
            self._take(b"")
            while open_outputs:
                want = bool(self.pending) and not process.stdin.closed
                if want != writing and not process.stdin.closed:
                    (waiting.register if want else waiting.unregister)(
                        *((process.stdin, selectors.EVENT_WRITE, STDIN) if want
                          else (process.stdin,)))
                    writing = want
                for key, _ in waiting.select(0.2):
                    if key.data is None:
                        self._receive(sock)
                    elif key.data == STDIN:
                        writing = self._feed(waiting, writing)
                    else:
                        open_outputs -= self._forward(waiting, key)
                if sock.pending():
                    self._receive(sock)
                if self.stdin_closed and not self.pending and not process.stdin.closed:
                    if writing:
                        waiting.unregister(process.stdin)
                        writing = False
                    process.stdin.close()

    def _receive(self, sock):
        sock.setblocking(False)
        try:
            data = sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError as error:
            raise Gone from error
        finally:
            sock.setblocking(True)
        if not data:
            raise Gone
        self._take(data)

    def _take(self, data):
        if self.connection._rest:  # sent right behind the handshake
            data, self.connection._rest = self.connection._rest + data, b""
        try:
            messages = self.reader.feed(data)
        except websocket.ProtocolError as error:
            self.connection.write(websocket.close_frame(1002, str(error)))
            raise Gone from error
        for opcode, message in messages:
            if opcode == websocket.PING:
                self.connection.write(websocket.frame(websocket.PONG, message))
            elif opcode == websocket.CLOSE:
                self.connection.write(websocket.frame(websocket.CLOSE, message[:2]))
                raise Gone
            elif opcode in (websocket.BINARY, websocket.TEXT) and message:
                if message[0] == STDIN and not self.stdin_closed:
                    self.pending += message[1:]
                elif message[0] == CLOSE and self.version5 and message[1:2] == bytes([STDIN]):
                    self.stdin_closed = True

    def _feed(self, waiting, writing):
        """Writes to the command's stdin; returns whether it is still waited for."""
        try:
            written = os.write(self.process.stdin.fileno(), self.pending[:READ])
            self.pending = self.pending[written:]
        except BlockingIOError:
            pass
        except OSError:  # the command does not read any more
            self.pending, self.stdin_closed = b"", True
            waiting.unregister(self.process.stdin)
            self.process.stdin.close()
            return False
        return writing

    def _forward(self, waiting, key):
        """Sends what the command wrote; returns 1 when that output is over."""
        data = os.read(key.fd, READ)
        if not data:
            waiting.unregister(key.fileobj)
            return 1
        name = "stdout" if key.data == STDOUT else "stderr"
        if self.asked[name] or self.asked["tty"]:
            self.send(key.data, data)
        return 0
