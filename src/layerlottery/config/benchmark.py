"""The configuration of a benchmark, and its expansion: one row for every network to train.

A benchmark is a list of studies, a study is a grid. The rows of all studies are united, so a new seed or
study never trains again what exists. This module imports no torch: the Snakefile runs it in every job.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cached_property
from typing import Any, Protocol, Self, cast, get_args

from pydantic import Field, field_validator, model_validator

from layerlottery import paths
from layerlottery.config import checks
from layerlottery.config.base import Distinct, Name, Seed, Settings, later
from layerlottery.config.controls import with_controls
from layerlottery.config.criteria import CRITERIA, SCORED_AS, CriterionSettings
from layerlottery.config.data import Dataset, OfficialCorruptions, OfficialShift
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.live import LoggingSettings
from layerlottery.config.networks import NAMES, CustomSettings, Network, is_named, named_network
from layerlottery.config.recipes import TRAINED, Recipes
from layerlottery.config.resources import ResourceSettings
from layerlottery.config.results import (
    EnergySettings,
    MarginSettings,
    ProfileSettings,
    ReportSettings,
    StatisticsSettings,
)
from layerlottery.config.rounds import SHARE
from layerlottery.config.stages import BENCHMARK, made
from layerlottery.config.studies import (
    AT_COST,
    FRESH,
    TUNED_ON,
    AggregateSettings,
    Run,
    Study,
    TabulateSettings,
    expand,
    expand_scorings,
    scored_folder,
)
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import canonical


class Wildcards(Protocol):
    """The wildcards that Snakemake hands to an input or parameter function; a Run has the same attributes."""

    dataset: str
    network: str
    seed: str
    structure: str
    criterion: str
    draw: str
    scored_at: str
    rewind: str
    recipe: str
    step: str


class Benchmark(Recipes):
    """A whole configuration file."""

    results: str = Field(
        "results", description="folder for everything that is made", pattern=r"^[^{}\s\x00-\x1f][^{}\x00-\x1f]*$"
    )
    extends: str | None = Field(
        None, description="a configuration that this one is laid over; relative to this one's file"
    )
    datasets: dict[Name, Dataset] = Field(description="image sets by name", min_length=1)
    networks: dict[Name, Network] = Field({}, description=f"networks by name, beside {NAMES}")
    criteria: dict[Name, CriterionSettings] = Field(
        {}, description="criteria beside the built-in ones, or changes to them"
    )
    studies: list[Study] = Field(description="the grids of tickets", min_length=1)
    more_seeds: Distinct[Seed] = later(
        [], "seeds that every study gets beside its own; `layerlottery seeds` names them"
    )
    attack: AttackSettings = Field(AttackSettings(), description="adversarial examples")
    corruptions: CorruptionSettings = Field(CorruptionSettings(), description="corrupted test sets")
    outliers: OutlierSettings = Field(OutlierSettings(), description="images of no class, to be told from test images")
    shift: ShiftSettings = Field(ShiftSettings(), description="evaluation on clean, shifted and corrupted sets")
    compare: CompareSettings = Field(CompareSettings(), description="similarity of tickets and dense networks")
    profile: ProfileSettings = Field(ProfileSettings(), description="cost of each architecture")
    energy: EnergySettings = Field(EnergySettings(), description="from energy to CO2")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="what counts as winning")
    margins: MarginSettings = Field(MarginSettings(), description="what counts as agreement with a printed figure")
    report: ReportSettings = Field(ReportSettings(), description="the page")
    resources: ResourceSettings = Field(ResourceSettings(), description="how jobs use the machine")
    logging: LoggingSettings = Field(LoggingSettings(), description="where learning curves can be watched live")

    @field_validator("results")
    @classmethod
    def _one_spelling(cls, folder: str) -> str:
        """The folder as Snakemake spells it: ~ is the home, and out/, ./out and a//b are out and a/b."""
        plain = os.path.normpath(os.path.expanduser(folder))  # noqa: PTH111 - Path raises for ~nobody
        if plain in (".", "..", "/", "//") or plain[0] == "~":
            raise ValueError(f"found {folder!r}; allowed: a folder of its own")
        return plain.removeprefix("/") if plain.startswith("//") else plain

    @model_validator(mode="before")
    @classmethod
    def _complete_criteria(cls, given: Any) -> Any:
        changes = given.get("criteria") if isinstance(given, dict) else None
        if not isinstance(changes, dict):
            return given
        return given | {"criteria": {name: _completed(name, change) for name, change in changes.items()}}

    @model_validator(mode="after")
    def _add_controls(self) -> Self:
        """Each study is followed by the controls that it asks for, and their criteria join the others."""
        for study in self.studies:
            checks.check_names(f"studies.{study.name}.criteria", study.criteria, CRITERIA | self.criteria)
            for network in study.networks:
                checks.check_network(self, study, network)
        seeds = [[*study.seeds, *self.more_seeds] for study in self.studies]
        seeded = [
            study.model_copy(update={"seeds": list(dict.fromkeys(own))})
            for study, own in zip(self.studies, seeds, strict=True)
        ]
        studies, criteria = with_controls(seeded, self.network, self.criterion)
        if own := [name for name, one in criteria.items() if self.criteria.get(name, one) != one]:
            raise ValueError(
                f"criteria.{own[0]}: found other settings than those of the control of this name; rename it"
            )
        # the model is frozen, and this is still its making
        self.__dict__["studies"], self.__dict__["criteria"] = studies, self.criteria | criteria
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        checks.check_tolerances(self)
        checks.check_endpoints(self)
        names = Counter(study.name for study in self.studies)
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"studies: found the name {twice[0]} twice; each study needs its own")
        for study in self.studies:
            checks.check_names(f"studies.{study.name}.datasets", study.datasets, self.datasets)
            checks.check_names(f"studies.{study.name}.criteria", study.criteria, CRITERIA | self.criteria)
            for network in study.networks:
                checks.check_network(self, study, network)
            for name in study.criteria:
                checks.check_criterion(self, study, name)
            checks.check_rewinds(self, study)
        checks.check_recipes(self)
        checks.check_devices(self)
        checks.check_baselines(self)
        return self

    @model_validator(mode="after")
    def _own_code_has_own_names(self) -> Self:
        for name, criterion in self.criteria.items():
            if criterion.is_own and name in CRITERIA:
                raise ValueError(f"criteria.{name}: {name} is built in; a function of your own needs another name")
        for name, network in self.networks.items():
            if isinstance(network, CustomSettings) and is_named(name):
                raise ValueError(f"networks.{name}: {name} is built in; a function of your own needs another name")
        return self

    def network(self, name: str) -> Network:
        """The settings of a network by its name; KeyError when there is none."""
        return self.networks[name] if name in self.networks else named_network(name)

    def criterion(self, name: str) -> CriterionSettings:
        """The settings of a criterion by its name."""
        return self.criteria.get(name) or CRITERIA[name]

    def runs(self) -> list[Run]:
        """One row for every network to train."""
        return expand(self.studies, self)

    @cached_property
    def families(self) -> dict[tuple[str, str, str], list[Run]]:
        """Tickets by the (dataset, network, seed) of their dense network."""
        found: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs():
            members = found.setdefault((run.dataset, run.network, str(run.seed)), [])
            if run.removed:
                members.append(run)
        return found

    # for the rules: files that follow from the grid, and each stage's own slice of the configuration

    @property
    def folders(self) -> paths.Folders:
        return paths.Folders(self.results)

    def scored_weights(self, wildcards: Wildcards) -> str:
        """θ0, or the trained weights where the study scores those."""
        if wildcards.scored_at == "init":
            return paths.initial_weights(self.folders.network.format(**vars(wildcards)))
        return paths.trained_weights(f"{self.results}/{scored_folder(wildcards).partition('/structure=')[0]}")

    def scored_structure(self, wildcards: Wildcards) -> str:
        """What is scored of a network: filters, whichever way their number is found."""
        return SCORED_AS.get(wildcards.structure, wildcards.structure)

    def start_weights(self, wildcards: Wildcards) -> str:
        """The dense network's weights of which a ticket, in rounds the first, keeps a part."""
        return paths.start_weights(self._dense(wildcards), wildcards.rewind)

    def round_before(self, wildcards: Wildcards) -> str:
        """The trained weights of the round before, whose scores choose what goes in this one."""
        return paths.trained_weights(paths.before(self.folders.round.format(**vars(wildcards))))

    def round_inputs(self, wildcards: Wildcards) -> dict[str, str | list[str]]:
        """As `pruning_inputs`, for a later round: from the round before, whose part of θi lies there as well."""
        folder = self.folders.round.format(**vars(wildcards))
        name = paths.trained_weights if paths.TUNED.fullmatch(wildcards.rewind) else paths.initial_weights
        weights = name(paths.before(folder))
        return {"weights": weights, "scores": paths.scores(folder), "budget": [], "data": []}

    def pruning_scores(self, wildcards: Wildcards) -> str:
        """Scores of blocks, filters or weights, which choose what goes."""
        if wildcards.structure == "dense_at_cost":
            return self.budget_scores(wildcards)[0]
        name = paths.element_scores if wildcards.structure == "weights" else paths.scores
        return name(f"{self.results}/{scored_folder(wildcards)}")

    def budget_scores(self, wildcards: Wildcards) -> list[str]:
        """Scores of blocks whose removal sets how many filters or weights may stay; none for layers."""
        return [paths.scores(f"{self.results}/{folder}") for folder in self._budgets(wildcards)]

    def _budgets(self, wildcards: Wildcards) -> list[str]:
        if wildcards.structure in ("layers", SHARE, TUNED_ON):
            return []
        criterion = self.criterion(wildcards.criterion).budget or wildcards.criterion
        return [scored_folder(wildcards, structure="layers", criterion=criterion)]

    def pruning_inputs(self, wildcards: Wildcards) -> dict[str, str | list[str]]:
        """Weights to cut a ticket from, and the scores that decide; one function, called for every job."""
        return {
            "weights": self.start_weights(wildcards),
            "scores": self.pruning_scores(wildcards),
            "budget": self.budget_scores(wildcards),
            # costs depend on the size of the images
            "data": self._sized(wildcards),
        }

    def _sized(self, wildcards: Wildcards) -> list[str]:
        dataset = self.folders.dataset.format(**vars(wildcards))
        return [paths.prepared(dataset)] if wildcards.structure in AT_COST else []

    def kept_epochs(self, wildcards: Wildcards) -> list[int]:
        """Epochs whose weights a dense training keeps, since some study rewinds to them."""
        family = (wildcards.dataset, wildcards.network, str(wildcards.seed))
        return sorted({run.start_epoch for run in self.families[family]} - {0})

    def family_tickets(self, wildcards: Wildcards) -> list[str]:
        """ticket.json of every ticket of one dense network."""
        tickets = self.families[wildcards.dataset, wildcards.network, str(wildcards.seed)]
        # a ticket of one block and the first round of one are the same
        return list(dict.fromkeys(paths.ticket_facts(f"{self.results}/{run.folder}") for run in tickets))

    def places(self) -> dict[str, list[str]]:
        """The folders that the stages work in for this benchmark, below the results folder, by their patterns."""
        runs, scorings = self.runs(), expand_scorings(self.studies, self)
        tickets = [run for run in runs if run.removed]
        scored = [run.scored for run in scorings if run.structure != "weights"]
        scored += [run.scored for run in tickets]
        scored += [folder for run in tickets for folder in self._budgets(cast(Wildcards, run))]
        starts = dict.fromkeys((run, run.rewind) for run in tickets if run.rewind != "0" and not run.is_tuned)
        folders = {
            paths.DATASET: (paths.DATASET.format(dataset=run.dataset) for run in runs),
            paths.NETWORK: (run.dense.folder.rpartition("/recipe=")[0] for run in runs),
            paths.DENSE: (run.dense.folder for run in runs),
            paths.TICKET: (run.folder for run in tickets),
            paths.ROUND: (run.folder for run in tickets if run.round > 1),
            paths.SCORED: scored,
            paths.START: (paths.START.format(**vars(run), epoch=rewind) for run, rewind in starts if rewind != FRESH),
            paths.FRESH_START: (paths.FRESH_START.format(**vars(run)) for run, rewind in starts if rewind == FRESH),
        }
        return {pattern: list(dict.fromkeys(held)) for pattern, held in folders.items()} | {BENCHMARK: [""]}

    def network_results(self) -> list[str]:
        """Every file that the tables are made from: all that the stages make of each network, except weights."""
        places = self.places()
        asked = {run.scored for run in expand_scorings(self.studies, self)}
        scored = [folder for folder in places[paths.SCORED] if folder in asked]
        wanted = {paths.DENSE: places[paths.DENSE], paths.TICKET: places[paths.TICKET], paths.SCORED: scored}
        return [f"{self.results}/{file}" for file in made(wanted) if not file.endswith(".safetensors")]

    def _dense(self, wildcards: Wildcards) -> str:
        return self.folders.dense.format(**vars(wildcards))

    def dataset_slice(self, wildcards: Wildcards) -> str:
        """The settings that prepare reads; corrupted sets belong to the corrupt stage."""
        chosen = self.datasets[wildcards.dataset]
        return chosen.model_copy(update={"official": chosen.official.of(get_args(OfficialShift))}).slice()

    def official_slice(self, wildcards: Wildcards) -> str:
        """The published corrupted sets that may take the place of generated ones."""
        return self.datasets[wildcards.dataset].official.of(get_args(OfficialCorruptions)).slice()

    def network_slice(self, wildcards: Wildcards) -> str:
        return self.network(wildcards.network).slice()

    def untrained_slice(self, wildcards: Wildcards) -> str:
        """The same without trained weights."""
        return self.network(wildcards.network).untrained.slice()

    def weights_option(self, wildcards: Wildcards) -> list[str]:
        """Where the trained weights lie that a network starts from, as an option, if they lie in a file."""
        path = getattr(self.network(wildcards.network), "weights_file", None)
        return [] if path is None else ["--pretrained", str(path)]

    def asked_option(self, wildcards: Wildcards) -> list[str]:
        """The most blocks that a study removes, its key and the network's name, if only the built network has them."""
        key, most = self.most_removed(wildcards.network, wildcards.dataset)
        unknown = self.network(wildcards.network).most_removable is None
        return ["--asked", key, wildcards.network, str(most)] if unknown and most else []

    def asked_arrays(self, wildcards: Wildcards) -> list[str]:
        """Arrays that initialize reads: training images, to count the blocks of a network of which nothing is known."""
        dataset = self.folders.dataset.format(**vars(wildcards))
        return paths.prepared_arrays(dataset, "train") if self.asked_option(wildcards) else []

    def most_removed(self, network: str, dataset: str) -> tuple[str, int]:
        """The key of the study that removes most blocks of a network, and how many these are."""
        own = [study for study in self.studies if network in study.networks and dataset in study.datasets]
        return max((study.most_blocks for study in own), key=lambda found: found[1])

    def recipe_slice(self, wildcards: Wildcards) -> str:
        """The recipe of a dense network or ticket, which its path names."""
        tuned = paths.TUNED.fullmatch(getattr(wildcards, "rewind", ""))
        level, recipe = self.level(wildcards.network), self.recipe(wildcards.network)
        if wildcards.recipe != level:
            raise LayerLotteryError(f"recipe={wildcards.recipe}: allowed in this configuration: recipe={level}")
        if not tuned:
            return recipe.slice()
        if wildcards.rewind != (start := self.start(wildcards.network, TRAINED)):
            raise LayerLotteryError(f"rewind={wildcards.rewind}: allowed in this configuration: rewind={start}")
        return self.tuning(wildcards.network).slice()

    def criterion_slice(self, wildcards: Wildcards) -> str:
        return self.criterion(wildcards.criterion).slice()

    def aggregate_slice(self) -> str:
        return self._sections(AggregateSettings)

    def tabulate_slice(self) -> str:
        return self._sections(TabulateSettings)

    def _sections(self, needed: type[Settings]) -> str:
        """The slice of the sections that these settings consist of."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True, include=set(needed.model_fields)))

    def manifest_slice(self) -> str:
        """The whole configuration, but for what no result depends on; reading it gives the same benchmark."""
        chosen = self.model_dump(
            mode="json", exclude_defaults=True, exclude={"results", "resources", "logging", "criteria"}
        )
        changed = {name: _changes(name, settings) for name, settings in self.criteria.items()}
        criteria = {name: values for name, values in changed.items() if values}
        return canonical(chosen | ({"criteria": criteria} if criteria else {}))


def _completed(name: str, change: Any) -> Any:
    if not isinstance(change, dict) or name not in CRITERIA:
        return change
    return CRITERIA[name].model_dump(exclude_defaults=True) | change


def _changes(name: str, settings: CriterionSettings) -> dict[str, Any]:
    """Changes that `_completed` turns into these settings: a built-in criterion may be set to the model's default."""
    if name not in CRITERIA:
        return settings.model_dump(mode="json", exclude_defaults=True)
    builtin = CRITERIA[name].model_dump(mode="json")
    return {field: value for field, value in settings.model_dump(mode="json").items() if value != builtin[field]}
