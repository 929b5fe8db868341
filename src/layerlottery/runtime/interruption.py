"""Ctrl-C in a Snakemake of ours, or a terminal that closes: it is noted, and the exit status is what shells expect.

A terminal tells Snakemake's jobs, too. Of `kill -INT` they hear nothing, and Snakemake waits for them, for hours where
they train; so they are told here.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from layerlottery.runtime.relay import PAUSE, tell_children

SIGNALS = (signal.SIGINT, signal.SIGHUP)

# the signal that came, 0 before any
_told = 0
_jobs_here = False


def requested() -> bool:
    """Whether the user has asked to stop."""
    return bool(_told)


def listen() -> None:
    """Note such signals from now on, and exit; Snakemake then stops its jobs. What nohup ignores stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def pass_on() -> None:
    """Tell jobs as well, from now on. They run on this machine: of a cluster's it would hit what cancels them."""
    global _jobs_here
    _jobs_here = True


def end() -> None:
    """After a run that failed: exit with the signal's status if that was the reason."""
    if _told:
        sys.exit(_status())


def _status() -> int:
    return 128 + _told


def _stop(number: int, frame: FrameType | None) -> None:
    global _told
    if _jobs_here and not _told:
        threading.Thread(target=_tell_jobs, args=(number,), daemon=True).start()
    _told = number
    sys.exit(_status())


def _tell_jobs(number: int) -> None:
    told: set[Any] = set()
    while True:  # a job may have been about to start
        tell_children(told, number)
        time.sleep(PAUSE)
