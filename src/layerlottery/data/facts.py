"""What facts.json of a prepared set must say, and what its arrays must look like then."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from layerlottery.errors import LayerLotteryError

Group = Literal["train", "test", "shifted", "held_out"]
Size = Annotated[int, Field(ge=0)]


class SetFacts(BaseModel):
    """Facts that agree with each other; others may stand beside them."""

    model_config = ConfigDict(strict=True, extra="allow")

    source: str
    classes: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    channels: Literal[1, 3]
    image_size: int = Field(ge=1)
    mean: list[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]]
    std: list[Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]]
    counts: dict[Group, Size]
    shifted: dict[str, Annotated[list[Size], Field(min_length=2, max_length=2)]]
    arrays: dict[str, str]
    settings: dict[str, Any]

    @model_validator(mode="after")
    def _agree(self) -> SetFacts:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name stands there twice")
        for key, found in (("mean", self.mean), ("std", self.std)):
            if len(found) != self.channels:
                raise ValueError(f"{key}: {len(found)} numbers found, allowed: {self.channels}, one a channel")
        if missing := [group for group in ("train", "test", "shifted", "held_out") if group not in self.counts]:
            raise ValueError(f"counts: {', '.join(missing)} missing")
        if not (self.counts["train"] and self.counts["test"]):
            raise ValueError("counts: found no training or no test images")
        ends = [0, *(end for _, end in self.shifted.values())]
        starts = [start for start, _ in self.shifted.values()]
        if starts != ends[:-1] or any(a > b for a, b in pairwise(ends)) or ends[-1] != self.counts["shifted"]:
            raise ValueError(f"shifted: sets at {self.shifted} don't make up {self.counts['shifted']} images")
        return self


def check_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise LayerLotteryError naming the first fact that is missing, or can't be true."""
    if missing := sorted(name for name in SetFacts.model_fields if name not in facts):
        raise LayerLotteryError(f"{path}: not the facts of a prepared set, {', '.join(missing)} missing")
    try:
        SetFacts.model_validate(dict(facts))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['input']!r:.60} found, {first['msg']}" if where else first["msg"]
        raise LayerLotteryError(f"{path}: {' '.join(reason.removeprefix('Value error, ').split())}") from None


class ArrayLike(Protocol):
    """What an array and encoded images have in common."""

    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def check_arrays(
    folder: Path, group: Group, images: ArrayLike, labels: npt.NDArray[Any], facts: Mapping[str, Any]
) -> None:
    """Raise LayerLotteryError naming the array of a split that is none of those which the facts describe."""
    count, size = facts["counts"][group], facts["image_size"]
    shape = (count, facts["channels"], size, size)
    for kind, array, form in (("images", images, ("uint8", shape)), ("labels", labels, ("int64", (count,)))):
        if (found := (str(array.dtype), array.shape)) != form:
            path = folder / f"{group}_{kind}.npy"
            raise LayerLotteryError(f"{path}: {found[0]} {found[1]} found, its facts say {form[0]} {form[1]}")
    most = len(facts["classes"])
    lowest, highest = (int(labels.min()), int(labels.max())) if count else (0, 0)
    if lowest < 0 or highest >= most:
        wrong = lowest if lowest < 0 else highest
        raise LayerLotteryError(f"{folder / f'{group}_labels.npy'}: label {wrong} found, allowed: 0 to {most - 1}")
