"""Requests to stop, by SIGTERM, SIGINT or SIGHUP: from a command's first line to its last there is a listener.

Most work may end at any moment: there a request raises Interrupted (`obeying`). Elsewhere it is only noted, while a
command starts, ends or trains; a training looks for it where it can go on later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from layerlottery.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN = 0.05  # seconds


class Stop:
    """A process's requests to stop."""

    def __init__(self) -> None:
        self.requested = self._heard = self._obeyed = False

    def listen(self) -> None:
        """Note requests from now on; for a process of ours, in its main thread."""
        self._heard = True
        handle(self._told)
        sys.unraisablehook = self._swallowed

    @contextmanager
    def obeying(self) -> Iterator[None]:
        """A request ends the block with Interrupted, also one that came before it."""
        try:
            self._obeyed = True
            if self.requested:
                self._interrupt()
            yield
        finally:
            self._obeyed = False

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Requests are noted from here on: in a process of ours to its end, in a caller's while the block runs."""
        self._obeyed = False
        if self._heard or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        handle(self._told)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.requested = False

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._obeyed:
            self._interrupt()

    def _interrupt(self) -> None:
        self._obeyed = False  # what clears up afterwards is not interrupted again
        raise Interrupted("the same command runs it again")

    def _swallowed(self, lost: sys.UnraisableHookArgs) -> None:
        """Where Python can't raise, as in the callback of a weak reference, the request comes again in a moment."""
        if lost.exc_type is Interrupted:
            self._obeyed = True
            threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGTERM)).start()
        else:
            sys.__unraisablehook__(lost)

    def in_child(self) -> None:
        """A forked child dies of these signals, as its parent expects."""
        if self._heard:
            self._heard = self._obeyed = False
            handle(signal.SIG_DFL)


def handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Handle all of them so; but what nohup or a shell has told this process to ignore stays ignored."""
    for number in SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


STOP = Stop()
os.register_at_fork(after_in_child=STOP.in_child)
