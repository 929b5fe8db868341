"""What a benchmark will take: jobs, networks, hours, energy, CO2 and disk, stage by stage, and how much is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.extensions import trust
from layerlottery.cost.carbon import carbon_intensity
from layerlottery.planning import costs as known
from layerlottery.planning.costs import Costs
from layerlottery.planning.disk import size
from layerlottery.planning.images import image_set
from layerlottery.planning.jobs import STAGES, Job, jobs_of, to_do
from layerlottery.planning.rates import Rates
from layerlottery.planning.schedule import makespan

JOULES = 3.6e6  # of a kWh
GPU_STAGES = ("score", "train", "attack", "shift", "compare", "profile")


@dataclass
class Amount:
    """Jobs, seconds of their device (a core or a GPU), energy in kWh and bytes on disk."""

    jobs: int = 0
    seconds: float = 0.0
    kwh: float = 0.0
    bytes: float = 0.0

    def add(self, other: Amount) -> None:
        """Count another amount with this one."""
        self.jobs += other.jobs
        self.seconds += other.seconds
        self.kwh += other.kwh
        self.bytes += other.bytes


@dataclass
class Plan:
    """The whole, by stage, and what is left of it; `wall_seconds` with `cores` jobs at once.

    `pipeline_seconds` are what Snakemake and its worker take beside the jobs, of a core. CO2 in kg.
    """

    results: str
    networks: int
    tickets: int
    device: str
    cores: int
    wall_seconds: float
    wall_seconds_whole: float
    pipeline_seconds: float
    kg_co2: float
    kg_co2_whole: float
    slowdown: float
    calibration_seconds: float
    stages: dict[str, dict[str, Amount]] = field(default_factory=dict)

    def total(self, which: str) -> Amount:
        """All stages together, `whole` or `left`."""
        found = Amount()
        for amounts in self.stages.values():
            found.add(amounts[which])
        return found

    def as_json(self) -> dict[str, Any]:
        """The same with the totals, for programs."""
        totals = {which: asdict(self.total(which)) for which in ("whole", "left")}
        return asdict(self) | {"total": totals}


def plan(benchmark: Benchmark, *, cores: int, device: str = "auto", device_rates: str | None = None) -> Plan:
    """Work out a plan, by a calibration of this machine or by the data sheet of the GPU `device_rates`.

    Raises LayerLotteryError when an image set can't be opened, or the GPU is not in the table.
    """
    jobs = jobs_of(benchmark)
    left = to_do(benchmark, jobs)
    names = dict.fromkeys(run.dataset for run in benchmark.runs())
    trust(*benchmark.networks.values())
    images = {name: image_set(benchmark, name) for name in names}
    if device_rates is None:
        from layerlottery.planning.calibrate import calibrate

        rates = calibrate(benchmark, images, cores=cores, device=device)
    else:
        from layerlottery.planning.devices import datasheet

        rates = datasheet(benchmark, images, device_rates)
    costs = Costs(benchmark, images, rates)
    amounts = {job: _amount(job, costs) for job in jobs}
    stages = {stage: {"whole": Amount(), "left": Amount()} for stage in STAGES}
    for which, chosen in (("whole", jobs), ("left", left)):
        for job in chosen:
            stages[job.stage][which].add(amounts[job])
    found = Plan(
        results=benchmark.results,
        networks=len(benchmark.runs()),
        tickets=sum(run.removed > 0 for run in benchmark.runs()),
        device=rates.device if device_rates else "this machine",
        cores=cores,
        wall_seconds=_wall(left, costs, cores),
        wall_seconds_whole=_wall(jobs, costs, cores),
        pipeline_seconds=_pipeline(benchmark, left, rates),
        kg_co2=0.0,
        kg_co2_whole=0.0,
        slowdown=rates.slowdown,
        calibration_seconds=rates.seconds,
        stages=stages,
    )
    intensity = benchmark.energy.carbon_intensity
    per_kwh = carbon_intensity(benchmark.energy.country) if intensity is None else intensity
    found.kg_co2, found.kg_co2_whole = (per_kwh * found.total(which).kwh for which in ("left", "whole"))
    return found


def _amount(job: Job, costs: Costs) -> Amount:
    seconds = costs.seconds(job)
    joules = costs.energy(seconds) if costs.rates.memory_watts or job.stage in GPU_STAGES else 0.0
    return Amount(1, seconds, joules / JOULES, size(job, costs.benchmark, costs.images, costs.rates))


def _pipeline(benchmark: Benchmark, jobs: Sequence[Job], rates: Rates) -> float:
    """CPU seconds of Snakemake and of the worker's imports."""
    if not jobs:
        return known.SNAKEMAKE
    return known.SNAKEMAKE + known.PLANNED * len(jobs) + known.RUN * len(jobs) + rates.imports


def _wall(jobs: Sequence[Job], costs: Costs, cores: int) -> float:
    """Seconds on the clock: jobs wait for each other, and Snakemake starts each."""
    resources, slowdown = costs.benchmark.resources, costs.rates.slowdown
    begun = slowdown * (known.SNAKEMAKE + known.PLANNED * len(jobs))
    if not jobs:
        return begun
    threads = {"train": resources.training_threads, "rewind": resources.training_threads, "profile": cores}
    threads |= dict.fromkeys(("score", "attack", "shift", "compare"), resources.evaluation_threads)

    def seconds(job: Job) -> float:
        # Snakemake's own work on a job takes a core's time from the jobs
        return slowdown * (costs.seconds(job) + known.RUN)

    return begun + makespan(jobs, seconds, lambda job: threads.get(job.stage, 1), available=cores)
