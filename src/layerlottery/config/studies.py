"""Studies and their expansion: from grids of tickets to one row for every network to train.

This module imports no torch: the Snakefile runs it in every job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from layerlottery import paths
from layerlottery.config.base import MOST, Count, Distinct, Name, Seed, Settings, later
from layerlottery.config.choices import Structure
from layerlottery.config.criteria import SCORED_AS, Depth
from layerlottery.config.recipes import TRAINED, Recipes
from layerlottery.config.results import EnergySettings, MarginSettings, StatisticsSettings
from layerlottery.config.rounds import PERCENT, SHARE, Rounds

Epoch = Annotated[int, Field(ge=0, le=MOST)]
# structures whose cost is that of a layer ticket
AT_COST = ("filters_at_macs", "dense_at_cost")
# the dense network, which goes through a ticket's fine-tuning whole
TUNED_ON = "dense_tuned"

FRESH = "random"


@dataclass(frozen=True)
class Run:
    """One network to train: a dense one, or a ticket.

    `removed` is all that is gone of a ticket: blocks, or of structure filters_by_share percent of the filters. Where
    it went in rounds, `step` is what went in each, and `round` their number; else `step` is 0, and `round` 1.
    """

    dataset: str
    network: str
    seed: int
    structure: str = "none"
    criterion: str | None = None
    draw: int = 0
    scored_at: str | None = None
    removed: int = 0
    rewind: str = "0"
    recipe: str = ""
    step: int = 0
    round: int = 0

    @property
    def dense(self) -> Run:
        """The dense network that this one is compared with; it shares θ0 and data order."""
        return Run(self.dataset, self.network, self.seed, recipe=self.recipe)

    @property
    def before(self) -> Run | None:
        """The round before this one, of a later round."""
        if self.round < 2:
            return None
        removed = paths.gone(self.structure, self.step, self.round - 1)
        return replace(self, removed=removed, round=self.round - 1)

    @property
    def scored(self) -> str:
        """The folder of the scores that chose this ticket or, in later rounds, the first."""
        return scored_folder(self)

    @property
    def start_epoch(self) -> int:
        """Epochs of the dense training that a rewound ticket does not repeat."""
        return int(self.rewind) if self.rewind.isdigit() else 0

    @property
    def is_tuned(self) -> bool:
        """Whether it starts from trained weights, and is fine-tuned."""
        return paths.TUNED.fullmatch(self.rewind) is not None

    @property
    def rounds(self) -> str:
        """The levels of its path that later rounds have."""
        return "".join(f"/round={number}" for number in range(2, self.round + 1))

    @property
    def folder(self) -> str:
        """This network's folder inside the results."""
        if self.structure == "none":
            return paths.DENSE.format(**vars(self))
        return paths.TICKET.format(**vars(self) | {"step": self.step or self.removed, "rounds": self.rounds})


def scored_folder(run: Any, **changes: str) -> str:
    """The folder of the scores that choose a ticket, of a Run or of Snakemake's wildcards with some changes."""
    values = vars(run) | changes
    structure = SCORED_AS.get(values["structure"], values["structure"])
    trained = "" if values["scored_at"] == "init" else values.get("trained", f"/recipe={values.get('recipe')}")
    return paths.SCORED.format(**values | {"structure": structure, "trained": trained})


# random and random_spread: as many blocks at random, several draws; fresh: a ticket's architecture with new weights;
# architecture: every way to take as many blocks from the stages; dense_at_cost: the dense network, trained for the
# ticket's cost; filters_at_macs: filters gone until as many MACs are saved; dense_tuned: the dense network, fine-tuned
# as often as the ticket was
CONTROLS = ("random", "random_spread", "fresh", "architecture", "dense_at_cost", "filters_at_macs", "dense_tuned")
# those that tickets made in rounds can have
IN_ROUNDS = ("random", "random_spread", "dense_tuned")
Controls = Annotated[
    # names that are stated once, which pydantic reads and mypy does not
    Distinct[Literal["all", *CONTROLS]],  # type: ignore[valid-type]
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "array", "items": {"enum": ["all", *CONTROLS]}}]}),
]
PaperTable = Literal["table1", "table2", "table3", "table4", "table5", "figure3", "pons", "consensus", "complexity"]


def _removed_or_rounds(schema: dict[str, Any]) -> None:
    schema["required"].remove("removed")
    schema["anyOf"] = [{"required": ["removed"]}, {"required": ["rounds"]}]


class Study(Settings):
    """A grid of tickets; the dense networks that they are compared with come along."""

    model_config = ConfigDict(json_schema_extra=_removed_or_rounds)

    name: Name = Field(description="what the study is called")
    datasets: Distinct[Name] = Field(description="names of image sets", min_length=1)
    networks: Distinct[Name] = Field(description="resnet20, resnet32, … or names from networks", min_length=1)
    seeds: Distinct[Seed] = Field(description="one dense network and one ticket of each kind a seed", min_length=1)
    criteria: Distinct[Name] = Field(description="names of criteria", min_length=1)
    removed: Distinct[Count] = Field(
        description="residual blocks to remove, or percent of the filters; an empty list only scores"
    )
    scored_at: Distinct[Literal["init", "trained"]] = Field(
        ["init"], description="score θ0 or the trained weights", min_length=1
    )
    structures: Distinct[Structure] = Field(
        ["layers"],
        description="what is removed: blocks, or as many filters or weights as the layer ticket lacks; "
        "filters_at_macs: filters until as many MACs are saved; dense_at_cost: nothing, but trained for its cost; "
        "dense_tuned: nothing, but fine-tuned as the ticket is",
        min_length=1,
    )
    rewinds: Distinct[Epoch | Literal["random", "trained"]] = Field(
        [0],
        description="epoch whose weights a ticket starts from; 0 is θ0, random fresh weights, trained the weights "
        "after the last epoch, which the recipe fine_tuning trains further",
        min_length=1,
    )
    rounds: Rounds | None = later(
        None, "instead of removed: score, remove and train again and again, each round the result of the one before"
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
    fills: Distinct[PaperTable] = Field([], description="tables and figure of the papers that these tickets fill")

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_key(cls, values: Any) -> Any:
        if isinstance(values, dict) and "densities" in values:
            raise ValueError("densities: now called removed, the numbers of residual blocks to remove")
        return {"removed": []} | values if isinstance(values, dict) and values.get("rounds") is not None else values

    @model_validator(mode="after")
    def _check_dense_controls(self) -> Self:
        if TUNED_ON in self.structures and self.rewinds != [TRAINED]:
            raise ValueError(f"structures: found {TUNED_ON} with rewinds {self.rewinds}; allowed: [{TRAINED}]")
        if late := [one for one in self.rewinds if AT_COST[1] in self.structures and isinstance(one, int) and one]:
            # its training is shortened, and θi belongs to the whole one
            raise ValueError(f"structures: found {AT_COST[1]} with rewinds {late}; allowed: 0, {FRESH}, {TRAINED}")
        return self

    @model_validator(mode="after")
    def _check_rounds(self) -> Self:
        filters = [one for one in self.structures if one == SHARE]
        if self.rounds is None:
            if filters and max(self.removed, default=0) >= PERCENT:
                raise ValueError(f"removed: found {max(self.removed)}; {SHARE} takes percent of the filters, below 100")
            return self
        if self.removed:
            raise ValueError(f"rounds: found beside removed {self.removed}; allowed: one of the two")
        if self.scored_at != [TRAINED]:
            raise ValueError(f"rounds: found scored_at {self.scored_at}; rounds score trained networks: [trained]")
        allowed = [SHARE] if self.rounds.filters else ["layers", TUNED_ON]
        if not {*self.structures} <= {*allowed}:
            raise ValueError(f"rounds: found structures {self.structures}; allowed with {self.rounds.kind}: {allowed}")
        if unfit := {*self.controls} - {"all", *IN_ROUNDS}:
            raise ValueError(f"rounds: found controls {sorted(unfit)}; allowed in rounds: {', '.join(IN_ROUNDS)}")
        return self

    @property
    def families(self) -> list[tuple[str, str, int]]:
        """Dataset, network and seed of every dense network."""
        return list(product(self.datasets, self.networks, self.seeds))

    @property
    def sizes(self) -> list[tuple[int, int, int]]:
        """What is gone of each ticket, what goes in a round of it (0 without rounds), and the number of its rounds."""
        return self.rounds.sizes() if self.rounds else [(removed, 0, 1) for removed in self.removed]

    @property
    def most_blocks(self) -> tuple[str, int]:
        """The key that says how many blocks go at most, and how many: 0 where only filters do."""
        key = "rounds.until" if self.rounds else "removed"
        sizes = [] if {*self.structures} == {SHARE} else self.sizes
        return f"studies.{self.name}.{key}", max((removed for removed, _, _ in sizes), default=0)

    def scorings(self, recipes: Recipes) -> Iterable[Run]:
        """Everything that is scored, as runs that remove nothing."""
        for family in self.families:
            for choice in product(self.structures, self.criteria, range(self.draws), self.scored_at):
                structure, criterion, draw, scored_at = choice
                yield Run(*family, structure, criterion, draw, scored_at, recipe=recipes.level(family[1]))

    def runs(self, recipes: Recipes) -> Iterable[Run]:
        """Dense networks first, then tickets."""
        yield from (Run(*family, recipe=recipes.level(family[1])) for family in self.families)
        for scoring in self.scorings(recipes):
            for (removed, step, number), rewind in product(self.sizes, self.rewinds):
                start = recipes.start(scoring.network, rewind)
                yield replace(scoring, removed=removed, rewind=start, step=step, round=number)


def expand(studies: Iterable[Study], recipes: Recipes) -> list[Run]:
    """All runs of all studies, each once, in the order of the configuration."""
    return list(dict.fromkeys(run for study in studies for run in study.runs(recipes)))


def expand_scorings(studies: Iterable[Study], recipes: Recipes) -> list[Run]:
    """Everything that the studies score, each once; what later rounds score comes with their tickets."""
    return list(dict.fromkeys(run for study in studies for run in study.scorings(recipes)))


class AggregateSettings(Recipes):
    """Settings that the tables depend on, besides the results themselves."""

    studies: list[Study] = Field(description="the grids whose networks are collected")
    energy: EnergySettings = Field(EnergySettings(), description="from energy to CO2")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="what counts as winning")


class TabulateSettings(Recipes):
    """Settings that the paper's tables depend on, besides the result tables."""

    studies: list[Study] = Field(description="the grids whose `fills` say which table holds them")
    margins: MarginSettings = Field(MarginSettings(), description="what counts as agreement")
    statistics: StatisticsSettings = Field(StatisticsSettings(), description="level of the intervals")
