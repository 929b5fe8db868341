"""The warm worker: imports torch once, then forks a child for every command that a launcher hands over.

It belongs to one Snakemake process on this machine and ends with it: its standard input is a pipe that closes when
that process dies, however it dies. A child ends with its launcher in the same way, so killing the command that
Snakemake started kills the work, as if there were no worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypedDict

from layerlottery.runtime.protocol import LENGTH, PROCESS, STATUS, STREAMS, receive
from layerlottery.runtime.warm import PRELOADED

PR_SET_PDEATHSIG = 1


class Request(TypedDict):
    """A launcher's request: its command, folder, umask and environment."""

    argv: list[str]
    folder: str
    umask: int
    environment: dict[str, str]


@dataclass
class Worker:
    """One selector over: the owner's pipe, new launchers, launchers that vanish, children that end."""

    listener: socket.socket
    children: dict[int, socket.socket] = field(default_factory=dict)

    def serve(self) -> None:
        """Until the owner's pipe closes."""
        ended, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        # Ctrl-C goes to the whole terminal group; the launchers decide what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.selector = selectors.DefaultSelector()
        for source in (0, ended, self.listener):
            self.selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:
                    return self._end()
                if key.fileobj == ended:
                    os.read(ended, 4096)
                    self._reap()
                elif key.fileobj is self.listener:
                    self._accept()
                else:
                    self._launcher_gone(key.data)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        # a launcher that is stopped within its request must not hold up the others
        connection.settimeout(5)
        streams: list[int] = []
        try:
            head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, len(STREAMS))
            request: Request = json.loads(receive(connection, LENGTH.unpack(head)[0]))
        except (OSError, ValueError, OverflowError, MemoryError, struct.error):
            # a launcher that was killed within its request must not end the others' work
            self._close(connection, streams)
            return
        child = os.fork()
        if child == 0:
            self._become(request, streams, connection)
        self._close(None, streams)
        self.children[child] = connection
        self.selector.register(connection, selectors.EVENT_READ, data=child)
        # if the launcher has died meanwhile, the selector says so and the child is ended
        with contextlib.suppress(OSError):
            connection.sendall(PROCESS.pack(child))

    @staticmethod
    def _close(connection: socket.socket | None, streams: list[int]) -> None:
        if connection is not None:
            connection.close()
        for stream in streams:
            os.close(stream)

    def _become(self, request: Request, streams: list[int], connection: socket.socket) -> NoReturn:
        """In the child: take over the launcher's streams, folder, environment and command."""
        status = 1
        try:
            _die_with_parent()
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for stream, standard in zip(streams, STREAMS, strict=True):
                os.dup2(stream, standard)
                os.close(stream)
            self.selector.close()
            for held in (self.listener, connection, *self.children.values()):
                held.close()
            status = _run(request)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self.children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            connection = self.children.pop(child)
            with contextlib.suppress(KeyError):
                self.selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                # as a shell says it: 128 and the signal's number
                connection.sendall(STATUS.pack(code if code >= 0 else 128 - code))
            connection.close()

    def _launcher_gone(self, child: int) -> None:
        """A launcher says nothing more after its request: readable means that it has died."""
        if child not in self.children:  # it ended in the same moment
            return
        self.selector.unregister(self.children[child])
        os.kill(child, signal.SIGKILL)

    def _end(self) -> None:
        for child in self.children:
            os.kill(child, signal.SIGKILL)


def _run(request: Request) -> int:
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["argv"]
    from layerlottery.cli.main import main

    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(descriptor: int, address: str) -> None:
    """Import, then serve until the owner ends."""
    for name in PRELOADED:
        __import__(name)
    # imported objects live to the end; no child should scan them for garbage and so copy their pages
    gc.collect()
    gc.freeze()
    try:
        Worker(socket.socket(fileno=descriptor)).serve()
    finally:
        shutil.rmtree(Path(address).parent, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
