"""How long jobs will take by what finished ones took alone: at once, without measuring anything or importing torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.stages import STAGE_OF_RULE, made
from layerlottery.planning.estimate import Estimate, Measured, wall_seconds
from layerlottery.planning.images import image_counts
from layerlottery.planning.jobs import Job, Record, records, wildcards_of
from layerlottery.runtime.lease import gpu_jobs
from layerlottery.runtime.recovery import STATE, marked, said

# finished jobs that are looked at; thousands more would say the same
ENOUGH = 2000
# ratios of times need no sizes: within one network they cancel
UNIT = (Measured(macs=1.0, parameters=0.0),)


@dataclass(frozen=True)
class Timed:
    """Of the jobs that are left those whose kind has finished for the same network, and their seconds on the clock."""

    jobs: int
    seconds: float


def jobs_of(planned: Iterable[tuple[str, Sequence[str]]], results: str) -> list[Job]:
    """Jobs that are left, from rules and outputs; rules that only collect are none."""
    return [
        Job(rule, dict(wildcards_of(outputs[0].removeprefix(f"{results}/"))), tuple(outputs), left=True)
        for rule, outputs in planned
        if rule in STAGE_OF_RULE and outputs
    ]


def estimate(benchmark: Benchmark, left: Sequence[Job], *, cores: int, same: Collection[str] = ()) -> Timed:
    """The time of those jobs that finished ones tell of; raises LayerLotteryError when an image set can't be opened.

    `same` are outputs of jobs that run once more as they did before, and so tell of themselves.
    """
    others = {file for job in left for file in job.outputs}.difference(same)
    done = list(records(_done(benchmark, others), benchmark.results))
    if not done:
        return Timed(0, 0.0)
    found = _estimate(benchmark, left, done, cores)
    timed = [job for job in left if found.kind(job) in found.ratios]
    return Timed(len(timed), wall_seconds(timed, found, gpu_jobs() or cores))


def _done(benchmark: Benchmark, left: set[str]) -> list[Job]:
    """The benchmark's finished jobs by Snakemake's records; the folder may hold others' too."""
    results = benchmark.results
    found: dict[tuple[Any, ...], tuple[Job, list[str]]] = {}
    if not (STATE / "metadata").is_dir():
        return []
    asked = {f"{results}/{file}" for file in made(benchmark.places())} - left
    kept = ((path, output) for path, output in marked(results, STATE / "metadata") if output in asked)
    for path, output in islice(kept, ENOUGH):
        rule = said(path, "rule")
        if rule in STAGE_OF_RULE and Path(output).exists():
            job = Job(rule, dict(wildcards_of(output.removeprefix(f"{results}/"))), (), left=False)
            found.setdefault((rule, *job.wildcards.items()), (job, []))[1].append(output)
    return [replace(job, outputs=tuple(files)) for job, files in found.values()]


def _estimate(benchmark: Benchmark, left: Sequence[Job], done: Sequence[Record], cores: int) -> Estimate:
    concerned = [*left, *(record.job for record in done)]
    stale = {job.wildcards["dataset"] for job in left if job.stage == "prepare"}
    datasets = dict.fromkeys(job.wildcards["dataset"] for job in concerned if "dataset" in job.wildcards)
    images = {name: image_counts(benchmark, name, prepared=name not in stale) for name in datasets}
    networks = {job.network: UNIT for job in concerned if job.network}
    return Estimate(benchmark, cores, images, networks).corrected(done)
