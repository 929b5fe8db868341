"""The protocol between launcher and warm worker, over a socket whose address is in the environment.

Only the standard library's small modules are imported here: handing a command over costs hundredths of a second.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

ADDRESS = "LAYERLOTTERY_WORKER"
# a request's length, then the request as JSON; the child that is about to run it sends its process id, and the worker
# at the end its exit status. Until its id is sent, no one has begun, and the launcher may run the command itself
LENGTH, PROCESS, STATUS = struct.Struct("!Q"), struct.Struct("!q"), struct.Struct("!i")
STREAMS = (0, 1, 2)


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; ConnectionError when the other side closed before."""
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError("closed")
        parts += part
    return bytes(parts)


def fill_streams() -> None:
    """Open standard streams that are closed: the next files would get their numbers, and what is printed would follow.

    For programs that begin; Python's own `sys.stdout` and the others stay as they are.
    """
    for stream in STREAMS:
        try:
            os.fstat(stream)
        except OSError:
            with contextlib.suppress(OSError):
                # takes the lowest number that is free
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
