"""Rates of this machine, measured in seconds by as many processes at once as there will be jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.criteria import CriterionSettings
from layerlottery.planning.images import ImageSet
from layerlottery.planning.rates import DENSE, Family, Rates, Scoring
from layerlottery.runtime.lease import GPU_DRIVER
from layerlottery.runtime.warm import PRELOADED

STAGES, CORRUPT, SCORE = "stages", "corrupt", "score"
# times that networks train and are evaluated, apart from each other, for what shares the machine comes and goes within
# seconds: one core was seen to take half as long again for a second or two, by no work of ours
ROUNDS = 3


@dataclass(frozen=True)
class Probe:
    """A function of `probes` by name, what it is given, and what it is about."""

    key: tuple[str, ...]
    function: str
    given: Mapping[str, Any]
    threads: int
    device: str


@dataclass(frozen=True)
class Found:
    """What a probe measured, its seconds on the clock, and those of its device."""

    key: tuple[str, ...]
    values: Mapping[str, float]
    wall: float
    busy: float


def calibrate(benchmark: Benchmark, images: Mapping[str, ImageSet], *, cores: int, device: str) -> Rates:
    """Measure what the benchmark's networks take here, each piece of work in a process of its own.

    As many processes as jobs will run at once work at the same time: jobs on one machine slow each other down.
    """
    began = time.monotonic()
    imports = _import()
    threads = min(benchmark.resources.training_threads, cores)
    # CUDA does not survive a fork
    context = get_context("spawn" if GPU_DRIVER.exists() else "fork")
    with tempfile.TemporaryDirectory() as folder, context.Pool(max(1, cores // threads), maxtasksperchild=1) as pool:

        def measure(probes: Iterator[Probe]) -> list[Found]:
            return list(pool.imap_unordered(run_probe, list(probes)))

        bench = _Bench(benchmark, images, Path(folder), threads, device)
        made = measure(bench.networks())
        found = measure(bench.pieces())
    return _rates(bench, made + found, imports=imports, seconds=time.monotonic() - began)


def run_probe(probe: Probe) -> Found:
    """Run one probe in this process, as a job would."""
    from layerlottery.planning import probes
    from layerlottery.runtime.machine import use_machine

    device = use_machine(probe.threads, probe.device)
    clock, wall = probes.Clock(device), time.perf_counter()
    busy = clock()
    values = getattr(probes, probe.function)(**probe.given, device=device)
    return Found(probe.key, values, time.perf_counter() - wall, clock() - busy)


def counts(benchmark: Benchmark) -> dict[Family, int]:
    """The most that tickets of each family lose."""
    most: dict[Family, int] = {}
    for run in benchmark.runs():
        family = run.dataset, run.network, run.structure
        most[family] = max(most.get(family, 0), run.removed)
    return most


def scorings(benchmark: Benchmark, jobs_scored: Iterator[Scoring]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """What a scoring's time depends on, by scoring: those that agree in it are measured once."""

    def facts(settings: CriterionSettings) -> tuple[Any, ...]:
        # which end survives, and what the logits are divided by, takes no time
        given = settings.model_dump(exclude={"keep", "temperature", "iterative", "budget", "products", "reduction"})
        return tuple(sorted((name, str(value)) for name, value in given.items()))

    return {one: (one[0], one[3], *facts(benchmark.criterion(one[2]))) for one in jobs_scored}


@dataclass(frozen=True)
class _Bench:
    """The files that probes work on, and the probes."""

    benchmark: Benchmark
    images: Mapping[str, ImageSet]
    folder: Path
    threads: int
    device: str

    def networks(self) -> Iterator[Probe]:
        """The dense networks, and one ticket of each structure."""
        most = counts(self.benchmark)
        for dataset, network, structure in most:
            if structure != DENSE:
                continue
            losses = {kind: count for (a, b, kind), count in most.items() if (a, b) == (dataset, network) and count}
            given = {
                "folder": self.place(dataset, network),
                "images": self.images[dataset],
                "network": self.benchmark.network(network),
                "removed": losses,
                "per_class": self.per_class(),
            }
            yield self.probe((dataset, network), "networks", given)

    def pieces(self) -> Iterator[Probe]:
        """Everything else; the rounds with the rest between them."""
        yield from self.trained_and_evaluated(0)
        yield self.probe((STAGES,), "stages", {"folder": self.folder / STAGES})
        yield from self.scorings()
        yield from self.trained_and_evaluated(1)
        for dataset, images in self.images.items():
            names = list(self.benchmark.corruptions.names)
            yield self.probe((CORRUPT, dataset), "corruption", {"images": images, "names": names})
        for family in sorted(counts(self.benchmark)):
            given = {"weights": self.weights(family), "images": self.images[family[0]]}
            yield self.probe(family, "network_facts", given)
        for turn in range(2, ROUNDS):
            yield from self.trained_and_evaluated(turn)

    def trained_and_evaluated(self, turn: int) -> Iterator[Probe]:
        """One round of the probes of networks, with files of its own."""
        for family in sorted(counts(self.benchmark)):
            weights, data = self.weights(family), self.place(*family[:2]) / "facts.json"
            images, folder = self.images[family[0]], self.folder / "-".join(("train", str(turn), *family))
            given = {"weights": weights, "folder": folder, "images": images, "settings": self.benchmark.training}
            yield self.probe(family, "training", given)
            dense = self.weights((*family[:2], DENSE))
            given = {"weights": weights, "dense": dense, "data": data, "images": images, "benchmark": self.benchmark}
            yield self.probe(family, "evaluation", given)

    def scorings(self) -> Iterator[Probe]:
        """One scoring of each kind, of the first network that has it."""
        seen = set()
        for one, kind in scorings(self.benchmark, scored(self.benchmark)).items():
            if kind in seen:
                continue
            seen.add(kind)
            dataset, network, criterion, structure = one
            place = self.place(dataset, network)
            given = {
                "weights": self.weights((dataset, network, DENSE)),
                "data": place / "facts.json",
                "settings": self.benchmark.criterion(criterion),
                "structure": structure,
            }
            yield self.probe((SCORE, *one), "scoring", given)

    def per_class(self) -> int:
        """Training images of each class that some criterion looks at."""
        names = {one[2] for one in scored(self.benchmark)}
        return max((self.benchmark.criterion(name).images_per_class for name in names), default=1)

    def place(self, dataset: str, network: str) -> Path:
        return self.folder / f"{dataset}-{network}"

    def weights(self, family: Family) -> Path:
        return self.place(*family[:2]) / f"{family[2]}.safetensors"

    def probe(self, key: tuple[str, ...], function: str, given: Mapping[str, Any]) -> Probe:
        return Probe(key, function, given, self.threads, self.device)


def scored(benchmark: Benchmark) -> Iterator[Scoring]:
    """Every scoring of the benchmark, seeds and draws aside."""
    from layerlottery.planning.jobs import jobs_of

    seen: dict[Scoring, None] = {}
    for job in jobs_of(benchmark):
        if job.stage == SCORE and job.run is not None:
            run = job.run
            seen[run.dataset, run.network, str(run.criterion), run.structure] = None
    yield from seen


def _rates(bench: _Bench, found: list[Found], *, imports: float, seconds: float) -> Rates:
    merged = _medians(found)
    networks: dict[Family, Mapping[str, float]] = {key: of for key, of in merged.items() if len(key) == 3}
    by_key = {key: of for key, of in merged.items() if len(key) != 3}
    stages = by_key[STAGES,]
    busy, wall = sum(one.busy for one in found), sum(one.wall for one in found)
    return Rates(
        device=bench.device,
        networks=networks,
        counts=counts(bench.benchmark),
        scores=_scores(bench.benchmark, by_key, networks),
        stages=stages,
        corrupted={name: by_key[CORRUPT, name]["corrupt"] for name in bench.images},
        launch=_launch(bench.benchmark, imports),
        imports=imports,
        slowdown=max(1.0 / bench.threads, wall / busy),
        watts=stages["watts"],
        memory_watts=stages["memory_watts"],
        seconds=seconds,
    )


def _medians(found: list[Found]) -> dict[Any, Mapping[str, float]]:
    """What was measured of each key; of what was measured in several rounds the median."""
    values: dict[Any, dict[str, list[float]]] = {}
    for one in found:
        for name, value in one.values.items():
            values.setdefault(one.key, {}).setdefault(name, []).append(value)
    return {key: {name: median(each) for name, each in named.items()} for key, named in values.items()}


def _scores(
    benchmark: Benchmark, found: Mapping[tuple[str, ...], Mapping[str, float]], networks: Mapping[Family, Any]
) -> dict[Scoring, float]:
    """Each scoring's seconds: its kind's, by how much longer its network takes than the one that was measured."""
    kinds = scorings(benchmark, scored(benchmark))
    measured = {kinds[key[1:]]: key[1:] for key in found if key[0] == SCORE}
    taken: dict[Scoring, float] = {}
    for one in scored(benchmark):
        twin = measured[kinds[one]]
        ratio = networks[one[0], one[1], DENSE]["forward"] / networks[twin[0], twin[1], DENSE]["forward"]
        taken[one] = found[SCORE, *twin]["score"] * ratio
    return taken


def _import() -> float:
    """CPU seconds that the imports of a job take; they stay imported for the probes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.process_time()
    for name in (*PRELOADED, "layerlottery.planning.probes"):
        import_module(name)
    return time.process_time() - began


def _launch(benchmark: Benchmark, imports: float) -> float:
    """CPU seconds from Snakemake's decision to the first line of a command."""
    if GPU_DRIVER.exists() or not benchmark.resources.warm_worker:
        return imports
    times = [_spent(lambda: subprocess.run([sys.executable, "-c", "import layerlottery.cli.launcher"], check=True))]
    child = _spent(_fork)
    return min(times) + child


def _fork() -> None:
    if process := os.fork():
        os.waitpid(process, 0)
    else:
        os._exit(0)


def _spent(action: Callable[[], object]) -> float:
    def now() -> float:
        return sum(os.times()[:4])

    began = now()
    action()
    return now() - began
