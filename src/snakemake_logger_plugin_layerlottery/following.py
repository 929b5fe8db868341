"""How far a job is and what it has to say, from its log: a line each, warnings and errors marked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from layerlottery.store.regular import irregular

TAIL = 64_000  # bytes: the last epochs, and a traceback
MARKED = re.compile(r"[\d-]+ [\d:]+ (WARNING|ERROR) (.*)")
EPOCH = re.compile(r"^(\S+ \S+) epoch (\d+)/(\d+)  .* test (\S+) %  (\S+) s")


@dataclass(frozen=True)
class Epochs:
    """A training's completed and planned epochs, its test accuracy in percent, and seconds that are left."""

    done: int
    planned: int
    accuracy: str
    left: float


def tail(log: str | None) -> list[str]:
    """The last lines of a log; none where there is no regular file."""
    if log is None:
        return []
    path = Path(log)
    try:
        if irregular(path) is not None:
            return []
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(0, size - TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def epochs(log: str | None) -> Epochs | None:
    """A training's progress; None before its first epoch has ended, and for other stages."""
    found = [line for line in map(EPOCH.match, tail(log)) if line]
    if not found or log is None:
        return None
    done, planned, accuracy = int(found[-1][2]), int(found[-1][3]), found[-1][4]
    each = max(sum(float(line[5]) for line in found) / len(found), _apart(found[0][1], found[-1][1], len(found)))
    try:
        since = time.time() - Path(log).stat().st_mtime
    except OSError:
        since = 0.0
    return Epochs(done, planned, accuracy, max(0.0, (planned - done) * each - since))


def _apart(first: str, last: str, count: int) -> float:
    """Seconds from one epoch to the next: of short ones the log's own figure is rounded to nothing."""
    try:
        spent = datetime.fromisoformat(last) - datetime.fromisoformat(first)
    except ValueError:
        return 0.0
    return spent.total_seconds() / max(1, count - 1)


def marked(log: str | None, level: str) -> Iterator[str]:
    """The warnings or errors in a log, in order."""
    for line in map(MARKED.match, tail(log)):
        if line and line[1] == level:
            yield line[2]
