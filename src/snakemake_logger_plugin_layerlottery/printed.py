"""What jobs print, line by line: warnings once, the rest up to a bound; what is not shown is in the run's own log."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from layerlottery.words import counted, one_line

OURS = "layerlottery: "
# as Python's warnings have it, and the first letter of glog's lines
WARNING = re.compile(r"^W\d{4} |warn", re.IGNORECASE)
NUMBER = re.compile(r"\d+")
SHOWN = 300  # lines of one run


@dataclass
class Printed:
    """Lines in, those that a person should see out to `show`. `log` is the run's own, None where it has none.

    A line that begins as a command's error does waits for `release`: the failure's box may tell it.
    """

    show: Callable[[str], None]
    log: Path | None = None
    shown: int = 0
    more: int = 0
    _warnings: set[str] = field(default_factory=set)
    _unshown: list[str] = field(default_factory=list)
    _held: list[tuple[float, str]] = field(default_factory=list)

    def take(self, line: str) -> None:
        """One line that a job printed."""
        if line.startswith(OURS):
            self._held.append((time.monotonic(), line))
        elif line.strip():
            self._pass(line)

    def told(self, reason: str) -> None:
        """A failure's reason was shown: the command's own line says the same."""
        self._held = [one for one in self._held if one_line(one[1].removeprefix(OURS)) != reason]

    def release(self, before: float, *, visible: bool = True) -> None:
        """Show the lines that wait since a time `before` this, or leave them to the log."""
        due = [line for since, line in self._held if since <= before]
        self._held = [one for one in self._held if one[0] > before]
        for line in due:
            if visible:
                self._pass(line)
            else:
                self._unshown.append(line)
        self._write()

    def end(self, dropped: int) -> None:
        """Say how many lines were not shown; `dropped` came too fast to be kept anywhere."""
        words = []
        if self.more:
            where = f" are in {self.log}" if self.log else " were not shown"
            words.append(f"{counted(self.more, 'more line', 'more lines')} that jobs printed{where}")
        if dropped:
            words.append(f"{counted(dropped, 'line', 'lines')} that jobs printed too fast were dropped")
        if words:
            self.show("; ".join(words))

    def _pass(self, line: str) -> None:
        # the same warning from another process has another number and time
        key = NUMBER.sub("0", line) if WARNING.search(line) else None
        if key in self._warnings:
            self._unshown.append(line)
        elif self.shown >= SHOWN:
            self.more += 1
            self._unshown.append(line)
        else:
            self.shown += 1
            self.show(line)
        if key is not None:
            self._warnings.add(key)

    def _write(self) -> None:
        if self.log is not None and self._unshown:
            # a full disk is no reason to end a run
            with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(f"{line}\n" for line in self._unshown)
        self._unshown.clear()
