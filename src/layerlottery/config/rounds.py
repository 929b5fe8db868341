"""Rounds of a study: how much each removes, and how far they go."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from layerlottery.config.base import MOST, Count, Settings
from layerlottery.paths import gone

Share = Annotated[float, Field(gt=0, lt=1)]
SHARE = "filters_by_share"
PERCENT = 100
# of sums of fractions
SLIP = 1e-9


class Rounds(Settings):
    """Score, remove, train, and the same again with the result: so many blocks, or a share of filters, a round."""

    blocks: Count | None = Field(None, description="residual blocks that go in each round")
    filters: Share | None = Field(
        None, description="share of the filters left that goes in each round; whole percent, such as 0.2"
    )
    until: Annotated[float, Field(gt=0, le=MOST)] = Field(
        description="where rounds end: blocks gone in all, or the share of the filters"
    )

    @property
    def kind(self) -> str:
        """The key that says what goes."""
        return "blocks" if self.blocks else "filters"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.blocks is None) == (self.filters is None):
            found = "both blocks and filters" if self.blocks else "neither blocks nor filters"
            raise ValueError(f"found {found}; allowed: one of them")
        if self.blocks and (self.until % self.blocks or self.until < self.blocks):
            raise ValueError(f"until: found {self.until:g}; allowed: a multiple of blocks, {self.blocks}")
        if self.filters and not self.filters <= self.until < 1:
            raise ValueError(f"until: found {self.until:g}; allowed: from filters, {self.filters:g}, to below 1")
        if self.filters and abs(self.step - PERCENT * self.filters) > PERCENT * SLIP:
            near = max(self.step, 1) / PERCENT
            raise ValueError(f"filters: found {self.filters:g}; allowed: whole percent, such as {near}")
        sizes = [size for size, _, _ in self.sizes()]
        if len({*sizes}) < len(sizes):
            twice = next(size for size in sizes if sizes.count(size) > 1)
            raise ValueError(
                f"filters: found {self.filters:g}; two rounds would end at {twice} % of the filters; take more"
            )
        return self

    @property
    def step(self) -> int:
        """Blocks, or percent of the filters left, that go in a round."""
        return self.blocks or round(PERCENT * (self.filters or 0))

    def sizes(self) -> list[tuple[int, int, int]]:
        """What is gone after each round, what goes in it, and its number from 1."""
        if self.blocks:
            last = round(self.until / self.blocks)
        else:
            last = math.floor(math.log(1 - self.until) / math.log(1 - self.step / PERCENT) + SLIP)
        structure = "layers" if self.blocks else SHARE
        return [(gone(structure, self.step, number), self.step, number) for number in range(1, last + 1)]
