"""Recipes of trainings, one for all networks or one for each, and the level of the path that each has.

The level names the recipe and its settings' hash, so what another recipe made stays beside it, and is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from layerlottery import paths
from layerlottery.config.base import Name, Settings
from layerlottery.config.training import FineTuningSettings, TrainingSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import digest

DEFAULT = "default"
# a start of tickets: the dense network's trained weights, which a recipe of its own fine-tunes
TRAINED = "trained"
DIGITS = 8


def _is_named(given: Any) -> str:
    """Whether recipes are given by name: mappings, of which one may be the default."""
    named = isinstance(given, dict) and (
        DEFAULT in given or any(isinstance(one, dict | Settings) for one in given.values())
    )
    return "<named>" if named else "<one>"


def _laid_over(given: Any) -> Any:
    """Each network's recipe says what differs from the default one."""
    base = given.get(DEFAULT, {}) if isinstance(given, dict) else None
    if not isinstance(base, dict):
        return given
    return {DEFAULT: base} | {name: base | one if isinstance(one, dict) else one for name, one in given.items()}


Training = Annotated[
    Annotated[TrainingSettings, Tag("<one>")]
    | Annotated[dict[Name, TrainingSettings], BeforeValidator(_laid_over), Tag("<named>")],
    Discriminator(_is_named),
]
FineTuning = Annotated[
    Annotated[FineTuningSettings, Tag("<one>")]
    | Annotated[dict[Name, FineTuningSettings], BeforeValidator(_laid_over), Tag("<named>")],
    Discriminator(_is_named),
]


class Recipes(Settings):
    """The recipes of a benchmark's trainings."""

    training: Training = Field(
        TrainingSettings(), description="recipe of every training; or recipes by name: default, and networks' own"
    )
    fine_tuning: FineTuning = Field(
        FineTuningSettings(), description="recipe of tickets that start from trained weights; or recipes by name"
    )

    def recipe(self, network: str) -> TrainingSettings:
        """The recipe that a network is trained by from its first weights."""
        return _of(self.training, network)[1]

    def tuning(self, network: str) -> TrainingSettings:
        """The recipe that its tickets are fine-tuned by."""
        # as a training has it: the same settings, whichever of them are defaults there
        return TrainingSettings.model_validate(_of(self.fine_tuning, network)[1].model_dump())

    def level(self, network: str) -> str:
        """The recipe's level of the path: default-1a2b3c4d."""
        name, recipe = _of(self.training, network)
        return f"{name}-{_hash(recipe)}"

    def start(self, network: str, rewind: int | str) -> str:
        """What tickets start from, as their path has it: 0, 5, random, or trained-1a2b3c4d."""
        return f"{TRAINED}-{_hash(self.tuning(network))}" if rewind == TRAINED else str(rewind)

    def named(self) -> dict[str, set[str]]:
        """The networks that have a recipe of their own, by the key that says so."""
        given = {"training": self.training, "fine_tuning": self.fine_tuning}
        return {key: {*one} - {DEFAULT} for key, one in given.items() if isinstance(one, dict)}


def _of(given: TrainingSettings | Mapping[str, TrainingSettings], network: str) -> tuple[str, TrainingSettings]:
    if isinstance(given, TrainingSettings):
        return DEFAULT, given
    name = network if network in given else DEFAULT
    return name, given[name]


def _hash(recipe: TrainingSettings) -> str:
    return digest(recipe.slice())[:DIGITS]


def check_recipe(output: Path, recipe: TrainingSettings) -> None:
    """Raise LayerLotteryError unless a result's path, if it names a recipe, names this one."""
    named = paths.wildcards(paths.place(output) or "")
    tuned = paths.TUNED.fullmatch(named.get("rewind", ""))
    wanted = tuned["recipe"] if tuned else named.get("recipe", "").rpartition("-")[2]
    if wanted and wanted != (found := _hash(recipe)):
        raise LayerLotteryError(f"{output}: found settings of recipe {found}; allowed there: those of recipe {wanted}")
