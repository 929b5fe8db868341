"""A benchmark in a storm: a plain Snakemake, started again and again, whose processes are killed at random moments.

Only SIGKILL is used, which nobody can catch. Only processes are killed that work in the benchmark's own folder.
"""

import contextlib
import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.chaos.processes import LONGEST, POLL, background, working_in

KINDS = ("training", "job", "worker", "Snakemake", "Snakemake and training", "everything")


def now():
    """Seconds since the machine was started, the clock of processes' starts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Life:
    """One process that worked on a training, seen from outside; times as of `now`, a life never shorter than it was."""

    run: str
    process: psutil.Process
    started: float
    locked: float
    ended: float | None = None
    killed: bool = False


class Watch(threading.Thread):
    """Notes who works on which training, and how that ends: each holds a lock, which it removes when it is done."""

    def __init__(self, results):
        super().__init__(daemon=True)
        self.checkpoints = results / "checkpoints"
        self.lives, self.over = [], threading.Event()

    def run(self):
        while not self.over.wait(POLL):
            # processes, files and folders come and go
            with contextlib.suppress(OSError, psutil.Error):
                self.look()

    def look(self):
        for life in self.working():
            if not life.process.is_running() or life.process.status() == psutil.STATUS_ZOMBIE:
                life.killed = self.checkpoints.joinpath(f"{life.run}.lock").exists()
                life.ended = now()
        for lock in self.checkpoints.rglob("*.lock"):
            run = str(lock.relative_to(self.checkpoints)).removesuffix(".lock")
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                self._note(run, psutil.Process(json.loads(lock.read_text())["pid"]))

    def _note(self, run, process):
        if all((life.run, life.process) != (run, process) for life in self.lives):
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
            self.lives.append(Life(run, process, int(ticks) / os.sysconf("SC_CLK_TCK"), now()))

    def working(self):
        return [life for life in list(self.lives) if life.ended is None]


@dataclass
class Storm:
    """Runs one project, a clone with its configuration, to its end through many kills."""

    project: object
    dice: random.Random
    kills: list = field(default_factory=list)
    resumed: set = field(default_factory=set)
    starts: int = 0

    def run(self, kinds):
        """Kill until `kinds` is used up or the benchmark is done, then let it end; returns the kinds that are left."""
        self.left, self.began, self.watch = list(kinds), now(), Watch(self.project.results)
        self.watch.start()
        try:
            while self._start_once() != 0:
                pass
        finally:
            self.watch.over.set()
            self.watch.join()
        self.watch.look()
        return self.left

    def _start_once(self):
        """The exit status of one plain Snakemake, killed or not; one that nothing hit must end well."""
        before = len(self.kills)
        self.starts += 1
        with background(self.project, self._file()) as running:
            while self.left and self._pause(running):
                self._strike(running)
            status = running.wait(LONGEST)
        self._note_resumptions()
        assert len(self.kills) > before or status == 0, self._file().read_text()
        return status

    def _file(self):
        return self.project.root / f"output{self.starts}.txt"

    def _pause(self, running):
        """Wait for a random moment, more often than not of a training; whether Snakemake still runs then."""
        midway = self.dice.random() < 0.6
        while midway and running.poll() is None and not self.watch.working():
            time.sleep(POLL)
        moment = now() + self.dice.uniform(0.2, 8)
        while running.poll() is None and now() < moment:
            time.sleep(POLL)
        return running.poll() is None

    def _strike(self, running):
        """Kill what the first kind on the list names that is there at all."""
        trainings = [life.process for life in self.watch.working()]
        for kind in self.left:
            with contextlib.suppress(psutil.NoSuchProcess):
                if found := self._targets(kind, psutil.Process(running.pid), trainings):
                    for process in found:
                        process.kill()
                    self.left.remove(kind)
                    self.kills.append((now() - self.began, kind, len(found), len(trainings)))
                    return

    def _targets(self, kind, snakemake, trainings):
        root = self.project.root
        return {
            "training": lambda: self._one(trainings),
            "job": lambda: self._one(working_in(root, "bin/layerlottery")),
            "worker": lambda: [
                process for process in working_in(root, "layerlottery.cli.worker") if process.parent() == snakemake
            ],
            "Snakemake": lambda: [snakemake],
            "Snakemake and training": lambda: trainings and [snakemake, *trainings],
            "everything": lambda: working_in(root),
        }[kind]()

    def _one(self, processes):
        return [self.dice.choice(processes)] if processes else []

    def _note_resumptions(self):
        for log in self.project.results.glob("logs/train/**/*.log"):
            self.resumed |= {(log, line) for line in log.read_text().splitlines() if "resumed after" in line}

    def losses(self, run, *, seconds):
        """How many processes were killed that had worked on a training for longer than this."""
        lives = [life for life in self.watch.lives if life.run == run and life.killed]
        return sum(life.ended - life.locked > seconds for life in lives)

    def life(self, run):
        """Wall time in which some process existed that worked on a training, seconds."""
        return sum(life.ended - life.started for life in self.watch.lives if life.run == run)


def described(storms):
    """What was killed when, how often each kind, and what came of it."""
    lines = [" round seconds  killed                  processes  trainings under way"]
    for number, storm in enumerate(storms, start=1):
        lines += [
            f"{number:6} {seconds:7.1f}  {kind:24}{found:9}{trainings:21}"
            for seconds, kind, found, trainings in storm.kills
        ]
    kinds = Counter(kind for storm in storms for _, kind, _, _ in storm.kills)
    lines.append(f"{kinds.total()} kills: " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
    hit = sum(life.killed for storm in storms for life in storm.watch.lives)
    lines.append(
        f"{hit} trainings were killed midway, {sum(len(storm.resumed) for storm in storms)} went on from a checkpoint"
    )
    lines.append(f"{sum(storm.starts for storm in storms)} starts of Snakemake, {len(storms)} rounds")
    return "\n".join(lines)
