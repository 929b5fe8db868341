"""The vocabulary of the page's tables: a data frame becomes a grid of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from layerlottery.report.tables import DENSE, TICKET, Tables, group_name
from layerlottery.report.texts import TEXTS
from layerlottery.words import ABSENT, interval

# tables whose rows stand for several tickets
MERGED = ("rewinding", "structures")
TONES = {"better": "win", "equivalent": "win", "agrees": "win", "worse": "lose", "disagrees": "lose"}


@dataclass(frozen=True)
class Cell:
    """Text, a CSS class and, in heat maps, a background between -1 and 1; `ticket`: it names one."""

    text: str
    tone: str = ""
    heat: float = math.nan
    ticket: bool = False

    @property
    def style(self) -> str:
        """Blue above zero, orange below: told apart by every kind of colour vision, and readable in the dark."""
        if math.isnan(self.heat):
            return ""
        colour = "0 114 178" if self.heat > 0 else "230 120 0"
        return f"background: rgb({colour} / {min(1.0, abs(self.heat)) * 0.6:.2f})"


@dataclass(frozen=True)
class Grid:
    """One table; the first column heads the rows. `place` is the dataset and network of its tickets."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    remarks: tuple[tuple[str, str], ...] = ()
    place: str = ""


def per_network(tables: Tables, name: str, make: Callable[[Tables], pd.DataFrame]) -> list[Grid]:
    """One table per dataset and network with the words of texts.toml, whose note the frame's `attrs` fill.

    Where `make` finds nothing there is no table.
    """
    words = TEXTS["tables"][name]
    found = []
    for index, (group, own) in enumerate(tables.by_group.items()):
        cells = make(own)
        if not cells.empty:
            # dataset and network are left out where the page has only one
            alone = words["title"] and len(tables.by_group) == 1
            title = ", ".join(filter(None, [words["title"], "" if alone else group_name(group)]))
            made = grid(f"{name}{index}", title, cells, words["note"].format(**cells.attrs))
            found.append(replace(made, place="" if name in MERGED else group_name(group)))
    return found


def grid(name: str, title: str, cells: pd.DataFrame, note: str = "", remarks: tuple[tuple[str, str], ...] = ()) -> Grid:
    """The table of a frame of cells or texts, whose index (TICKET or one level) heads the rows.

    What is missing is a dash.
    """
    first = "ticket" if list(cells.index.names) == TICKET else str(cells.index.name)
    rows = [[_heading(key), *map(_cell, row)] for key, *row in cells.itertuples(name=None)]
    return Grid(name, title, [first, *map(str, cells.columns)], rows, note, remarks)


def _heading(key: Any) -> Cell:
    family, gone = key if isinstance(key, tuple) else (key, "")
    return Cell(f"{family}, {gone}", ticket=True) if gone else Cell(str(family))


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell(ABSENT if pd.isna(value) else str(value))


def pivoted(rows: pd.DataFrame, columns: str, cells: Sequence[Cell], index: Sequence[str] = TICKET) -> pd.DataFrame:
    """One cell per row as a frame of cells, both ways in order of appearance."""
    held = rows.assign(cell=cells)
    return held.pivot_table(index=list(index), columns=columns, values="cell", aggfunc="first", sort=False)


def below_dense(dense: Sequence[Cell], cells: pd.DataFrame, head: str = DENSE) -> pd.DataFrame:
    """The cells under a row of the dense networks."""
    index = pd.MultiIndex.from_tuples([(head, "")], names=TICKET)
    return pd.concat([pd.DataFrame([list(dense)], index, cells.columns), cells])


def interval_cells(rows: pd.DataFrame, mean: str = "mean", *, digits: int = 2) -> list[Cell]:
    """Mean difference and interval of every row, in the tone of its outcome; the summary's rows in that of `told`."""
    outcomes = rows["outcome"] if "outcome" in rows else told(rows)
    figures = zip(rows[mean], rows["low"], rows["high"], map(tone, outcomes), strict=True)
    return [Cell(interval(middle, low, high, digits), shade) for middle, low, high, shade in figures]


def told(summary: pd.DataFrame) -> list[str]:
    """Whether each ticket of the summary is told apart from its dense network after Holm's correction, and how."""
    apart = summary["p_difference_holm"] < 1 - summary["confidence"]
    signs = zip(apart, summary["delta_accuracy"], strict=True)
    return [("better" if change > 0 else "worse") if clear else "undecided" for clear, change in signs]


def tone(word: str) -> str:
    """The CSS class of an outcome or verdict."""
    return TONES.get(word, "muted")
