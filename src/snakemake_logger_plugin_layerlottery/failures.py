"""Why a job failed, in one line, and the box that says so."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.rule import Rule
from rich.text import Text

from layerlottery.words import one_line, terminal
from snakemake_logger_plugin_layerlottery.following import marked

# as bash tells it, and as Python does
STATUS = re.compile(r"returned non-zero exit status (\d+)|died with <Signals\.\w+: (\d+)>")
# a request to stop that a job heard, as the commands tell it
INTERRUPTED = "interrupted: "
KILLED = 128  # a shell's status of a command that a signal ended, less the signal's number


@dataclass(frozen=True)
class Failure:
    """A job or a group of jobs that failed: its name, why, and where to look; its jobs' numbers, and how many broke."""

    name: str
    reason: str
    logs: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    broken: int = 1

    @property
    def interrupted(self) -> bool:
        """Whether the job was only asked to stop, as SIGTERM to a whole process group asks all: nothing is to mend."""
        return self.reason.startswith(INTERRUPTED)

    @property
    def line(self) -> str:
        """The name and the reason in one line."""
        return f"{self.name}: {self.reason}" if self.interrupted else f"failed: {self.name}: {self.reason}"

    def box(self) -> Group:
        """The name, the reason, the logs, and what to do next; without sides, so that a path can be copied."""
        lines = [self.reason, *(f"log: {one_line(log)}" for log in self.logs)]
        lines.append("to go on, remove the cause and run the same command; what is done stays done")
        top = Rule(Text(terminal(f"failed: {self.name}"), style="bold"), align="left", style="red")
        return Group(top, Text("\n".join(map(terminal, lines)), overflow="ignore", no_wrap=True), Rule(style="red"))


def failure(name: str, logs: Sequence[str], *, said: str, status: int | None) -> Failure:
    """The failure of a job with these logs: the last error in them, else what was `said` of it, else how it ended."""
    found = [(log, error) for log in logs for error in marked(log, "ERROR")]
    if found:
        log, reason = found[-1]
        return Failure(name, one_line(reason), (log,))
    return Failure(name, one_line(said) or _ended(status), tuple(logs))


def _ended(status: int | None) -> str:
    if status is None:
        return "no reason was given"
    if status <= KILLED:
        return f"ended with exit status {status}; its log does not say why"
    try:
        name = signal.Signals(status - KILLED).name
    except ValueError:
        name = f"signal {status - KILLED}"
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def exit_status(text: str) -> int | None:
    """The status in what Snakemake says of a command that failed."""
    found = STATUS.search(text)
    if found is None:
        return None
    return int(found[1]) if found[1] else KILLED + int(found[2])


def first_of(lines: Iterable[str]) -> str:
    """The first line that says something."""
    return next((line.strip() for line in lines if line.strip()), "")
