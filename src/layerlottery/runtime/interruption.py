"""Ctrl-C in a Snakemake of ours, or a terminal that closes: it is noted, and the exit status is what shells expect."""

from __future__ import annotations

import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGHUP)

# the signal that came, 0 before any
_told = 0


def requested() -> bool:
    """Whether the user has asked to stop."""
    return bool(_told)


def listen() -> None:
    """Note such signals from now on, and exit; Snakemake then stops its jobs. What nohup ignores stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def end() -> None:
    """After a run that failed: exit with the signal's status if that was the reason."""
    if _told:
        sys.exit(_status())


def _status() -> int:
    return 128 + _told


def _stop(number: int, frame: FrameType | None) -> None:
    global _told
    _told = number
    sys.exit(_status())
