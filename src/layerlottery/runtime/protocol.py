"""The protocol between launcher and warm worker, over a socket whose address is in the environment.

Only the standard library's small modules are imported here: handing a command over costs hundredths of a second.
"""

from __future__ import annotations

import socket
import struct

ADDRESS = "LAYERLOTTERY_WORKER"
# a request's length, then the request as JSON; back come the child's process id, and at the end its exit status
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
