"""A forecast of a benchmark: jobs, time, energy, CO2 and disk, stage by stage, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.countries import carbon_intensity
from layerlottery.config.stages import STAGES
from layerlottery.planning.alike import Alike, alike
from layerlottery.planning.deciding import tells
from layerlottery.planning.estimate import Estimate, suffice, wall_seconds
from layerlottery.planning.images import image_counts
from layerlottery.planning.jobs import Job, Record, records
from layerlottery.runtime.lease import gpu_jobs
from layerlottery.words import counted, duration, scaled

# seconds after which no further network is measured, so that the calibration ends within 20
LATEST = 10.0
ALL = "all"
KILO = (("k", 1.0), ("", 1e-3), ("m", 1e-6))
BYTES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


@dataclass
class Plan:
    """An estimate of what is left; `wall_seconds` with `cores` jobs at once.

    Of the networks those whose initial weights are there are `known`, and `distinct` of these differ: the others are
    the same trainings under other names. `stages` has, by stage and for all together, the number of jobs, of those
    left, and their seconds of a core (or GPU). `recorded` of the jobs left are timed by finished ones, the others by a
    calibration of `calibration_seconds`.
    """

    results: str
    networks: int
    tickets: int
    cores: int
    recorded: int
    wall_seconds: float
    calibration_seconds: float
    kwh: float
    kg_co2: float
    bytes: float
    stages: dict[str, dict[str, float]]
    tells: list[str]
    known: int = 0
    distinct: int = 0

    def lines(self) -> Iterator[str]:
        """A table of stages, the whole in sentences, and how the figures came about."""
        yield f"{'stage':<12}{'jobs':>6}{'left':>6}  core time left"
        for stage, row in self.stages.items():
            yield f"{stage:<12}{row['jobs']:>6.0f}{row['left']:>6.0f}  {duration(row['seconds']):>14}"
        jobs, left = int(self.stages[ALL]["jobs"]), int(self.stages[ALL]["left"])
        yield from ("", *self.tells)
        yield f"\n{self.networks} networks, {self.tickets} of them tickets; {jobs - left} of {jobs} jobs are done"
        if self.known > self.distinct:
            chosen = f"the {self.known} already chosen" if self.known < self.networks else f"{self.networks}"
            yield f"{self.distinct} of {chosen} are distinct; the same training is done once"
        if not left:
            yield f"Nothing is left to do in {self.results}."
            return
        yield (
            f"An estimate: {duration(self.wall_seconds)} with {counted(self.cores, 'core', 'cores')}, "
            f"{scaled(self.kwh, 'Wh', KILO)}, {scaled(self.kg_co2, 'g', KILO)} of CO2, "
            f"{scaled(self.bytes, 'B', BYTES)} of weights and images in {self.results}"
        )
        measured = f"{duration(self.calibration_seconds)} of measuring this machine"
        sources = {"what finished jobs took": self.recorded, measured: left - self.recorded}
        yield "Times: " + ", ".join(f"{counted(n, 'job', 'jobs')} by {name}" for name, n in sources.items() if n)


def plan(benchmark: Benchmark, jobs: Sequence[Job], *, cores: int) -> Plan:
    """Estimate what the jobs that are left will take.

    Raises LayerLotteryError when an image set can't be opened or a network can't be built.
    """
    runs, left = benchmark.runs(), [job for job in jobs if job.left]
    same = alike(benchmark, {file for job in left for file in job.outputs})
    done = list(records(jobs, benchmark.results))
    began = time.monotonic()
    estimate = _estimate(benchmark, left, done, cores)
    stages = {name: dict.fromkeys(("jobs", "left", "seconds"), 0.0) for name in (*STAGES, ALL)}
    for job in jobs:
        worked = job.left and not _is_copied(job, same)
        amounts = {"jobs": 1, "left": job.left, "seconds": estimate.seconds(job) if worked else 0.0}
        for row, name in product((stages[job.stage], stages[ALL]), amounts):
            row[name] += amounts[name]
    intensity, kwh = benchmark.energy.carbon_intensity, stages[ALL]["seconds"] * estimate.kwh
    return Plan(
        results=benchmark.results,
        networks=len(runs),
        tickets=sum(run.removed > 0 for run in runs),
        cores=cores,
        recorded=sum((*estimate.kind(job)[:2], None) in estimate.ratios for job in left),
        wall_seconds=wall_seconds([job for job in left if not _is_copied(job, same)], estimate, gpu_jobs() or cores),
        calibration_seconds=time.monotonic() - began,
        kwh=kwh,
        kg_co2=kwh * (carbon_intensity(benchmark.energy.country) if intensity is None else intensity),
        bytes=sum(map(estimate.bytes, left)),
        stages=stages,
        tells=list(tells(benchmark, _test_images(benchmark, left))),
        known=same.known,
        distinct=same.distinct,
    )


def _is_copied(job: Job, same: Alike) -> bool:
    """Whether a training is another network's, too."""
    return job.stage == "train" and str(Path(job.outputs[0]).parent) in same.copies


def _test_images(benchmark: Benchmark, left: Sequence[Job]) -> dict[str, int]:
    stale = {job.wildcards["dataset"] for job in left if job.stage == "prepare"}
    names = dict.fromkeys(run.dataset for run in benchmark.runs())
    return {name: image_counts(benchmark, name, prepared=name not in stale).test for name in names}


def _estimate(benchmark: Benchmark, left: Sequence[Job], done: Sequence[Record], cores: int) -> Estimate:
    """The basis of an estimate: their networks' size, finished jobs and, where those are silent, a calibration."""
    if not left:
        return Estimate(benchmark, cores, {}, {})
    from layerlottery.planning import calibrate

    # what this process has done so far is what a command does that no warm worker serves
    cold = time.process_time()
    concerned = [*left, *(record.job for record in done)]
    datasets = dict.fromkeys(job.wildcards["dataset"] for job in concerned if "dataset" in job.wildcards)
    # a set that is to be prepared again has other settings than the one in the results folder
    stale = {job.wildcards["dataset"] for job in left if job.stage == "prepare"}
    images = {name: image_counts(benchmark, name, prepared=name not in stale) for name in datasets}
    names = dict.fromkeys(job.network for job in concerned if job.network)
    trainings = [record for record in done if record.kwh]
    known = trainings and suffice([record.job for record in done], left, benchmark, images)
    until = 0.0 if known else time.monotonic() + LATEST
    networks = calibrate.measured(benchmark, images, names, processes=gpu_jobs() or cores, until=until)
    estimate = Estimate(benchmark, cores, images, networks)
    if not known:
        images = {name: calibrate.with_corruption(one, benchmark.corruptions.names) for name, one in images.items()}
        start = calibrate.start_seconds(cold=cold, warm=benchmark.resources.warm_worker)
        kwh = mean([one.kwh for found in networks.values() for one in found if one.rates] or [0.0])
        estimate = Estimate(benchmark, cores, images, networks, start, cold, kwh)
    if trainings:
        seconds = sum(record.seconds * estimate.threads(record.job) for record in trainings)
        estimate = replace(estimate, kwh=sum(record.kwh for record in trainings) / seconds)
    return estimate.corrected(done)
