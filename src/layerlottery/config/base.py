"""The base of all settings: strict models, bounded numbers, canonical slices."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from layerlottery.store.hashing import canonical

# every number has an upper end: what lies beyond is a slip, and some would keep a machine busy for ever
MOST = 10**6
Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=MOST)]
# what every generator of random numbers takes
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]


def _holds_text(annotation: Any) -> bool:
    return annotation is str or any(_holds_text(part) for part in get_args(annotation))


def read_text(value: Any, *, objects: bool = False) -> Any:
    """Values that arrive as text, alone, in a list or, if asked for, within objects, as a YAML file would hold them.

    Python's None, and numbers such as 1e-4, which YAML 1.1 takes for text, are read, too.
    """
    if isinstance(value, list):
        return [read_text(one, objects=objects) for one in value]
    if objects and isinstance(value, dict):
        return {str(key): read_text(one, objects=True) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    with suppress(yaml.YAMLError, ValueError):
        read = yaml.safe_load(value)
        if isinstance(read, bool | int | float):
            return read
    return None if value in ("None", "~") else value


def later(default: Any, description: str, **limits: Any) -> Any:
    """A field that came after results were made: facts name it only where it is set, and so stay what they were."""
    return Field(default, description=description, exclude_if=lambda value: value == default, **limits)


class Settings(BaseModel):
    """Base of all settings: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

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
        texts = {key for key, field in cls.model_fields.items() if _holds_text(field.annotation)}
        return {key: value if key in texts else read_text(value) for key, value in given.items()}

    def slice(self) -> str:
        """Canonical JSON without default-valued fields: what Snakemake compares between two runs."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))
