"""How long a job takes and what it writes: its work, at rates that a calibration or finished jobs have shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import TUNED_ON
from layerlottery.paths import TUNED
from layerlottery.planning.images import ImageCounts
from layerlottery.planning.jobs import Job, Name, Record

# forward passes of images through a network, passes back to the image as attacks take them, and training steps
Passes = tuple[float, float, float]
# without a calibration: a backward pass costs two more forward passes
RELATIVE: Passes = (1.0, 2.0, 3.0)
# a finished job tells of one of its rule that passes so many times the images; what a job takes to start hides more
FURTHEST = 10
# jobs that finished ones tell of: their rule, whether images pass through a network, and the network
Kind = tuple[str, bool, Name | None]


@dataclass(frozen=True)
class Measured:
    """Multiply-accumulates of an image and parameters of a network, and the shares of both that a removed block saves.

    `rates` are seconds of a core, or of a GPU, for each multiply-accumulate of a forward pass, None if there was no
    time to measure them; `kwh` is what each of these seconds takes.
    """

    macs: float
    parameters: float
    block_macs: float = 0.0
    block_parameters: float = 0.0
    rates: Passes | None = None
    kwh: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Seconds of jobs, of all cores that each occupies, and bytes that they write.

    `networks` holds what one process or several measured of each. `start` is what any job takes before its work, and
    `cold` what one takes on top that no warm worker serves. `ratios` are seconds of finished jobs for each that was
    estimated, by their kind and by that of all networks: a random choice says nothing of a score that takes images.
    `kwh` is what a busy core takes in a second.
    """

    benchmark: Benchmark
    cores: int
    images: Mapping[str, ImageCounts]
    networks: Mapping[Name, Sequence[Measured]]
    start: float = 1.0
    cold: float = 0.0
    kwh: float = 0.0
    ratios: Mapping[Kind, float] = field(default_factory=dict)

    def seconds(self, job: Job) -> float:
        """As calibrated, then as finished jobs of the kind show, of the same network where there are some."""
        own = self.kind(job)
        ratio = self.ratios.get(own, self.ratios.get((*own[:2], None), 1.0))
        return ratio * (self.start + self._work(job))

    def kind(self, job: Job) -> Kind:
        """What finished jobs must be to tell of this one."""
        return job.rule, any(passes(job, self.benchmark, self._images(job))), job.network

    def corrected(self, done: Iterable[Record]) -> Estimate:
        """The same with the ratios of finished jobs."""
        sums: dict[Kind, list[tuple[float, float]]] = {}
        for record in done:
            both = record.seconds * self.threads(record.job), self.start + self._work(record.job)
            own = self.kind(record.job)
            for key in {own, (*own[:2], None)}:
                sums.setdefault(key, []).append(both)
        totals = {key: [sum(values) for values in zip(*pairs, strict=True)] for key, pairs in sums.items()}
        return replace(self, ratios={key: took / expected for key, (took, expected) in totals.items()})

    def threads(self, job: Job) -> int:
        """Cores that the job occupies."""
        resources = self.benchmark.resources
        wanted = dict.fromkeys(("score", "attack", "shift", "compare"), resources.evaluation_threads)
        wanted |= {"train": resources.training_cpus, "rewind": resources.training_cpus, "profile": self.cores}
        return min(self.cores, wanted.get(job.stage, 1))

    def bytes(self, job: Job) -> float:
        """The job's weights, or its image arrays; everything else is small."""
        if job.network is None:
            images = self._images(job)
            prepared = images.train + images.test + images.shifted + images.held_out
            counts = {"prepare": prepared, "corrupt": images.corrupted, "outliers": images.outliers}
            return math.prod(images.shape) * counts.get(job.stage, 0)
        network = self.networks[job.network][0]
        kept = job.stage in ("initialize", "prune", "rewind", "train") or job.rule == "score_weights"
        # of 4 bytes each
        return kept * 4 * network.parameters * _left(job, network.block_parameters)

    def _images(self, job: Job) -> ImageCounts:
        return self.images.get(job.wildcards.get("dataset", ""), ImageCounts())

    def _work(self, job: Job) -> float:
        """Seconds beyond the start of the job; without a calibration in a unit that all jobs of a rule share."""
        images = self._images(job)
        if job.network is None:
            return self.cold + (job.stage == "corrupt") * images.corrupted * images.corrupt_seconds
        if job.stage == "profile":
            settings, tickets = self.benchmark.profile, self.benchmark.families[(*job.network, job.wildcards["seed"])]
            # at most: many tickets share an architecture
            return (1 + len(tickets)) * (settings.rounds + 1) * settings.min_seconds * self.threads(job)
        network, rates = self.networks[job.network][0], self.rates(job.network)
        each = sum(count * rate for count, rate in zip(passes(job, self.benchmark, images), rates, strict=True))
        return each * network.macs * _left(job, network.block_macs)

    def rates(self, name: Name) -> Sequence[float]:
        """Of the network, else the mean of the others that were timed."""
        timed = [one.rates for one in self.networks[name] if one.rates]
        timed = timed or [one.rates for found in self.networks.values() for one in found if one.rates] or [RELATIVE]
        return [mean(values) for values in zip(*timed, strict=True)]


def suffice(done: Iterable[Job], left: Iterable[Job], benchmark: Benchmark, images: Mapping[str, ImageCounts]) -> bool:
    """Whether finished jobs of its kind did so much of what each job that is left does that their rates hold."""

    def work(job: Job) -> float:
        seen = passes(job, benchmark, images.get(job.wildcards.get("dataset", ""), ImageCounts()))
        return sum(count * weight for count, weight in zip(seen, RELATIVE, strict=True))

    most: dict[tuple[str, bool], float] = {}
    for job in done:
        key = job.rule, work(job) > 0
        most[key] = max(most.get(key, 0.0), work(job))
    # without a finished job of the kind -1, which no work is below
    return all(work(job) <= FURTHEST * most.get((job.rule, work(job) > 0), -1.0) for job in left)


def wall_seconds(jobs: Sequence[Job], estimate: Estimate, at_once: int) -> float:
    """Seconds on the clock: what all networks share runs alone, the rest fills the cores.

    Never less than the slowest job of each rule, one after the other.
    """
    slowest: dict[str, float] = {}
    for job in jobs:
        slowest[job.rule] = max(slowest.get(job.rule, 0.0), estimate.seconds(job) / estimate.threads(job))
    total = sum(estimate.seconds(job) / (at_once if job.network else 1) for job in jobs)
    return max(total, sum(slowest.values()))


def _left(job: Job, block: float) -> float:
    """The share of the network that a ticket keeps, `block` being that of a block; masks save nothing."""
    structure, removed = job.wildcards.get("structure"), int(job.wildcards.get("removed", 0))
    if structure == SHARE:
        # a product costs as its filters times those that it reads
        return (1 - removed / 100) ** 2
    return max(0.0, 1 - block * (0 if structure in ("weights", TUNED_ON) else removed))


def passes(job: Job, benchmark: Benchmark, images: ImageCounts) -> Passes:
    """Images that pass through the network, at most: attacks take all their steps, as if they never fooled it."""
    if job.stage == "train":
        rewind, network = job.wildcards.get("rewind", "0"), job.wildcards["network"]
        recipe = benchmark.tuning(network) if TUNED.fullmatch(rewind) else benchmark.recipe(network)
        epochs = recipe.epochs - (int(rewind) if rewind.isdigit() else 0)
        return epochs * images.test, 0, epochs * images.train
    if job.stage == "score":
        seen = _scored(job, benchmark, images)
        forward = benchmark.criterion(job.wildcards["criterion"]).formula.needs == "forward"
        return (seen, 0, 0) if forward else (0, seen, 0)
    if job.stage == "attack":
        settings = benchmark.attack
        counts = {
            name: getattr(settings, settings.traits(name).images) for name in (*settings.attacks, *settings.custom)
        }
        return 0, sum(min(n or images.test, images.test) * settings.passes(name) for name, n in counts.items()), 0
    if job.stage == "shift":
        return images.test + images.held_out + images.shifted + images.corrupted + images.outliers, 0, 0
    if job.stage == "compare":
        # the ticket's and the dense network's
        return 2 * min(benchmark.compare.images or images.test, images.test), 0, 0
    return 0, 0, 0


def _scored(job: Job, benchmark: Benchmark, images: ImageCounts) -> int:
    """Images that a scoring looks at, those of all draws and of all rounds of one_by_one."""
    criterion, network = benchmark.criterion(job.wildcards["criterion"]), job.wildcards["network"]
    formula = criterion.formula
    if formula.needs in ("nothing", "weights"):
        return 0
    seen = formula.images or (0 if formula.data_free else criterion.images_per_class * images.classes)
    times = criterion.samples if formula.sampled else 1
    if criterion.select != "one_by_one":
        return seen * times
    # where only the built network knows its blocks, as many as the studies remove
    rounds = benchmark.network(network).most_removable
    if rounds is None:
        rounds = benchmark.most_removed(network, job.wildcards["dataset"])[1]
    return seen * times * (1 + rounds)
