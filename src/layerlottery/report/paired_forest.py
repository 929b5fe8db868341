"""A forest of two runs: in each row both differences with their intervals, on one axis for all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from layerlottery.report.texts import TEMPLATES
from layerlottery.words import signed

# of the drawing in paired_forest.svg.j2
WIDTH, MARGIN = 240.0, 8.0
HEIGHTS = {"one": 9.0, "other": 21.0}
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Mark:
    """One run's difference: places on the drawing."""

    name: str
    mean: float
    low: float
    high: float
    y: float


@dataclass(frozen=True)
class Axis:
    """Percentage points from `low` to `high`, with the tolerances that are dashed either side of 0."""

    low: float
    high: float
    tolerances: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float], tolerances: Sequence[float]) -> Axis:
        """The shortest one of whole ends, or of tenths where all is small, that holds 0, the values and tolerances."""
        kept = tuple(sorted({float(one) for one in tolerances if np.isfinite(one)}))
        held = [0.0, *(one for one in values if np.isfinite(one)), *kept, *(-one for one in kept)]
        step = 1.0 if max(held) - min(held) > 2 else 0.1
        low, high = np.floor(min(held) / step) * step, np.ceil(max(held) / step) * step
        return cls(float(low), float(high) if high > low else float(low) + step, kept)

    @property
    def words(self) -> str:
        """Its ends."""
        digits = 0 if self.high - self.low > 2 else 1
        return f"{signed(self.low, digits)} to {signed(self.high, digits)}"

    def at(self, value: float) -> float:
        """The place of a value on the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 2)

    def drawing(self, one: Interval, other: Interval) -> Markup:
        """Both differences, each a mean with the ends of its interval; without an interval the mark alone."""
        marks = [self._mark("one", *one), self._mark("other", *other)]
        lines = [self.at(sign * xi) for xi in self.tolerances if xi for sign in (-1, 1)]
        shown = TEMPLATES.get_template("paired_forest.svg.j2").render(marks=marks, zero=self.at(0), tolerance=lines)
        return Markup(shown)  # noqa: S704 - numbers alone

    def _mark(self, name: str, mean: float, low: float, high: float) -> Mark:
        low, high = (end if np.isfinite(end) else mean for end in (low, high))
        return Mark(name, self.at(mean), self.at(low), self.at(high), HEIGHTS[name])
