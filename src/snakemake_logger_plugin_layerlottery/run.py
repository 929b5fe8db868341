"""The state of a run: how many jobs of each stage there are, which are done, which run, and how long the rest takes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from layerlottery.config.stages import STAGE_OF_RULE, STAGES

# where finished jobs tell of less than this share of the others, they tell too little
TELLING = 0.5


@dataclass(frozen=True)
class Job:
    """A job that was started: the rule, what its path says about it, its log and command, and when."""

    number: int
    rule: str
    about: Mapping[str, str]
    log: str | None = None
    command: str | None = None
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def stage(self) -> str:
        """The stage that the rule runs."""
        return STAGE_OF_RULE[self.rule].name

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.began


def by_stage(jobs: Mapping[str, int]) -> dict[str, int]:
    """Counts of rules as counts of stages, in the order of the stages."""
    counts: Counter[str] = Counter()
    for rule, count in jobs.items():
        counts[STAGE_OF_RULE[rule].name] += count
    return {name: counts[name] for name in STAGES if counts[name]}


class Run:
    """Counts of one run, which one thread changes while others read.

    `rules` has the number of its jobs by rule, without those rules that only collect.
    """

    def __init__(self) -> None:
        self.rules: dict[str, int] = {}
        self.ended: Counter[str] = Counter()
        self.running: dict[int, Job] = {}
        self.failed = 0
        self.began = time.monotonic()
        self._seconds: dict[str, list[float]] = defaultdict(list)
        # of each stage the jobs in the order in which they were first started
        self._order: dict[str, dict[int, int]] = defaultdict(dict)

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.rules.values())

    @property
    def done(self) -> int:
        """Jobs that ended well."""
        return sum(list(self.ended.values()))

    @property
    def any_started(self) -> bool:
        """Whether any job was started."""
        return bool(self._order)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began

    def start(self, job: Job) -> None:
        """Count a job as running; a retry keeps its place."""
        order = self._order[job.stage]
        order.setdefault(job.number, len(order) + 1)
        self.running[job.number] = job

    def place(self, job: Job) -> str:
        """Which of its stage's jobs it is: 12/42."""
        return (
            f"{self._order[job.stage][job.number]}/{by_stage(self.rules).get(job.stage, len(self._order[job.stage]))}"
        )

    def finish(self, number: int) -> Job | None:
        """Count a job as done."""
        job = self.running.pop(number, None)
        if job is not None:
            self.ended[job.rule] += 1
            self._seconds[job.rule].append(job.seconds)
        return job

    def count(self, stage: str) -> str:
        """Jobs of a stage that are done, and all: 12/42."""
        return f"{by_stage(self.ended).get(stage, 0)}/{by_stage(self.rules).get(stage, 0)}"

    def expected(self, rule: str) -> float | None:
        """Mean seconds of finished jobs of the rule, else of its stage; None where there are none."""
        siblings = [name for name in list(self._seconds) if STAGE_OF_RULE[name].name == STAGE_OF_RULE[rule].name]
        found = self._seconds.get(rule) or [value for name in siblings for value in self._seconds[name]]
        return sum(found) / len(found) if found else None

    def left(self) -> float | None:
        """Seconds until the end, if jobs that are left take what others took; None while that says too little."""
        left = {rule: count - self.ended[rule] for rule, count in self.rules.items()}
        told = sum(count for rule, count in left.items() if self.expected(rule) is not None)
        if not self.done or told < TELLING * sum(left.values()):
            return None
        spent = sum(map(sum, list(self._seconds.values())))
        mean = spent / self.done
        running = list(self.running.values())
        work = sum(count * (self.expected(rule) or mean) for rule, count in left.items())
        gone = sum(min(job.seconds, self.expected(job.rule) or mean) for job in running)
        at_once = max(1.0, (spent + gone) / self.seconds)
        return max(0.0, work - gone) / at_once

    def stages(self) -> Iterator[str]:
        """The stages with their counts: `train 12/42`."""
        for stage in by_stage(self.rules):
            yield f"{stage} {self.count(stage)}"
