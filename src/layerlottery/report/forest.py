"""Forest plots: a row per ticket, its difference to dense with interval, −ξ and +ξ; or its difference to a baseline.

The rows are those of a table, drawn with positions in percent: the plot is as wide as the screen, and reads as a table.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from layerlottery.config.naming import is_depths
from layerlottery.report.style import Look, looks
from layerlottery.report.tables import Tables, at_tolerance, group_name
from layerlottery.tables.statistics import UNDECIDED
from layerlottery.words import interval, signed

# rows that a screen and a phone's hold, and the fewest of a network; what is left out stands under Every ticket
SCREEN, PHONE, LEAST = 14, 9, 4
MOST_FIGURES = 3
MARGIN = 0.06
DECIDED = ("better", "worse", "equivalent")


@dataclass(frozen=True)
class Mark:
    """One row; positions are percent of the plot's width.

    `cut` are the sides on which an interval leaves it, or without one the mean. `roomy` rows are left out on a phone.
    """

    name: str
    look: Look
    control: bool
    roomy: bool
    filled: bool
    mean: float
    low: float
    high: float
    cut: str
    text: str
    verdict: str


@dataclass(frozen=True)
class Forest:
    """All rows by dataset and network, with the places of −ξ and +ξ there, under one axis."""

    groups: tuple[tuple[str, tuple[Mark, ...], tuple[float, ...]], ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    left_out: int
    # what all rows have removed, or nothing
    size: str

    @property
    def few(self) -> bool:
        """Whether a phone has room for the tickets' figures."""
        return sum(not mark.control for _, marks, _ in self.groups for mark in marks) <= MOST_FIGURES

    @property
    def roomy(self) -> int:
        """Rows that a phone leaves out."""
        return sum(mark.roomy for _, marks, _ in self.groups for mark in marks)


def forest(tables: Tables, xi: str) -> Forest | None:
    """The most telling tickets and the controls of their size; None where nothing was compared with a dense network."""
    groups = {group: at_tolerance(own.summary, xi) for group, own in tables.by_group.items()}
    groups = {group: rows for group, rows in groups.items() if len(rows)}
    if not groups:
        return None
    most, fewer = (max(LEAST, size // len(groups)) for size in (SCREEN, PHONE))
    shown = {group: telling(rows, most) for group, rows in groups.items()}
    shown = {group: rows.assign(roomy=~rows.index.isin(telling(rows, fewer).index)) for group, rows in shown.items()}
    return _drawn(tables, shown, sum(map(len, groups.values())) - sum(map(len, shown.values())))


def baseline_forest(tables: Tables, control: str) -> Forest | None:
    """All tickets that were compared with a baseline, which `control` names as the table comparisons does."""
    # no tolerance, no winning: a baseline is no dense network
    plain = {"is_control": False, "roomy": False, "winning_holm": False, "learned": True, "xi_points": math.nan}
    named = {"mean": "difference", "verdict_holm": "outcome"}
    shown = {}
    for group, own in tables.by_group.items():
        rows = own.comparisons[own.comparisons["control"] == control]
        if len(rows):
            shown[group] = rows.assign(**plain, **{name: rows[column] for name, column in named.items()})
    return _drawn(tables, shown, 0) if shown else None


def _drawn(tables: Tables, shown: dict[tuple[str, str], pd.DataFrame], left_out: int) -> Forest:
    axis = _Axis.of(pd.concat(shown.values()))
    entries = looks(tables.runs)
    sizes = {size for rows in shown.values() for size in rows["gone"]}
    size = sizes.pop() if len(sizes) == 1 else ""
    marks = [
        (
            group_name(group) if len(shown) > 1 else "",
            tuple(axis.mark(row, entries, size) for row in rows.to_dict("records")),
            axis.edges(rows),
        )
        for group, rows in shown.items()
    ]
    return Forest(tuple(marks), axis.ticks(), axis.place(0), left_out, size)


def telling(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, tickets before controls.

    Where there are more, the families take turns: a criterion with the most blocks removed that is proven to win, else
    with its highest mean. Controls keep a quarter; how they came out must not choose them, so they stand in their own
    order, those of the shown tickets' sizes first, given depths last, of which there are many.
    """
    rows = rows.assign(control=rows["is_control"].astype(bool))
    if len(rows) > most:
        tickets, controls = rows[~rows["control"]], rows[rows["control"]]
        tickets = tickets.assign(kept=tickets["winning_holm"].eq(True))
        tickets = tickets.assign(size=tickets["removed"].where(tickets["kept"], 0))
        tickets = _in_turns(tickets.sort_values(["kept", "size", "mean"], ascending=False, kind="stable"))
        tickets = tickets.head(most - min(most // 4, len(controls)))
        controls = controls.assign(
            other=~controls["gone"].isin(tickets["gone"]), many=controls["criterion"].map(is_depths)
        )
        controls = _in_turns(controls.sort_values(["other", "many", "rank", "removed"], kind="stable"))
        kept = [*tickets.index, *controls.index[: most - len(tickets)]]
        rows = rows.loc[kept].sort_values(["rank", "removed"], kind="stable")
    return rows.sort_values("control", kind="stable")


def _in_turns(rows: pd.DataFrame) -> pd.DataFrame:
    """The first of each family, then the second of each."""
    return rows.loc[rows.groupby("family").cumcount().sort_values(kind="stable").index]


@dataclass(frozen=True)
class _Axis:
    """Percentage points from `low` to `high`."""

    low: float
    high: float
    xi: float

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Axis:
        """Wide enough for the tolerance, and for all intervals but those far outside."""
        xi = float(rows["xi_points"].max())
        xi = 0.0 if math.isnan(xi) else xi
        ends = pd.concat([rows["mean"], rows["low"], rows["high"]]).dropna()
        middle = ends.abs().median()
        widest = max(8 * middle, 3 * xi)
        low, high = (float(end) for end in (max(ends.min(), -widest), min(ends.max(), widest)))
        low, high = min(low, -1.2 * xi, 0), max(high, 1.2 * xi, 0)
        margin = MARGIN * max(high - low, 1e-9)
        return cls(low - margin, high + margin, xi)

    def place(self, value: float) -> float:
        """Percent of the width, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def edges(self, rows: pd.DataFrame) -> tuple[float, ...]:
        """−ξ and +ξ of a network: one standard deviation is another for each."""
        xi = float(rows["xi_points"].max())
        return tuple(self.place(sign * xi) for sign in (-1, 1) if xi > 0)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        values = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        digits = max(0, -math.floor(math.log10(values[1] - values[0])))
        return tuple((self.place(one), signed(one, digits)) for one in values if self.low < one < self.high)

    def mark(self, row: dict[Hashable, Any], entries: dict[str, Look], size: str) -> Mark:
        mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
        known = not math.isnan(low)
        ends = (low, high) if known else (mean, mean)
        sides = ("left" if ends[0] < self.low else "", "right" if ends[1] > self.high else "")
        verdict = str(row["verdict_holm"] or "")
        wins, learned = row["winning_holm"] is True, row["learned"] is not False
        return Mark(
            name=str(row["family"]) if size else f"{row['family']}, {row['gone']}",
            look=entries[str(row["criterion"])],
            control=bool(row["is_control"]),
            roomy=bool(row["roomy"]),
            filled=learned and (wins or verdict in DECIDED),
            mean=self.place(mean),
            low=self.place(ends[0]),
            high=self.place(ends[1]),
            cut=" ".join(filter(None, sides)),
            text=interval(mean, low, high),
            verdict=judged(verdict, wins=wins) if learned else "nothing learned",
        )


def judged(verdict: str, *, wins: bool) -> str:
    """A verdict and whether the ticket wins, in a word or two."""
    if not wins:
        return verdict
    return "wins" if verdict in ("", UNDECIDED) else f"{verdict}, wins"
