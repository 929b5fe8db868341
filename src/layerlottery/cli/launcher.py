"""The entry point: hand a command to the warm worker if there is one, else run it here.

A short stage spends most of its time importing torch. While Snakemake runs jobs on this machine it keeps one
worker process with everything imported, which forks a child for each command (see worker.py). Little is
imported here, so that handing over costs hundredths of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from types import FrameType

from layerlottery.runtime.protocol import ADDRESS, LENGTH, PROCESS, STATUS, STREAMS, fill_streams, receive
from layerlottery.runtime.stop import STOP, handle

# the first stage needs no torch and goes on while the worker imports it
COLD = "prepare"


def main() -> None:
    """Run the command line and exit with its status."""
    STOP.listen()
    fill_streams()
    try:
        handed = _hand_over() if sys.argv[1:2] != [COLD] else None
        if handed is not None:
            sys.exit(_wait(*handed))
        _run_here()
    finally:
        # the status is decided; Python's own end would let a signal replace it
        handle(signal.SIG_IGN)


def _run_here() -> None:
    try:
        from layerlottery.cli.main import main as here
    except ModuleNotFoundError as error:
        from layerlottery.extras import missing

        if (line := missing(error)) is None:
            raise
        # the library alone is installed, whose script this is nevertheless
        sys.exit(f"layerlottery: commands: {line}")
    here()


def _hand_over() -> tuple[socket.socket, int] | None:
    """The connection and the process of the worker that runs the command; None if none does, for whatever reason."""
    address = os.environ.get(ADDRESS)
    if not address or not hasattr(socket, "AF_UNIX"):
        return None
    connection = None
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
        return connection, _delegate(connection)
    except OSError:
        # on another machine, or after the worker has gone
        if connection is not None:
            connection.close()
        return None


def _delegate(connection: socket.socket) -> int:
    """Send the command, its folder, umask, environment and open streams; the id of the process that runs it.

    Raises OSError when none does.
    """
    folder = os.getcwd()  # noqa: PTH109 - pathlib costs as much to import as all the rest
    umask = os.umask(0o077)
    os.umask(umask)
    request = {"argv": sys.argv, "folder": folder, "umask": umask, "environment": dict(os.environ)}
    request["encoding"] = getattr(sys.stdout, "encoding", None)
    body = json.dumps(request).encode()
    socket.send_fds(connection, [LENGTH.pack(len(body))], STREAMS)
    connection.sendall(body)
    child: int = PROCESS.unpack(receive(connection, PROCESS.size))[0]
    return child


def _wait(connection: socket.socket, child: int) -> int:
    """Pass signals on to the process that runs the command; its exit status, 1 if the worker ends before."""

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its status is on the way
            os.kill(child, number)

    handle(forward)
    if STOP.requested:
        forward(signal.SIGTERM, None)
    try:
        status: int = STATUS.unpack(receive(connection, STATUS.size))[0]
    except OSError:
        # it dies with the worker, on Linux; what has begun is not begun again beside it
        forward(signal.SIGKILL, None)
        with contextlib.suppress(OSError):
            print("layerlottery: the worker process ended before the command did", file=sys.stderr)
        return 1
    return status
