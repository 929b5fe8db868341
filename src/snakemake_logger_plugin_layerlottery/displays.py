"""The two ways to show a run: lines for logs, and a display that moves for a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from layerlottery.config.naming import network_name
from layerlottery.words import duration, terminal
from snakemake_logger_plugin_layerlottery.following import epochs
from snakemake_logger_plugin_layerlottery.run import Job, Run

# so many jobs, or so long ones, have a line each; of others there is a line for each of these parts of a run
FEW, LONG, PARTS = 20, 60.0, 20
WIDTH = 100  # columns of a box in a log
NO = ("", "0", "false", "no", "off")  # values of CI where there is none
LOOKS = 2.0  # a second, of the moving display
STOPPING = "stopping, running jobs save their work"


def open_console(stream: TextIO | None, *, color: bool) -> Console:
    """A console on a copy of the stream, which stays its own when the stream is led elsewhere."""
    # a process may have been started without any
    copy = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept to the end
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a test's or a notebook's stream has no number
        copy = os.fdopen(os.dup(copy.fileno()), "w", encoding=copy.encoding, errors="plain")
    width = None if copy.isatty() else WIDTH
    return Console(file=copy, width=width, no_color=not color or None, highlight=False, markup=False, emoji=False)


class Lines:
    """Lines that stay: one for each job where jobs are few or long, else one for each twentieth of them."""

    def __init__(self, console: Console, run: Run) -> None:
        self.console, self.run = console, run
        self.several = self.remote = self.quiet = self.stopping = False
        self._part = 0
        self._shown: set[str] = set()

    def say(self, text: str) -> None:
        """A line of text from anywhere."""
        self.console.print(Text(terminal(text)), soft_wrap=True)

    def show(self, box: ConsoleRenderable) -> None:
        """A box, whose lines the terminal wraps."""
        self.console.print(box, crop=False, overflow="ignore", no_wrap=True)

    def start(self) -> None:
        """The first job is about to begin."""
        self._shown = set(self.run.stages())

    def stop(self) -> None:
        """The user has asked for it, and running jobs take a while."""
        if not (self.stopping or self.quiet):
            self.say(STOPPING)
        self.stopping = True

    def finished(self, job: Job) -> None:
        """A job has ended well."""
        run = self.run
        if self.quiet:
            return
        if run.total <= FEW or job.seconds >= LONG:
            self.say(f"{run.done}/{run.total}  {self._ended(job)}")
        elif (part := run.done * PARTS // run.total) > self._part:
            self._part = part
            self.say(self._digest())

    def _ended(self, job: Job) -> str:
        words = [f"{job.stage} {self.run.count(job.stage)}" if job.about else job.stage]
        words += [network_name(job.about, several=self.several)] if job.about else []
        found = epochs(job.log) if job.stage == "train" else None
        words += [f"{found.accuracy} %"] if found else []
        # in a queue it has waited, too
        return " · ".join([*words, duration(job.seconds) + (" after submission" if self.remote else "")])

    def _digest(self) -> str:
        run, stages = self.run, list(self.run.stages())
        changed = [stage for stage in stages if stage not in self._shown]
        self._shown = set(stages)
        left = run.left()
        words = [f"{100 * run.done // run.total:3d} %  {run.done}/{run.total} jobs", *changed]
        return " · ".join(words + ([f"{duration(left)} left"] if left and run.done < run.total else []))

    def end(self) -> None:
        """Nothing moves any more."""


class Moving(Lines):
    """A line for each running job, and a bar; what is said scrolls by above."""

    def __init__(self, console: Console, run: Run) -> None:
        super().__init__(console, run)
        self._live = Live(
            get_renderable=self.picture,
            console=console,
            refresh_per_second=LOOKS,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def stop(self) -> None:
        self.stopping = True

    def start(self) -> None:
        self._live.start()

    def finished(self, job: Job) -> None:
        """The bar shows it."""

    def end(self) -> None:
        self._live.stop()

    def picture(self) -> ConsoleRenderable:
        """Running jobs, as many as there is room for, above the bar."""
        jobs = list(self.run.running.values())
        room = max(1, self.console.size.height - 3)
        lines = [Text(terminal(self._running(job)), no_wrap=True, overflow="ellipsis") for job in jobs[:room]]
        if len(jobs) > room:
            lines[-1] = Text(f"and {len(jobs) - room + 1} more")
        return Group(*lines, self._bar())

    def _running(self, job: Job) -> str:
        words = [f"{job.stage} {self.run.place(job)}"]
        words += [network_name(job.about, several=self.several)] if job.about else []
        found, expected = epochs(job.log) if job.stage == "train" else None, self.run.expected(job.rule)
        if found:
            words += [f"epoch {found.done}/{found.planned}", f"{found.accuracy} %", f"{duration(found.left)} left"]
        elif expected is not None and expected > job.seconds:
            words.append(f"{duration(expected - job.seconds)} left")
        elif job.seconds >= 1:
            words.append(f"for {duration(job.seconds)}")
        return " · ".join(words)

    def _bar(self) -> Table:
        run, left, row = self.run, self.run.left(), Table.grid(padding=(0, 1))
        words = f"{run.done}/{run.total} jobs · {100 * run.done // max(1, run.total)} %"
        words += f" · {duration(left)} left" if left else ""
        words += f" · {run.failed} failed" if run.failed else ""
        words += f" · {STOPPING}" if self.stopping else ""
        row.add_row(ProgressBar(total=max(1, run.total), completed=run.done, width=30), Text(words))
        return row


def wants_lines(style: str, console: Console, *, remote: bool) -> bool:
    """Whether lines are asked for, or all that can be shown, or what suits jobs on a cluster."""
    if style != "auto":
        return style == "lines"
    return remote or not console.is_terminal or console.is_dumb_terminal or _in_ci()


def _in_ci() -> bool:
    return os.environ.get("CI", "").strip().lower() not in NO


def stream_of(*, stdout: bool) -> TextIO | None:
    """Where Snakemake's output goes: stdout of dry runs, else stderr."""
    return sys.stdout if stdout else sys.stderr
