"""Checks of a benchmark's sections against each other: names that exist, sizes that networks allow, recipes of use.

Each raises ValueError, which names the key, what was found, and what is allowed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from itertools import product
from typing import Any

from layerlottery.config.controls import chooses
from layerlottery.config.criteria import CRITERIA, SCORED_AS, CriterionSettings
from layerlottery.config.networks import NAMES, NetworkSettings
from layerlottery.config.recipes import TRAINED
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import AT_COST, FRESH, TUNED_ON, Run, Study
from layerlottery.config.training import FineTuningSettings


def check_tolerances(benchmark: Any) -> None:
    shown, known = benchmark.report.xi, ", ".join(map(str, benchmark.statistics.xi))
    if shown in benchmark.statistics.xi:
        return
    if "xi" in benchmark.report.model_fields_set:
        raise ValueError(f"report.xi: found {shown}; allowed: the values of statistics.xi ({known})")
    raise ValueError(f"statistics.xi: found {known}; allowed: with {shown}, or set report.xi to one of these")


def check_endpoints(benchmark: Any) -> None:
    """Endpoints that the user names are measured; the default ones count where they are."""
    attacks = [
        name
        for name in (*benchmark.attack.attacks, *benchmark.attack.custom)
        if benchmark.attack.traits(name).kind != "transfer"
    ]
    measured = ["clean", "corruption", "co2", "macs"]
    measured += [f"{name} {level:g}" for name in attacks for level in benchmark.attack.levels(name)]
    given = benchmark.statistics.primary if "primary" in benchmark.statistics.model_fields_set else []
    if unknown := [name for name in given if name not in measured and not name.startswith("shift ")]:
        allowed = f"{', '.join(measured)}, and shift with a test set's name"
        raise ValueError(f"statistics.primary: found {unknown[0]!r}; allowed: {allowed}")


def check_baselines(benchmark: Any) -> None:
    """Every baseline is a criterion that chooses, and that some other one can be compared with."""
    if not benchmark.statistics.baselines:
        return
    known = CRITERIA | benchmark.criteria
    chosen = [run for run in benchmark.runs() if run.criterion and chooses(known[run.criterion])]
    beside = _beside_each_other(chosen)
    run = {run.criterion for run in chosen if run.criterion}
    allowed = ", ".join(sorted(beside)) or _none_beside(run)
    for name in benchmark.statistics.baselines:
        if name not in beside:
            problem = _why_not_beside(name, known, run)
            raise ValueError(f"statistics.baselines: found {name!r}, {problem}; allowed: {allowed}")


def _none_beside(run: Collection[str]) -> str:
    """Why no criterion may be a baseline yet, and which ones there are."""
    if not run:
        return "none, as no study runs a criterion that chooses"
    if len(run) == 1:
        return f"none, as a baseline needs a second criterion and studies run only {min(run)}"
    return f"none, as no two of {', '.join(sorted(run))} remove as much of the same structure with one seed"


def _why_not_beside(name: str, known: Mapping[str, CriterionSettings], run: Container[str | None]) -> str:
    if name not in known:
        return "not a criterion"
    if not chooses(known[name]):
        return "a control, which every ticket is compared with anyway"
    if name not in run:
        return "which no study runs"
    return "but no other criterion removes as much of the same structure"


def _beside_each_other(runs: Sequence[Run]) -> set[str]:
    """Criteria with a ticket that is like another criterion's in all but that."""
    held: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for run in runs:
        # what costs as much as a ticket, and fresh weights, are controls
        if run.criterion and run.rewind != FRESH and run.structure not in (*AT_COST, TUNED_ON):
            start = (run.scored_at, run.rewind, run.step)
            held[run.dataset, run.network, run.seed, run.structure, run.removed, *start].add(run.criterion)
    return {name for names in held.values() if len(names) > 1 for name in names}


def check_criterion(benchmark: Any, study: Study, name: str) -> None:
    settings, key = benchmark.criterion(name), f"studies.{study.name}.criteria: found {name!r}"
    for structure in study.structures:
        if not settings.fits(structure):
            known = sorted(
                other for other in CRITERIA | benchmark.criteria if benchmark.criterion(other).fits(structure)
            )
            raise ValueError(f"{key}, which can't score {structure}; allowed: {', '.join(known)}")
        if problem := settings.unfit(structure):
            raise ValueError(f"criteria.{name}.{problem}")
    if {*study.structures} - {"layers", SHARE, TUNED_ON}:
        _check_budget(benchmark, settings.budget or name)
    if study.data_free and (not settings.formula.data_free or "trained" in study.scored_at):
        known = sorted(other for other in CRITERIA | benchmark.criteria if benchmark.criterion(other).formula.data_free)
        raise ValueError(f"{key} in a data-free study; allowed: {', '.join(known)}, scored at init")


def _check_budget(benchmark: Any, name: str) -> None:
    known = [other for other in CRITERIA | benchmark.criteria if benchmark.criterion(other).fits("layers")]
    if name not in known:
        raise ValueError(f"criteria.budget: found {name!r}; allowed: criteria of layers: {', '.join(known)}")


def check_rewinds(benchmark: Any, study: Study) -> None:
    for network, rewind in product(study.networks, study.rewinds):
        last = benchmark.recipe(network).epochs - 1
        if isinstance(rewind, int) and rewind > last:
            raise ValueError(
                f"studies.{study.name}.rewinds: found {rewind}; training.epochs of {network} is {last + 1}, "
                f"so 0 to {last}, random and trained are allowed"
            )


def check_recipes(benchmark: Any) -> None:
    """A recipe is for a network that some study trains, and fine-tuning for one whose tickets start from it."""
    trained = list(dict.fromkeys(name for study in benchmark.studies for name in study.networks))
    tuned = {name for study in benchmark.studies if TRAINED in study.rewinds for name in study.networks}
    given = benchmark.fine_tuning
    recipes = given.values() if isinstance(given, dict) else [given]
    if any(one != FineTuningSettings() for one in recipes) and not tuned:
        raise ValueError("fine_tuning: found, and no study fine-tunes; allowed: with rewinds: [trained] in a study")
    for key, names in benchmark.named().items():
        for name in names - (tuned if key == "fine_tuning" else {*trained}):
            allowed = ", ".join(["default", *(one for one in trained if key == "training" or one in tuned)])
            raise ValueError(f"{key}: found a recipe for {name!r}, which no study trains; allowed: {allowed}")


def check_devices(benchmark: Any) -> None:
    """A training over several GPUs can't be compiled."""
    count, given = benchmark.resources.gpus_per_training, (benchmark.training, benchmark.fine_tuning)
    recipes = [one for held in given for one in (held.values() if isinstance(held, dict) else [held])]
    if count > 1 and any(one.compile == "always" for one in recipes):
        raise ValueError(
            f"resources.gpus_per_training: found {count} beside compile: always; allowed: 1, or compile: auto or never"
        )


def check_network(benchmark: Any, study: Study, name: str) -> None:
    try:
        network = benchmark.network(name)
    except KeyError as error:
        known = ", ".join([NAMES, *benchmark.networks])
        raise ValueError(f"studies.{study.name}.networks: found {name!r}; allowed: {known}") from error
    most, (key, found) = network.most_removable, study.most_blocks
    if most is not None and found > most:
        raise ValueError(f"{key}: found {found}; {name} gives at most {most}")
    others = [one for one in study.structures if SCORED_AS.get(one, one) != "layers"]
    if others and not isinstance(network, NetworkSettings):
        raise ValueError(
            f"studies.{study.name}.structures: found {others[0]}, which only CIFAR ResNets can lose; "
            f"allowed for {name} is layers"
        )
    filters = [one for one in others if SCORED_AS.get(one, one) == "filters"]
    if filters and isinstance(network, NetworkSettings) and not network.can_lose_filters:
        raise ValueError(
            f"studies.{study.name}.structures: found {filters[0]}, and {name} has shortcut A, whose additions join "
            "layers of different widths; allowed: networks with shortcut B"
        )


def check_names(key: str, found: Sequence[str], allowed: Mapping[str, Any]) -> None:
    for name in found:
        if name not in allowed:
            raise ValueError(f"{key}: found {name!r}; allowed: {', '.join(sorted(allowed))}")
