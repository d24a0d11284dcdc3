"""A point given out over NBD: nbdcopy of all of it beside a restore to a file, and reads of 4 KiB here and
there of a server that has just been started.

The volume is that of `volumes`; reading is done at the source's site, from the store behind mutual TLS.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import time

from volumes import ASSET, KIB, Volumes

READ_BYTES = 4 * KIB
READ_SECONDS = 10
IN_FLIGHT = 32  # over CONNECTIONS
CONNECTIONS = 4
SERVER_MAGIC = b"NBDMAGICIHAVEOPT"


class Client:
    """An NBD client that knows one export and reads: what the protocol's document asks for and no more."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        if not self.receive(18).startswith(SERVER_MAGIC):
            raise RuntimeError("not an NBD server")
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))  # EXPORT_NAME, the only one
        self.receive(10)

    def receive(self, size):
        data = bytearray()
        while len(data) < size:
            data += self.socket.recv(size - len(data)) or self.ended()
        return bytes(data)

    @staticmethod
    def ended():
        raise RuntimeError("the server closed the connection")

    def ask(self, offset):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, offset, offset, READ_BYTES))

    def take(self):
        """(offset, bytes) of the next answer."""
        magic, error, offset = struct.unpack(">IIQ", self.receive(16))
        if magic != 0x67446698 or error:
            raise RuntimeError(f"read at {offset}: error {error}")
        return offset, self.receive(READ_BYTES)


class Serve(Volumes):
    def started(self, *options):
        """A new server: (process, socket)."""
        path = self.path("disk.sock")
        server = subprocess.Popen(
            self.pair.tokyo.command("--json", "serve", ASSET, "--nbd", path, *options),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        text = b""
        while not text.endswith(b"\n}\n"):
            text += server.stdout.readline() or Client.ended()
        json.loads(text)
        return server, path

    @staticmethod
    def stop(server):
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)

    def copy(self):
        out = self.path("copied.img")
        if os.path.exists(out):
            os.unlink(out)
        server, path = self.started()
        try:
            return self.runner.run(["nbdcopy", "--flush", f"nbd+unix:///?socket={path}", out])
        finally:
            self.stop(server)

    def restore(self):
        out = self.path("restored.img")
        if os.path.exists(out):
            os.unlink(out)
        return self.tidemark(self.pair.tokyo, "restore", ASSET, "--to-file", out)

    def sequential(self, number):
        self.contend("copy of everything", [("tidemark", self.copy), ("restore", self.restore)], number)
        self.runner.run(["cmp", self.path("copied.img"), self.path("restored.img")])

    def read_here_and_there(self, number):
        """Blocks that hold data, each at most once, asked of a server that knows nothing yet."""
        blocks = self.random.sample(self.blocks, len(self.blocks))
        server, path = self.started()
        try:
            with open(self.path("restored.img"), "rb") as restored:
                result = self.reads(path, blocks, restored)
        finally:
            self.stop(server)
        self.figures.add("reads of 4 KiB", "tidemark", result)
        self.say(f"reads of 4 KiB: {result['rate']:.0f} /s over {result['seconds']:.1f} s, "
                 f"{result['first_second']} in the first second")

    @staticmethod
    def reads(path, blocks, restored):
        clients = [Client(path) for _ in range(CONNECTIONS)]
        waiting = iter(blocks)
        began, done, first_second = time.monotonic(), 0, 0
        for client in clients:
            for _ in range(IN_FLIGHT // CONNECTIONS):
                client.ask(next(waiting))
        while (elapsed := time.monotonic() - began) < READ_SECONDS:
            offset, data = clients[done % CONNECTIONS].take()
            if data != os.pread(restored.fileno(), READ_BYTES, offset):
                raise RuntimeError(f"wrong bytes at {offset}")
            done += 1
            first_second += elapsed < 1
            upcoming = next(waiting, None)
            if upcoming is None:
                break
            clients[(done - 1) % CONNECTIONS].ask(upcoming)
        seconds = time.monotonic() - began
        return {"seconds": round(seconds, 3), "reads": done, "rate": done / seconds,
                "first_second": first_second}

    def run(self):
        self.boot()
        self.io_a = self.open_io(self.a)
        self.make_file_system()
        self.fresh_image()
        self.fresh_pair()
        self.start_store()
        self.backup_image()
        for number in range(self.options.rounds):
            self.say(f"round {number + 1} of {self.options.rounds}")
            self.sequential(number)
            self.read_here_and_there(number)

    def add_rows(self, table):
        median = self.figures.median
        size = self.figures.raw.get("image", {}).get("file_system_bytes")
        seconds = {who: median("copy of everything", who) for who in ("tidemark", "restore")}
        if size and all(seconds.values()):
            table.against("nbdcopy of everything", size / seconds["tidemark"], "restore --to-file",
                          size / seconds["restore"], "bytes/s", at_least=0.5)
        table.alone("reads of 4 KiB, cold", median("reads of 4 KiB", "tidemark", "rate"), "reads/s",
                    at_least=1000)
        table.alone("reads of 4 KiB, in the first second",
                    median("reads of 4 KiB", "tidemark", "first_second"), "reads/s")
