"""The configuration of a benchmark, and its expansion: one row for every network to train.

A benchmark is a list of studies, a study is a grid. The rows of all studies are united, so a new seed or
study never trains again what exists. This module imports no torch: the Snakefile runs it in every job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.results.hashing import canonical
from layerlottery.settings import (
    CRITERIA,
    AttackSettings,
    CorruptionSettings,
    Count,
    CriterionSettings,
    Dataset,
    EnergySettings,
    Name,
    NetworkSettings,
    ProfileSettings,
    ReportSettings,
    Settings,
    ShiftSettings,
    StatisticsSettings,
    TrainingSettings,
)

Seed = Annotated[int, Field(ge=0)]


class Wildcards(Protocol):
    """What Snakemake hands to an input or parameter function; a Run has the same attributes."""

    dataset: str
    network: str
    seed: str
    criterion: str
    scored_at: str


@dataclass(frozen=True)
class Run:
    """One network to train: a dense one, or a ticket."""

    dataset: str
    network: str
    seed: int
    structure: str = "none"
    criterion: str | None = None
    scored_at: str | None = None
    density: int = 0
    rewind: int = 0

    @property
    def dense(self) -> Run:
        """The dense network that this one is compared with; it shares θ0 and data order."""
        return Run(self.dataset, self.network, self.seed)

    @property
    def scored(self) -> str:
        """The folder of the scores that chose this ticket."""
        return paths.SCORED.format(**asdict(self))

    @property
    def folder(self) -> str:
        """This network's folder inside the results."""
        return (paths.DENSE if self.structure == "none" else paths.TICKET).format(**asdict(self))


class Study(Settings):
    """A grid of tickets; the dense networks that they are compared with come along."""

    name: Name = Field(description="what the study is called")
    datasets: list[Name] = Field(description="names of image sets", min_length=1)
    networks: list[Name] = Field(description="resnet20, resnet32, … or names from networks", min_length=1)
    seeds: list[Seed] = Field(description="one dense network and one ticket of each kind a seed", min_length=1)
    criteria: list[Name] = Field(description="names of criteria", min_length=1)
    densities: list[Count] = Field(description="residual blocks to remove", min_length=1)
    scored_at: list[Literal["init", "trained"]] = Field(["init"], description="score θ0 or the trained weights")
    structures: list[Literal["layers"]] = Field(["layers"], description="what is removed")
    rewinds: list[Literal[0]] = Field([0], description="epoch whose weights a ticket starts from; 0 is θ0")

    def runs(self) -> Iterable[Run]:
        """Dense networks first, then tickets."""
        families = list(product(self.datasets, self.networks, self.seeds))
        yield from (Run(*family) for family in families)
        grid = list(product(self.structures, self.criteria, self.scored_at, self.densities, self.rewinds))
        for family in families:
            for structure, criterion, scored_at, density, rewind in grid:
                yield Run(*family, structure, criterion, scored_at, density, rewind)


def expand(studies: Iterable[Study]) -> list[Run]:
    """All runs of all studies, each once, in the order of the configuration."""
    return list(dict.fromkeys(run for study in studies for run in study.runs()))


class AggregateSettings(Settings):
    """What the tables depend on beside the results themselves."""

    studies: list[Study] = Field(description="the grids whose networks are collected")
    energy: EnergySettings = Field(EnergySettings(), description="from energy to CO2")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="what counts as winning")


class ResourceSettings(Settings):
    """How jobs use the machine; no result depends on it."""

    training_threads: Count = Field(1, description="CPU threads of one training job")
    evaluation_threads: Count = Field(1, description="CPU threads of one scoring, attack or shift job")
    warm_worker: bool = Field(True, description="on this machine, import torch once for all jobs and not in each")


class Benchmark(Settings):
    """A whole configuration file."""

    results: str = Field("results", description="folder for everything that is made", pattern=r"^[^{}\s][^{}\n]*$")
    datasets: dict[Name, Dataset] = Field(description="image sets by name", min_length=1)
    networks: dict[Name, NetworkSettings] = Field({}, description="networks beside resnet20, resnet32, …, by name")
    criteria: dict[Name, CriterionSettings] = Field(
        {}, description="criteria beside the built-in ones, or changes to them"
    )
    studies: list[Study] = Field(description="the grids of tickets", min_length=1)
    training: TrainingSettings = Field(TrainingSettings(), description="recipe of every training")
    attack: AttackSettings = Field(AttackSettings(), description="adversarial examples")
    corruptions: CorruptionSettings = Field(CorruptionSettings(), description="corrupted test sets")
    shift: ShiftSettings = Field(ShiftSettings(), description="evaluation on clean, shifted and corrupted sets")
    profile: ProfileSettings = Field(ProfileSettings(), description="cost of each architecture")
    energy: EnergySettings = Field(EnergySettings(), description="from energy to CO2")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="what counts as winning")
    report: ReportSettings = Field(ReportSettings(), description="the page")
    resources: ResourceSettings = Field(ResourceSettings(), description="how jobs use the machine")

    @model_validator(mode="before")
    @classmethod
    def _complete_criteria(cls, given: Any) -> Any:
        changes = given.get("criteria") if isinstance(given, dict) else None
        if not isinstance(changes, dict):
            return given
        return given | {"criteria": {name: _completed(name, change) for name, change in changes.items()}}

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.report.xi not in self.statistics.xi:
            raise ValueError(f"report.xi: found {self.report.xi}; allowed are the values of statistics.xi")
        names = [study.name for study in self.studies]
        if len(set(names)) < len(names):
            raise ValueError(f"studies: found the names {', '.join(names)}; each study needs its own")
        for study in self.studies:
            _check_names(f"studies.{study.name}.datasets", study.datasets, self.datasets)
            _check_names(f"studies.{study.name}.criteria", study.criteria, CRITERIA | self.criteria)
            for network in study.networks:
                self._check_network(study, network)
        return self

    def _check_network(self, study: Study, name: str) -> None:
        try:
            most = self.network(name).most_removable
        except KeyError as error:
            known = ", ".join(["resnet20, resnet32 and all resnet(6n+2)", *self.networks])
            raise ValueError(f"studies.{study.name}.networks: found {name!r}; allowed: {known}") from error
        if max(study.densities) > most:
            found = max(study.densities)
            raise ValueError(f"studies.{study.name}.densities: found {found}; {name} gives at most {most}")

    def network(self, name: str) -> NetworkSettings:
        """The settings of a network by its name; KeyError when there is none."""
        if name in self.networks:
            return self.networks[name]
        depth = re.fullmatch(r"resnet(\d+)", name)
        if not depth or int(depth[1]) < 8 or (int(depth[1]) - 2) % 6:
            raise KeyError(name)
        return NetworkSettings(depth=int(depth[1]))

    def criterion(self, name: str) -> CriterionSettings:
        """The settings of a criterion by its name."""
        return self.criteria.get(name) or CRITERIA[name]

    def runs(self) -> list[Run]:
        """One row for every network to train."""
        return expand(self.studies)

    @cached_property
    def families(self) -> dict[tuple[str, str, str], list[Run]]:
        """Tickets by the (dataset, network, seed) of their dense network."""
        found: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs():
            members = found.setdefault((run.dataset, run.network, str(run.seed)), [])
            if run.density:
                members.append(run)
        return found

    # what the rules ask for: files that follow from the grid, and each stage's own slice of the configuration

    @property
    def folders(self) -> paths.Folders:
        return paths.Folders(self.results)

    def scored_weights(self, wildcards: Wildcards) -> str:
        """θ0, or the trained weights where the study scores those."""
        name = paths.initial_weights if wildcards.scored_at == "init" else paths.trained_weights
        return name(self.folders.dense.format(**vars_of(wildcards)))

    def family_tickets(self, wildcards: Wildcards) -> list[str]:
        """ticket.json of every ticket of one dense network."""
        tickets = self.families[wildcards.dataset, wildcards.network, str(wildcards.seed)]
        return [paths.ticket_facts(f"{self.results}/{run.folder}") for run in tickets]

    def network_results(self) -> list[str]:
        """Everything that the tables are made from."""
        folders = [f"{self.results}/{run.folder}" for run in self.runs()]
        each = (paths.training_facts, paths.curve, paths.shift, paths.attack)
        files = [file(folder) for folder in folders for file in each]
        for family in self.families.values():
            files += [paths.ticket_facts(f"{self.results}/{run.folder}") for run in family]
            files += {paths.scores(f"{self.results}/{run.scored}"): None for run in family}
            files += [paths.profile(f"{self.results}/{run.folder}") for run in {run.dense for run in family}]
        return files

    def dataset_slice(self, wildcards: Wildcards) -> str:
        return self.datasets[wildcards.dataset].slice()

    def network_slice(self, wildcards: Wildcards) -> str:
        return self.network(wildcards.network).slice()

    def criterion_slice(self, wildcards: Wildcards) -> str:
        return self.criterion(wildcards.criterion).slice()

    def aggregate_slice(self) -> str:
        chosen = AggregateSettings(studies=self.studies, energy=self.energy, statistics=self.statistics)
        return chosen.slice()


def vars_of(wildcards: Wildcards) -> dict[str, str]:
    """The wildcards that name a dense network."""
    return {name: getattr(wildcards, name) for name in ("dataset", "network", "seed")}


def _completed(name: str, change: Any) -> Any:
    if not isinstance(change, dict) or name not in CRITERIA:
        return change
    return CRITERIA[name].model_dump(exclude_defaults=True) | change


def _check_names(key: str, found: Sequence[str], allowed: Mapping[str, Any]) -> None:
    for name in found:
        if name not in allowed:
            raise ValueError(f"{key}: found {name!r}; allowed: {', '.join(sorted(allowed))}")


def load_benchmark(config: Mapping[str, Any]) -> Benchmark:
    """Validate a configuration; raises one line that names the key, what was found and what is allowed."""
    try:
        return Benchmark.model_validate(dict(config))
    except ValidationError as error:
        raise LayerLotteryError(f"configuration: {first_line(error)}") from None


def first_line(error: ValidationError) -> str:
    """The first problem of a validation error, and how many more there are."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        text = "missing; this key is needed"
    elif problem["type"] != "value_error":
        text = f"found {canonical_or_repr(problem['input'])}; {text[0].lower()}{text[1:]}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return " ".join(f"{key}: {text}{more}".removeprefix(": ").split())


def canonical_or_repr(value: Any) -> str:
    """A short text of whatever stood in the configuration."""
    try:
        text = canonical(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
