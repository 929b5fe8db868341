"""The base of all settings: strict models, bounded numbers, canonical slices."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from layerlottery.store.hashing import canonical

# every number has an upper end: what lies beyond is a slip, and some would keep a machine busy for ever
MOST = 10**6
Positive = Annotated[float, Field(gt=0, le=MOST)]
NonNegative = Annotated[float, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
# image sets hold millions
Count = Annotated[int, Field(ge=1, le=10**9)]
# columns of tables hold 64 bits with a sign; generators get a hash of the seed
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]

Item = TypeVar("Item")

# YAML's words, and Python's; longer numbers than these are none of a setting's
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NOTHING = ("null", "none", "~")
INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,30})")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]{0,30})(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,4})?")


def _each_once(given: list[Item]) -> list[Item]:
    return list(dict.fromkeys(given))


# a list in which a second one of the same means nothing more than the first
Distinct = Annotated[list[Item], AfterValidator(_each_once)]


def _kinds(annotation: Any) -> set[type]:
    """The plain types that a field takes, alone or in a list: those of its members, and of the literals."""
    if get_origin(annotation) is Literal:
        return {type(one) for one in get_args(annotation)} - {str}
    if get_origin(annotation) is dict:
        return set()
    if not (parts := get_args(annotation)):
        return {annotation} if annotation in (str, int, float, bool, NoneType) else set()
    return set().union(*map(_kinds, parts))


def read_text(value: Any, kinds: Collection[type] = (int, float)) -> Any:
    """Numbers, truth values and null of these kinds that arrive as text, alone or in a list; other text stays."""
    if isinstance(value, list):
        return [read_text(one, kinds) for one in value]
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if NoneType in kinds and (word in NOTHING or not value):
        return None
    # may be meant as it stands, whatever it looks like
    if str in kinds:
        return value
    if bool in kinds and word in BOOLEANS:
        return BOOLEANS[word]
    if not {int, float}.isdisjoint(kinds) and INTEGER.fullmatch(word):
        return int(word)
    return float(word) if float in kinds and NUMBER.fullmatch(word) else value


def read_options(value: Any) -> Any:
    """The same for options, of which no kind is known: what is written as JSON or Python would write it."""
    if isinstance(value, list):
        return [read_options(one) for one in value]
    if isinstance(value, dict):
        return {str(key): read_options(one) for key, one in value.items()}
    if value in ("True", "False"):
        return value == "True"
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return read_text(value)


def later(default: Any, description: str, **limits: Any) -> Any:
    """A field that came after results were made: facts name it only where it is set, and so stay what they were."""
    return Field(default, description=description, exclude_if=lambda value: value == default, **limits)


class Settings(BaseModel):
    """Base of all settings: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for key in given:
            # says more than pydantic's own message: what is allowed
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; allowed: {', '.join(cls.model_fields)}")
        # Snakemake's --config gives every nested value as text, and YAML 1.1 takes 1e-4 for text
        return {key: read_text(value, _kinds(cls.model_fields[key].annotation)) for key, value in given.items()}

    def slice(self) -> str:
        """Canonical JSON without default-valued fields: what Snakemake compares between two runs."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))
