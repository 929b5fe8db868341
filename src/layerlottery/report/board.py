"""Tables of pages that set results side by side: cells that sort, and become cards on a phone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from layerlottery.config.naming import gone_name
from layerlottery.report.grids import tone as tone_of
from layerlottery.words import ABSENT, MINUS, factor, interval, number

FIGURE = re.compile(rf"[+{MINUS}]?\d|{ABSENT}$")


@dataclass(frozen=True)
class Cell:
    """What a cell shows, by what it sorts (None: by its text) and its CSS class; `drawing` is SVG beside the text."""

    text: str
    sort: float | None = None
    tone: str = ""
    drawing: Markup | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table; a `control` is grey."""

    cells: tuple[Cell, ...]
    control: bool = False


@dataclass(frozen=True)
class Board:
    """One table: the column at `head` names the rows; `name` is its id, `note` stands below it."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    head: int = 0
    sortable: bool = False
    note: str = ""


def texts(name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Board:
    """A table of plain texts, whose first column names the rows; columns of words have the tone `text`."""
    tones = ["" if all(map(FIGURE.match, column)) else "text" for column in zip(*rows, strict=True)]
    cells = [[Cell(text, tone=tone) for text, tone in zip(row, tones, strict=True)] for row in rows]
    return Board(name, title, tuple(columns), tuple(Row(tuple(row)) for row in cells), note=note)


def figure(value: float, digits: int = 1, unit: str = "") -> Cell:
    """A number, or a dash that sorts last."""
    return Cell(number(value, digits) + (unit if not math.isnan(value) else ""), _sort(value))


def ratio(value: float) -> Cell:
    """A speed-up."""
    return Cell(factor(value), _sort(value))


def count(value: float) -> Cell:
    """A whole number, or a dash."""
    return Cell(ABSENT if pd.isna(value) else f"{value:.0f}", _sort(value))


def size(structure: str, removed: int) -> Cell:
    """How much is removed: blocks, or percent of the filters."""
    return Cell(gone_name(structure, removed), float(removed))


def change(mean: float, low: float, high: float) -> Cell:
    """A difference with its interval."""
    return Cell(interval(mean, low, high), _sort(mean))


def verdict(word: Any) -> Cell:
    """A verdict in its colour."""
    return Cell(ABSENT if pd.isna(word) else str(word), None, "" if pd.isna(word) else tone_of(str(word)))


def _sort(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
