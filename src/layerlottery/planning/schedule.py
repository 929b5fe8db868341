"""When jobs end that wait for each other's files and share the cores."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from layerlottery.planning.jobs import Job


@dataclass
class _Ready:
    """Jobs whose files are there, by the cores that they take; first in, first out."""

    queues: dict[int, deque[int]] = field(default_factory=dict)

    def add(self, number: int, cores: int) -> None:
        self.queues.setdefault(cores, deque()).append(number)

    def take(self, free: int) -> int | None:
        """A job that fits: of those that do, one that takes the most cores."""
        fitting = [cores for cores, queue in self.queues.items() if queue and cores <= free]
        return self.queues[max(fitting)].popleft() if fitting else None


def makespan(
    jobs: Sequence[Job], seconds: Callable[[Job], float], cores: Callable[[Job], int], *, available: int
) -> float:
    """Seconds until the last of `jobs` (each after those whose files it reads) has ended on `available` cores.

    As Snakemake does it: whatever is ready and fits into the free cores begins at once. A job takes all cores at most.
    """
    needs = [min(cores(job), available) for job in jobs]
    waits, followers = _links(jobs)
    ready, running = _Ready(), list[tuple[float, int]]()
    for first, others in enumerate(waits):
        if not others:
            ready.add(first, needs[first])
    free, now = available, 0.0
    while True:
        while (number := ready.take(free)) is not None:
            free -= needs[number]
            heapq.heappush(running, (now + seconds(jobs[number]), number))
        if not running:
            return now
        now, ended = heapq.heappop(running)
        free += needs[ended]
        for follower in followers[ended]:
            waits[follower].discard(ended)
            if not waits[follower]:
                ready.add(follower, needs[follower])


def _links(jobs: Sequence[Job]) -> tuple[list[set[int]], list[list[int]]]:
    """For each job those that it waits for, and those that wait for it."""
    makers = {file: number for number, job in enumerate(jobs) for file in job.outputs}
    waits = [{makers[file] for file in job.inputs if file in makers} for job in jobs]
    followers: list[list[int]] = [[] for _ in jobs]
    for number, needed in enumerate(waits):
        for other in needed:
            followers[other].append(number)
    return waits, followers
