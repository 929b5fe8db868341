"""Bytes that the files of a job will take."""

from __future__ import annotations

from collections.abc import Mapping

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.studies import FRESH
from layerlottery.planning.images import ImageSet, corrupted, outliers
from layerlottery.planning.jobs import Job
from layerlottery.planning.rates import Rates

# facts, tables and logs, as the default benchmark leaves them
LOG = 400
SMALL = {
    "prepare": 1700,
    "corrupt": 4500,
    "outliers": 600,
    "initialize": 0,
    "reinitialize": 0,
    "score": 3500,
    "score_weights": 4000,
    "prune": 1000,
    "rewind": 0,
    "train_dense": 4000,
    "train_ticket": 4000,
    "attack": 2500,
    "attack_ticket": 2500,
    "shift": 10_200,
    "compare": 1900,
    "profile": 3000,
    "aggregate": 60_000,
    "tabulate": 60_000,
    "report": 250_000,
    "manifest": 7000,
}
# of each network in the tables, and of each row of its curve
EACH = {"aggregate": 4000, "report": 1500}
ROW = 60


def size(job: Job, benchmark: Benchmark, images: Mapping[str, ImageSet], rates: Rates) -> float:
    """Bytes of the job's outputs and log; a dense network's kept epochs count with its training."""
    found = SMALL[job.rule] + LOG + EACH.get(job.rule, 0) * len(benchmark.runs())
    if job.dataset is not None and job.run is None:
        return found + _arrays(job.rule, benchmark, images[job.dataset])
    if job.run is None:
        return float(found)
    weights = rates.of(job.run, "bytes") if job.stage != "score" else 0.0
    if job.rule == "score_weights":
        family = job.run.dataset, job.run.network, "none"
        return found + rates.networks[family]["bytes"]
    if job.stage == "train":
        return found + weights * (1 + _kept(benchmark, job)) + ROW * benchmark.training.epochs
    return found + (weights if job.stage in ("initialize", "prune", "rewind") else 0.0)


def _arrays(rule: str, benchmark: Benchmark, images: ImageSet) -> int:
    if rule == "prepare":
        return (images.train + images.test + images.shifted + images.held_out) * images.bytes_each
    count = corrupted(benchmark, images) if rule == "corrupt" else outliers(benchmark, images)
    return count * (images.bytes_each - 8)


def _kept(benchmark: Benchmark, job: Job) -> int:
    run = job.run
    if run is None or run.removed:
        return 0
    tickets = benchmark.families[run.dataset, run.network, str(run.seed)]
    return len({one.rewind for one in tickets} - {"0", FRESH})
