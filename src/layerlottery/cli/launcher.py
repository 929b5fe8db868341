"""The entry point: hand a command to the warm worker if there is one, else run it here.

A short stage spends most of its time importing torch. While Snakemake runs jobs on this machine it keeps one
worker process with everything imported, which forks a child for each command (see worker.py). Little is
imported here, so that handing over costs hundredths of a second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from types import FrameType

from layerlottery.runtime.protocol import ADDRESS, LENGTH, PROCESS, STATUS, STREAMS, receive

# the first stage needs no torch and goes on while the worker imports it
COLD = "prepare"


def main() -> None:
    """Run the command line and exit with its status."""
    address = os.environ.get(ADDRESS)
    if address and sys.argv[1:2] != [COLD]:
        connection = _connect(address)
        if connection is not None:
            with connection:
                try:
                    sys.exit(_delegate(connection))
                except ConnectionError:
                    print("layerlottery: the worker process ended before the command did", file=sys.stderr)
                    sys.exit(1)
    from layerlottery.cli.main import main as here

    here()


def _connect(address: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:
        # on another machine, or after the worker has gone
        connection.close()
        return None
    return connection


def _delegate(connection: socket.socket) -> int:
    """Send the command, its folder, umask, environment and open streams; wait for its exit status.

    Raises ConnectionError when the worker ends before.
    """
    folder = os.getcwd()  # noqa: PTH109 - pathlib costs as much to import as all the rest
    umask = os.umask(0o077)
    os.umask(umask)
    request = {"argv": sys.argv, "folder": folder, "umask": umask, "environment": dict(os.environ)}
    body = json.dumps(request).encode()
    socket.send_fds(connection, [LENGTH.pack(len(body))], STREAMS)
    connection.sendall(body)
    child = PROCESS.unpack(receive(connection, PROCESS.size))[0]

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    status: int = STATUS.unpack(receive(connection, STATUS.size))[0]
    return status
