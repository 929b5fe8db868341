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
from typing import Any, NoReturn, TypedDict

from layerlottery.cli.surroundings import only_warn
from layerlottery.runtime.protocol import LENGTH, PROCESS, STATUS, STREAMS, receive
from layerlottery.runtime.stop import SIGNALS, STOP
from layerlottery.runtime.warm import PRELOADED

PR_SET_PDEATHSIG = 1


class Request(TypedDict):
    """A launcher's request: its command, folder, umask, environment and terminal's encoding."""

    argv: list[str]
    folder: str
    umask: int
    environment: dict[str, str]
    encoding: str | None


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
            if len(streams) < len(STREAMS):
                raise OSError("too many open files to take over the streams")
            worker, child = os.getpid(), os.fork()
        except (OSError, ValueError, OverflowError, MemoryError, struct.error):
            # a launcher that was killed within its request must not end the others' work; one that lives runs
            # its command itself
            connection.close()
            _close(streams)
            return
        if child == 0:
            self._become(request, streams, connection, worker)
        _close(streams)
        self.children[child] = connection
        # if the launcher has died meanwhile, the selector says so and the child is ended
        self.selector.register(connection, selectors.EVENT_READ, data=child)

    def _become(self, request: Request, streams: list[int], connection: socket.socket, worker: int) -> NoReturn:
        """In the child: run the command, once the launcher knows who does."""
        status = 1
        try:
            self._settle(request, streams, worker)
            connection.sendall(PROCESS.pack(os.getpid()))
            connection.close()
        except BaseException:
            os._exit(status)
        try:
            status = _run()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _settle(self, request: Request, streams: list[int], worker: int) -> None:
        """Take over the launcher's streams, folder, environment and arguments; let go of what is the worker's."""
        _die_with(worker)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # in a session of its own: they come from its launcher alone
        _handle_all(signal.SIG_DFL)
        STOP.listen()
        for stream, standard in zip(streams, STREAMS, strict=True):
            os.dup2(stream, standard)
        _close(streams)
        # the worker's own know what its streams were: files, say, that can be sought in
        how: dict[str, Any] = {
            "encoding": request["encoding"],
            "errors": "backslashreplace",
            "buffering": 1,
            "closefd": False,
        }
        sys.stdout, sys.stderr = (open(stream, "w", **how) for stream in STREAMS[1:])  # noqa: PTH123, SIM115
        self.selector.close()
        for held in (self.listener, *self.children.values()):
            held.close()
        os.chdir(request["folder"])
        os.umask(request["umask"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[:] = request["argv"]

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


def _close(streams: list[int]) -> None:
    for stream in streams:
        os.close(stream)


def _run() -> int:
    from layerlottery.cli.main import main

    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def _handle_all(handler: signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise ProcessLookupError(f"the worker, {parent}, has ended")


def main(descriptor: int, address: str) -> None:
    """Import, then serve until the owner ends."""
    # Ctrl-C goes to the whole terminal group; the launchers decide what it means
    _handle_all(signal.SIG_IGN)
    only_warn()
    try:
        listener = socket.socket(fileno=descriptor)
        for name in PRELOADED:
            __import__(name)
        # imported objects live to the end; no child should scan them for garbage and so copy their pages
        gc.collect()
        gc.freeze()
        Worker(listener).serve()
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"layerlottery: no warm worker ({said}); every command starts by itself", file=sys.stderr)
    finally:
        shutil.rmtree(Path(address).parent, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
