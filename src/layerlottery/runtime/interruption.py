"""Ctrl-C in a Snakemake of ours: it is noted, and ends the process with the status that shells expect."""

from __future__ import annotations

import signal
import sys
from types import FrameType

STATUS = 128 + signal.SIGINT

_told = False


def requested() -> bool:
    """Whether the user has asked to stop."""
    return _told


def listen() -> None:
    """Note Ctrl-C from now on, and exit; Snakemake then stops its jobs. What ignores it, as under nohup, still does."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def end() -> None:
    """After a run that failed: exit with the status of Ctrl-C if that was the reason."""
    if _told:
        sys.exit(STATUS)


def _stop(number: int, frame: FrameType | None) -> None:
    global _told
    _told = True
    sys.exit(STATUS)
