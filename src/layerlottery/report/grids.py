"""The vocabulary of the page's tables: a data frame becomes a grid of cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.report.tables import DENSE, TICKET
from layerlottery.words import ABSENT, at, interval

TONES = {"better": "win", "winning": "win", "agrees": "win", "worse": "lose", "losing": "lose", "disagrees": "lose"}


@dataclass(frozen=True)
class Cell:
    """Text, a CSS class and, in heat maps, a background between -1 and 1."""

    text: str
    tone: str = ""
    heat: float = math.nan

    @property
    def style(self) -> str:
        """Blue above zero, orange below: told apart by every kind of colour vision, and readable in the dark."""
        if math.isnan(self.heat):
            return ""
        colour = "0 114 178" if self.heat > 0 else "230 120 0"
        return f"background: rgb({colour} / {min(1.0, abs(self.heat)) * 0.6:.2f})"


@dataclass(frozen=True)
class Grid:
    """One table; the first column heads the rows."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    remarks: tuple[tuple[str, str], ...] = ()


def grid(
    name: str,
    title: str,
    frame: pd.DataFrame,
    note: str = "",
    *,
    above: Mapping[str, Sequence[Cell]] | None = None,
    remarks: tuple[tuple[str, str], ...] = (),
) -> Grid:
    """The table of a frame of cells or texts, whose index heads the rows; what is missing is a dash.

    Rows are headed by tickets where the index is TICKET; `above` holds further rows.
    """
    first = "ticket" if list(frame.index.names) == TICKET else str(frame.index.name)
    rows = [[Cell(head), *cells] for head, cells in (above or {}).items()]
    rows += [[Cell(_heading(key)), *map(_cell, cells)] for key, *cells in frame.itertuples(name=None)]
    return Grid(name, title, [first, *map(str, frame.columns)], rows, note, remarks)


def _heading(key: Any) -> str:
    if not isinstance(key, tuple):
        return str(key)
    family, removed = key
    return DENSE if family == DENSE else f"{family}, {at(removed)}"


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell(ABSENT if pd.isna(value) else str(value))


def pivoted(rows: pd.DataFrame, columns: str, cells: Sequence[Cell], index: Sequence[str] = TICKET) -> pd.DataFrame:
    """One cell per row as a frame of cells, both ways in order of appearance."""
    held = rows.assign(cell=cells)
    return held.pivot_table(index=list(index), columns=columns, values="cell", aggfunc="first", sort=False)


def interval_cells(rows: pd.DataFrame, mean: str = "mean", *, digits: int = 2) -> list[Cell]:
    """Mean difference and interval of every row, in the tone of its outcome if it has one."""
    tones = map(tone, rows["outcome"]) if "outcome" in rows else [""] * len(rows)
    figures = rows[[mean, "low", "high"]].itertuples(index=False, name=None)
    return [Cell(interval(*one, digits=digits), shade) for one, shade in zip(figures, tones, strict=True)]


def tone(word: str) -> str:
    """The CSS class of an outcome or verdict."""
    return TONES.get(word, "muted")
