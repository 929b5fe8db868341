"""Seconds of every job, from the rates and how much work each stage has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from typing import cast

from layerlottery.config.benchmark import Benchmark, Wildcards
from layerlottery.config.studies import Run
from layerlottery.planning.images import ImageSet, corrupted, evaluated, outliers
from layerlottery.planning.jobs import Job
from layerlottery.planning.rates import Rates

# CPU seconds on two AVX2 cores, of what is too little to be measured each time: what Snakemake itself takes to begin,
# to plan a job, and to run one; commands without torch; the stages that take no network
SNAKEMAKE, PLANNED, RUN = 2.3, 0.004, 0.06
COLD = 2.5
DIGITS = 4.5  # of text are the 5,000 digits of MNIST
CORRUPT, OUTLIERS = 0.4, 0.4
EACH_OUTLIER = 0.0005
# at once, and for every network
RESULTS = {"aggregate": (0.35, 0.004), "tabulate": (0.25, 0.001), "report": (5.0, 0.02), "manifest": (0.1, 0.0)}
# of the images attacked: a network is right about so many, and so many are left on average while others are fooled
RIGHT, LEFT = 0.85, 0.6
# passes of DeepFool: steps that it needs as a rule, a gradient for each of ten classes
DEEPFOOL = 4 * 10
# AutoAttack's standard version: APGD on two losses, FAB for 9 classes, and 5,000 queries of Square, which are forward
# passes (Croce & Hein 2020, section 5), each on what the ones before have left
AUTOATTACK = 100 + 0.5 * (9 * 100) + 0.4 * (9 * 100 * 2) + 0.4 * 5000 / 3
ROUNDS = 0.75  # of a scoring, in each round of one that removes blocks one by one


@dataclass(frozen=True)
class Costs:
    """The seconds of jobs of one benchmark."""

    benchmark: Benchmark
    images: Mapping[str, ImageSet]
    rates: Rates

    def seconds(self, job: Job) -> float:
        """Of the job's device, its start included."""
        work: Callable[[Job], float] = getattr(self, f"_{job.stage}")
        return self.rates.launch + work(job)

    def energy(self, seconds: float) -> float:
        """Joules of a job, as a training's meter reads them: its share of the processor, and of the memory."""
        return seconds * (self.rates.watts + self.rates.memory_watts * self.rates.slowdown)

    def _prepare(self, job: Job) -> float:
        images = self._images(job)
        digits = DIGITS if self.benchmark.datasets[str(job.dataset)].source == "digits" else 0.0
        return COLD + digits + images.decoded * images.decode_seconds

    def _corrupt(self, job: Job) -> float:
        return CORRUPT + corrupted(self.benchmark, self._images(job)) * self.rates.corrupted[str(job.dataset)]

    def _outliers(self, job: Job) -> float:
        return OUTLIERS + outliers(self.benchmark, self._images(job)) * EACH_OUTLIER

    def _initialize(self, job: Job) -> float:
        return self.rates.stages["initialize"]

    def _prune(self, job: Job) -> float:
        return self.rates.stages["prune"]

    def _rewind(self, job: Job) -> float:
        return self.rates.stages["initialize"]

    def _score(self, job: Job) -> float:
        run = _run(job)
        once = self.rates.scores[run.dataset, run.network, str(run.criterion), run.structure]
        if not self.benchmark.criterion(str(run.criterion)).iterative:
            return once
        most = self.benchmark.network(run.network).most_removable
        return once * (1 + ROUNDS * (9 if most is None else most))

    def _train(self, job: Job) -> float:
        run, images = _run(job), self._images(job)
        epochs = self.benchmark.training.epochs - run.start_epoch
        step, test, start = (self.rates.of(run, name) for name in ("step", "test", "start"))
        return self.rates.stages["train"] + start + epochs * (images.train * step + images.test * test)

    def _attack(self, job: Job) -> float:
        run, settings = _run(job), self.benchmark.attack
        count = min(settings.images or self._images(job).test, self._images(job).test)
        parts = min(settings.autoattack_images or self._images(job).test, self._images(job).test)
        gradient, nearest = self.rates.of(run, "pgd"), self.rates.of(run, "fmn")
        linf, norm = len(settings.epsilons), len(settings.l2_epsilons)
        first = 0 if "pgd" in settings.attacks else 1
        passes = {
            "fgsm": linf * RIGHT,
            "fgsm_l2": norm * RIGHT,
            "pgd": linf * settings.pgd_steps * LEFT,
            "pgd_l2": norm * settings.pgd_steps * LEFT,
            "pgd_restarts": linf * settings.pgd_steps * LEFT * (first + (settings.restarts - 1) * LEFT),
            "transfer": linf * settings.pgd_steps,
            "deepfool": DEEPFOOL * RIGHT,
            "autoattack": len(settings.autoattack_epsilons) * AUTOATTACK * RIGHT * parts / count,
        }
        bounded = sum(passes.get(name, 0.0) for name in settings.attacks)
        minimal = sum(name in ("fmn", "fmn_l2") for name in settings.attacks) * settings.norm_steps * RIGHT
        return self.rates.stages["attack"] + count * (bounded * gradient + minimal * nearest)

    def _shift(self, job: Job) -> float:
        run = _run(job)
        shown = evaluated(self.benchmark, self._images(job)) * self.rates.of(run, "forward")
        return self.rates.stages["shift"] + self.rates.of(run, "forward_start") + shown

    def _compare(self, job: Job) -> float:
        return self.rates.of(_run(job), "compare")

    def _profile(self, job: Job) -> float:
        settings, run = self.benchmark.profile, _run(job)
        memory = self.benchmark.training.batch_size * self.rates.of(run, "memory")
        latency = settings.latency_batch * self.rates.of(run, "forward")
        timed = (settings.rounds + 1) * max(settings.min_seconds, latency) + 4 * latency
        return self.signatures(run) * (timed + memory + self.rates.of(run, "counted"))

    def _results(self, job: Job) -> float:
        once, each = RESULTS[job.rule]
        return once + each * len(self.benchmark.runs())

    def signatures(self, dense: Run) -> float:
        """Architectures that a family's profile tells apart: by how many blocks each of three stages lost.

        Choices that have not been made yet count as drawn from all that are possible.
        """
        wanted = cast(Wildcards, dense)
        tickets = self.benchmark.families[wanted.dataset, wanted.network, str(wanted.seed)]
        choices = {(run.structure, run.removed, run.criterion, run.draw, run.scored_at) for run in tickets}
        apart = 1.0  # masked networks cost what the dense one does
        for removed in {run.removed for run in tickets if run.structure == "layers"}:
            drawn = sum(one[:2] == ("layers", removed) for one in choices)
            possible = comb(removed + 2, 2)
            apart += possible * (1 - (1 - 1 / possible) ** drawn)
        return apart + sum(one[0] == "filters" for one in choices)

    def _images(self, job: Job) -> ImageSet:
        return self.images[str(job.dataset)]


def _run(job: Job) -> Run:
    if job.run is None:
        raise ValueError(f"{job.rule}: no network")
    return job.run
