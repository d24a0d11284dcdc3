"""Frames of RFC 6455, as a server reads and writes them."""

import base64
import hashlib

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class ProtocolError(Exception):
    pass


def accept_key(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def frame(opcode, data):
    """One final frame, unmasked."""
    size = len(data)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")
    return head + data


def close_frame(code, reason=""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


class Reader:
    """Takes bytes, gives (opcode, whole message)."""

    MESSAGE_MAX = 32 * 1024 * 1024

    def __init__(self):
        self._rest, self._parts, self._opcode = b"", b"", None

    def feed(self, data):
        """All messages that are complete now. Raises ProtocolError."""
        self._rest += data
        found = []
        while True:
            one = self._frame()
            if one is None:
                return found
            final, opcode, payload = one
            if opcode >= CLOSE:
                found.append((opcode, payload))
                continue
            if (opcode == CONTINUATION) != (self._opcode is not None):
                raise ProtocolError("a continuation without a beginning, or none where one is due")
            self._opcode = opcode or self._opcode
            self._parts += payload
            if len(self._parts) > self.MESSAGE_MAX:
                raise ProtocolError("a message too long")
            if final:
                found.append((self._opcode, self._parts))
                self._opcode, self._parts = None, b""

    def _frame(self):
        data = self._rest
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        wide = {126: 2, 127: 8}.get(size, 0)
        if not data[1] & 0x80:
            raise ProtocolError("a frame of a client that is not masked")
        if data[0] & 0x70:
            raise ProtocolError("reserved bits")
        if len(data) < at + wide + 4:
            return None
        if wide:
            size, at = int.from_bytes(data[at:at + wide], "big"), at + wide
        mask, at = data[at:at + 4], at + 4
        if len(data) < at + size:
            return None
        payload = data[at:at + size]
        repeated = (mask * (size // 4 + 1))[:size]
        plain = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(
            size, "big")
        self._rest = data[at + size:]
        return bool(data[0] & 0x80), data[0] & 0x0F, plain
