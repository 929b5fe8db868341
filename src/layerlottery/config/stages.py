"""The stage table: each stage's name, the folders that it works in and the files that it makes, stated once.

From it follow the revisions that rules carry as parameters, what the tables are made from, and what `verify`, `show`,
`stale` and `plan` know of a results folder. Rules stay hand-written. A new stage is its module, its rule, its command
and one row here. Nothing here imports torch: the Snakefile reads this in every job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from layerlottery import paths
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.data import Dataset
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.networks import Network
from layerlottery.config.results import ProfileSettings, ReportSettings
from layerlottery.config.studies import AggregateSettings, TabulateSettings
from layerlottery.config.training import TrainingSettings

# every path here is relative to the results folder
HERE = paths.Folders(".")
Naming = Callable[[str], str | list[str]]


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    `revision` is raised by hand when a change of code changes the stage's results: Snakemake then makes them again,
    and all that depends on them. `makes` names the stage's files, by the pattern of the folder that a job is about.
    `settings` is its slice of the configuration, if it has one. `rules` are those that run it. `leaves` names, by the
    same folder, work on its way and what outlives a job: files that Snakemake does not own.
    """

    name: str
    revision: int
    makes: Mapping[str, tuple[Naming, ...]]
    settings: Any = None
    rules: tuple[str, ...] = ()
    leaves: Naming = field(default=lambda folder: [])

    def files(self, pattern: str, folder: str) -> list[str]:
        """Naming that the stage makes in a folder of this pattern."""
        return [file for name in self.makes.get(pattern, ()) for file in _listed(name(folder))]

    def extras(self, folder: str) -> list[str]:
        """The log of a job about a folder, and what else it leaves."""
        return [HERE.log(self.name, folder or "all"), *_listed(self.leaves(folder))]


def _listed(files: str | list[str]) -> list[str]:
    return [files] if isinstance(files, str) else files


def _training_state(folder: str) -> list[str]:
    checkpoint = HERE.checkpoint(folder)
    # of the networks that are trained alike: a pattern, since no path says which these are
    return [*paths.training_state(checkpoint), paths.same_training_lock(checkpoint, "{fingerprint}")]


def _rewinding_state(start: str) -> list[str]:
    dense, _, epoch = start.rpartition("/rewind=")
    return [paths.kept_weights(HERE.kept(dense), epoch), *_training_state(start)]


def _attack_progress(folder: str) -> str:
    return paths.attack_progress(HERE.checkpoint(folder))


# the folder of what all networks share: the results folder itself
BENCHMARK = ""


def _each_network(*files: Naming) -> dict[str, tuple[Naming, ...]]:
    return dict.fromkeys((paths.DENSE, paths.TICKET), files)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("prepare", 4, {paths.DATASET: (paths.prepared, paths.prepared_arrays)}, Dataset, leaves=paths.shards),
        Stage("corrupt", 4, {paths.DATASET: (paths.corrupted_images, paths.corrupted_facts)}, CorruptionSettings),
        Stage("outliers", 2, {paths.DATASET: (paths.outlier_images, paths.outlier_facts)}, OutlierSettings),
        Stage(
            "initialize",
            4,
            {paths.NETWORK: (paths.initial_weights,), paths.FRESH_START: (paths.start_file,)},
            Network,
            ("initialize", "reinitialize"),
        ),
        Stage(
            "score",
            6,
            {paths.SCORED: (paths.scores_by_structure,), paths.ROUND: (paths.scores,)},
            CriterionSettings,
            ("score", "score_weights", "score_round"),
        ),
        Stage(
            "prune",
            5,
            {paths.TICKET: (paths.initial_weights, paths.ticket_facts)},
            rules=("prune", "prune_round"),
        ),
        Stage(
            "train",
            4,
            _each_network(paths.trained),
            TrainingSettings,
            ("train_dense", "train_ticket"),
            leaves=_training_state,
        ),
        Stage("rewind", 4, {paths.START: (paths.start_file,)}, TrainingSettings, leaves=_rewinding_state),
        Stage(
            "attack",
            5,
            _each_network(paths.attack),
            AttackSettings,
            ("attack", "attack_ticket"),
            leaves=_attack_progress,
        ),
        Stage("shift", 5, _each_network(paths.shift, paths.detection), ShiftSettings),
        Stage("compare", 4, {paths.TICKET: (paths.similarity,)}, CompareSettings),
        Stage("profile", 4, {paths.DENSE: (paths.profile,)}, ProfileSettings),
        Stage("aggregate", 9, {BENCHMARK: (lambda _: paths.tables(HERE.tables),)}, AggregateSettings),
        Stage("tabulate", 8, {BENCHMARK: (lambda _: paths.paper_tables(HERE.tables),)}, TabulateSettings),
        Stage("manifest", 2, {BENCHMARK: (lambda _: HERE.manifest(),)}),
        Stage("report", 11, {BENCHMARK: (lambda _: HERE.report(),)}, ReportSettings),
    )
}
STAGE_OF_RULE = {rule: stage for stage in STAGES.values() for rule in stage.rules or (stage.name,)}
# every place, as its own only folder: the files made there are patterns
PLACES = {pattern: [pattern] for stage in STAGES.values() for pattern in stage.makes}
# files named after a start of tickets lie in the folder of the dense network
OWNERS = {paths.START: paths.DENSE, paths.FRESH_START: paths.NETWORK}


def made(places: Mapping[str, list[str]], *, extras: bool = False) -> Iterator[str]:
    """Every file that the stages make in these folders, given by their patterns; with `extras` logs and leavings too.

    Paths are relative to the results folder. A folder may be a pattern itself: the files then are patterns.
    """
    for pattern, folders in places.items():
        for stage in STAGES.values():
            for folder in folders if pattern in stage.makes else ():
                files = stage.files(pattern, folder) + (stage.extras(folder) if extras else [])
                yield from (file.removeprefix("./") for file in files)
