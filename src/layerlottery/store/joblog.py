"""The log of a job: lines with a time. The last line of a job that failed says why, behind a mark that no other has."""

from __future__ import annotations

import re
from pathlib import Path

from layerlottery.store.regular import irregular

MARK = "ERROR "
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?P<text>.*)")
TAIL = 20_000  # bytes: the longest line, and more


def last_line(log: Path) -> str | None:
    """What the last line says, without its time; None where nothing was logged."""
    try:
        if irregular(log) is not None:
            return None
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().decode(errors="backslashreplace").splitlines()
    except OSError:
        return None
    found = LINE.fullmatch(lines[-1]) if lines else None
    return found["text"] if found else None


def failure(log: Path) -> str | None:
    """Why the job ended that wrote this log; None unless it failed, or nothing says that it did."""
    said = last_line(log)
    return said.removeprefix(MARK) if said is not None and said.startswith(MARK) else None
