"""Rewinding: the difference to the dense network by the weights that the training starts from."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.studies import FRESH
from layerlottery.report.accuracy import tolerance_lines
from layerlottery.report.grids import Cell, Grid
from layerlottery.report.style import Draw, Look, Panel, Picture, bars, dodge, dots, legend, looks, panel, present
from layerlottery.report.tables import (
    GROUP,
    Tables,
    at_tolerance,
    parts,
    spread,
    start_rank,
    title,
    variant_name,
    within,
)
from layerlottery.words import ABSENT, at, interval, start

MOST_DENSITIES = 3
KEYS = ["structure", "scored_at", "removed"]


def rewound(tables: Tables, xi: str) -> pd.DataFrame:
    """The summary's tickets with the same structure, scored weights and size that were trained from several starts.

    `variant` is what sets them apart beside the start.
    """
    rows = at_tolerance(tables.summary, xi)
    starts = rows.groupby([*GROUP, *KEYS])["rewind"].transform("nunique")
    rows = rows[starts > 1]
    plain = [variant_name(*key) for key in rows[["structure", "scored_at"]].itertuples(index=False, name=None)]
    return rows.assign(variant=pd.Series(plain, rows.index, dtype=object))


def rewinding_picture(tables: Tables, xi: str) -> Picture:
    """A panel per number of blocks removed and kind of scoring, a line per criterion over the starts."""
    entries = looks(tables.runs)
    rows = rewound(tables, xi)
    panels: list[Panel] = []
    for part in parts(tables, rows):
        for removed in spread(sorted(set(part.rows["removed"])), MOST_DENSITIES):
            draw = _starts(part.rows[part.rows["removed"] == removed], entries)
            name, heading = f"rewind{part.name}x{removed}", part.titled(f"p = {removed}")
            panels.append(panel(name, heading, "Δ to dense, pp", "difference by start of the training", draw))
    caption = (
        "Look for a slope: whether tickets do better from the initial weights (θ0), from those after an epoch of the "
        "dense training (θ25: after 25), or from fresh ones. Mark: mean paired difference; bar: its t interval, "
        "absent with one seed; dashed: the tolerance. Fresh weights test the smaller architecture alone."
    )
    return Picture("rewinding", tuple(panels), legend(entries, rows), caption)


def _starts(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    starts = sorted(set(rows["rewind"]), key=start_rank)
    criteria = present(entries, rows)

    def draw(axes: Axes) -> None:
        tolerance_lines(axes, rows)
        for criterion, offset in zip(criteria, dodge(len(criteria), width=0.6), strict=True):
            look = entries[criterion]
            one = rows[rows["criterion"] == criterion].sort_values("rewind", key=lambda held: held.map(start_rank))
            x = one["rewind"].map(starts.index) + offset
            epochs = one["rewind"] != FRESH
            bars(axes, x, one["delta_low"], one["delta_high"], look)
            axes.plot(x[epochs], one["delta_accuracy"][epochs], color=look.colour, linestyle=look.line, linewidth=1.1)
            dots(axes, x, one["delta_accuracy"], look)
        axes.set_xticks(range(len(starts)), [start(one) for one in starts])
        axes.set_xlim(-0.55, len(starts) - 0.45)
        axes.set_xlabel("weights that the training starts from")

    return draw


def rewinding_grids(tables: Tables, xi: str) -> list[Grid]:
    """The same numbers per network: a row per criterion and blocks removed, a column per start."""
    rows = rewound(tables, xi)
    found = []
    for index, group in enumerate(tables.groups()):
        own = within(rows, group)
        starts = sorted(set(own["rewind"]), key=start_rank)
        lines = [_line(one, starts) for _, one in own.groupby(["criterion", *KEYS], sort=False)]
        heading = title(tables, group, "By start of the training")
        found.append(Grid(f"rewinding{index}", heading, ["ticket", *map(start, starts)], lines, NOTE))
    return [grid for grid in found if grid.rows]


NOTE = "Mean paired difference to dense [t interval], percentage points."


def _line(rows: pd.DataFrame, starts: list[str]) -> list[Cell]:
    first = rows.iloc[0]
    setting = f" ({first['variant']})" if first["variant"] else ""
    cells = {
        row["rewind"]: Cell(interval(row["delta_accuracy"], row["delta_low"], row["delta_high"]))
        for row in rows.to_dict("records")
    }
    heading = Cell(f"{first['criterion']}{setting}, {at(first['removed'])}")
    return [heading, *(cells.get(one, Cell(ABSENT)) for one in starts)]
