"""Studies and their expansion: from grids of tickets to one row for every network to train.

This module imports no torch: the Snakefile runs it in every job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from layerlottery import paths
from layerlottery.config.base import MOST, Count, Distinct, Name, Seed, Settings, later
from layerlottery.config.criteria import SCORED_AS, Depth, Structure
from layerlottery.config.results import EnergySettings, MarginSettings, StatisticsSettings
from layerlottery.config.training import TrainingSettings

Epoch = Annotated[int, Field(ge=0, le=MOST)]


FRESH = "random"


@dataclass(frozen=True)
class Run:
    """One network to train: a dense one, or a ticket."""

    dataset: str
    network: str
    seed: int
    structure: str = "none"
    criterion: str | None = None
    draw: int = 0
    scored_at: str | None = None
    removed: int = 0
    rewind: str = "0"

    @property
    def dense(self) -> Run:
        """The dense network that this one is compared with; it shares θ0 and data order."""
        return Run(self.dataset, self.network, self.seed)

    @property
    def scored(self) -> str:
        """The folder of the scores that chose this ticket."""
        return scored_folder(self)

    @property
    def start_epoch(self) -> int:
        """Epochs of the dense training that a rewound ticket does not repeat."""
        return 0 if self.rewind == FRESH else int(self.rewind)

    @property
    def folder(self) -> str:
        """This network's folder inside the results."""
        return (paths.DENSE if self.structure == "none" else paths.TICKET).format(**vars(self))


def scored_folder(run: Any, **changes: str) -> str:
    """The folder of the scores that choose a ticket, of a Run or of Snakemake's wildcards with some changes."""
    values = vars(run) | changes
    return paths.SCORED.format(**values | {"structure": SCORED_AS.get(values["structure"], values["structure"])})


# random and random_spread: as many blocks at random, several draws; fresh: a ticket's architecture with new weights;
# architecture: every way to take as many blocks from the stages; dense_at_cost: the dense network, trained for the
# ticket's cost; filters_at_macs: filters gone until as many MACs are saved
CONTROLS = ("random", "random_spread", "fresh", "architecture", "dense_at_cost", "filters_at_macs")
Controls = Annotated[
    Distinct[Literal["all", *CONTROLS]],  # type: ignore[valid-type]
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": {"enum": ["all", *CONTROLS]}}]}),
]
PaperTable = Literal["table1", "table2", "table3", "table4", "table5", "figure3"]


class Study(Settings):
    """A grid of tickets; the dense networks that they are compared with come along."""

    name: Name = Field(description="what the study is called")
    datasets: Distinct[Name] = Field(description="names of image sets", min_length=1)
    networks: Distinct[Name] = Field(description="resnet20, resnet32, … or names from networks", min_length=1)
    seeds: Distinct[Seed] = Field(description="one dense network and one ticket of each kind a seed", min_length=1)
    criteria: Distinct[Name] = Field(description="names of criteria", min_length=1)
    removed: Distinct[Count] = Field(description="residual blocks to remove; an empty list only scores")
    scored_at: Distinct[Literal["init", "trained"]] = Field(
        ["init"], description="score θ0 or the trained weights", min_length=1
    )
    structures: Distinct[Structure] = Field(
        ["layers"],
        description="what is removed: blocks, or as many filters or weights as the layer ticket lacks; "
        "filters_at_macs: filters until as many MACs are saved; dense_at_cost: nothing, but trained for its cost",
        min_length=1,
    )
    rewinds: Distinct[Epoch | Literal["random"]] = Field(
        [0],
        description="epoch whose weights a ticket starts from; 0 is θ0, random fresh weights",
        min_length=1,
    )
    draws: int = Field(
        1, ge=1, le=1000, description="times that each criterion is drawn a seed: random choices, scoring images"
    )
    data_free: bool = Field(False, description="allow only criteria that look at no training image")
    controls: Controls = later([], "controls that its layer tickets get: all, or a list")
    control_draws: int = later(3, "times that controls are drawn at random a seed", ge=1, le=1000)
    depths: list[list[Depth]] = later(
        [], "architecture: blocks to take from each stage, such as [1, 1, 0], and no others; empty: every way there is"
    )
    fills: Distinct[PaperTable] = Field([], description="tables and figure of the paper that these tickets fill")

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_key(cls, values: Any) -> Any:
        if isinstance(values, dict) and "densities" in values:
            raise ValueError("densities: now called removed, the numbers of residual blocks to remove")
        return values

    @property
    def families(self) -> list[tuple[str, str, int]]:
        """Dataset, network and seed of every dense network."""
        return list(product(self.datasets, self.networks, self.seeds))

    def scorings(self) -> Iterable[Run]:
        """Everything that is scored, as runs that remove nothing."""
        for family in self.families:
            for choice in product(self.structures, self.criteria, range(self.draws), self.scored_at):
                structure, criterion, draw, scored_at = choice
                yield Run(*family, structure, criterion, draw, scored_at)

    def runs(self) -> Iterable[Run]:
        """Dense networks first, then tickets."""
        yield from (Run(*family) for family in self.families)
        for scoring in self.scorings():
            for removed, rewind in product(self.removed, self.rewinds):
                yield replace(scoring, removed=removed, rewind=str(rewind))


def expand(studies: Iterable[Study]) -> list[Run]:
    """All runs of all studies, each once, in the order of the configuration."""
    return list(dict.fromkeys(run for study in studies for run in study.runs()))


def expand_scorings(studies: Iterable[Study]) -> list[Run]:
    """Everything that the studies score, each once."""
    return list(dict.fromkeys(run for study in studies for run in study.scorings()))


class AggregateSettings(Settings):
    """Settings that the tables depend on, besides the results themselves."""

    studies: list[Study] = Field(description="the grids whose networks are collected")
    energy: EnergySettings = Field(EnergySettings(), description="from energy to CO2")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="what counts as winning")


class TabulateSettings(Settings):
    """Settings that the paper's tables depend on, besides the result tables."""

    studies: list[Study] = Field(description="the grids whose `fills` say which table holds them")
    training: TrainingSettings = Field(TrainingSettings(), description="recipe, to name the scale of the comparison")
    margins: MarginSettings = Field(MarginSettings(), description="what counts as agreement")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="level of the intervals")
