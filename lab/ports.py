"""Ports on loopback for servers that are told theirs, and may be started again on them."""

import fcntl
import os
import random
import socket

# Above what clusters take (cluster.py), and below the range out of which the system gives ports to
# outgoing connections: one of those could sit on ours while nobody listens there.
FIRST, LAST = 24000, 32000

_held = []  # descriptors of locks, until this process ends


def registry_folder():
    """Where it is noted who has which."""
    folder = f"/tmp/ceph-lab-{os.getuid()}"  # not TMPDIR: all must see the same one
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def is_free(port):
    """Whether nobody listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """One that nobody listens on, and that no other process is given by this before ours has ended."""
    folder = registry_folder()
    for port in random.SystemRandom().sample(range(FIRST, LAST), LAST - FIRST):
        lock = os.open(os.path.join(folder, f"port-{port}"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_free(port):
                _held.append(lock)
                return port
        except BlockingIOError:
            pass  # another process has it
        os.close(lock)
    raise OSError(f"no free port from {FIRST} to {LAST}")
