"""Layers, filters and weights at equal budget."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.accuracy import BLOCKS_REMOVED, tolerance_lines
from layerlottery.report.grids import Cell, Grid, outcome_cell
from layerlottery.report.style import INK, MUTED, Draw, Look, Picture, bars, dodge, dots, panel, swatch, whole_steps
from layerlottery.report.tables import Tables, at_tolerance, first_starts, group_name, title, within
from layerlottery.words import ABSENT, at, interval

LOOKS = {"layers": Look(INK, 0), "filters": Look(MUTED, 3, "4 2"), "weights": Look(MUTED, 2, "1 2")}
KEYS = ["criterion", "scored_at"]


def structures_picture(tables: Tables, xi: str) -> Picture:
    """A panel per network and criterion with several structures and as many blocks removed, a line per structure."""
    rows = compared(tables, xi)
    many = len(tables.groups()) > 1
    panels = []
    several = [one for one in _by_criterion(tables, rows) if one[2].groupby("removed")["structure"].nunique().max() > 1]
    for index, (group, name, own) in enumerate(several):
        heading = f"{name}, {group_name(group)}" if many else name
        panels.append(
            panel(f"structure{index}", heading, "Δ to dense, pp", "difference by blocks removed", _lines(own))
        )
    held = [(name, swatch(look)) for name, look in LOOKS.items() if name in set(rows["structure"])]
    caption = (
        "Look for which structure loses least at the same budget: as many filters, or as many weights, as the layer "
        "ticket with as many blocks removed keeps. Mark: mean paired difference to dense; bar: its t interval, absent "
        "with one seed; dashed: the tolerance. Criteria with one structure of a size stand in the table alone."
    )
    return Picture("structures", tuple(panels), tuple(held), caption)


def compared(tables: Tables, xi: str) -> pd.DataFrame:
    """The summary's tickets of every network, criterion and scored weights that removed filters or weights."""
    rows = first_starts(at_tolerance(tables.summary, xi))
    other = rows["structure"] != "layers"
    return rows[other.groupby([rows[name] for name in ("dataset", "network", *KEYS)]).transform("any")]


def _by_criterion(tables: Tables, rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], str, pd.DataFrame]]:
    for group in tables.groups():
        for (criterion, scored_at), own in within(rows, group).groupby(KEYS, sort=False):
            yield group, str(criterion) if scored_at == "init" else f"{criterion} (trained)", own


def _lines(rows: pd.DataFrame) -> Draw:
    held = [name for name in LOOKS if name in set(rows["structure"])]

    def draw(axes: Axes) -> None:
        tolerance_lines(axes, rows)
        for structure, offset in zip(held, dodge(len(held), width=0.3), strict=True):
            look, one = LOOKS[structure], rows[rows["structure"] == structure]
            x = one["removed"] + offset
            bars(axes, x, one["delta_low"], one["delta_high"], look)
            axes.plot(x, one["delta_accuracy"], color=look.colour, linestyle=look.line, linewidth=1.1)
            dots(axes, x, one["delta_accuracy"], look)
        whole_steps(axes, rows["removed"].tolist())
        axes.set_xlabel(BLOCKS_REMOVED)

    return draw


def structures_grids(tables: Tables, xi: str) -> list[Grid]:
    """Per network: difference to dense of every structure, and their paired difference to the layer ticket."""
    rows = compared(tables, xi)
    structures = [name for name in LOOKS if name in set(rows["structure"])]
    others = [name for name in structures if name != "layers"]
    heads = ["ticket", *(f"{name}, Δ pp" for name in structures), *(f"{name} to layers, pp" for name in others)]
    paired = first_starts(tables.comparisons[tables.comparisons["control"] == "layers"])
    found = []
    for index, group in enumerate(tables.groups()):
        lines = [
            _line(name, one, within(paired, group), structures, others)
            for key, name, own in _by_criterion(tables, rows)
            if key == group
            for _, one in own.groupby("removed")
        ]
        heading = title(tables, group, "Structures at equal budget")
        found.append(Grid(f"structures{index}", heading, heads, lines, NOTE))
    return [grid for grid in found if grid.rows]


NOTE = (
    "Means over seeds [t interval]; coloured where the paired difference to the layer ticket stands after Holm's "
    "correction."
)


def _line(name: str, rows: pd.DataFrame, paired: pd.DataFrame, structures: list[str], others: list[str]) -> list[Cell]:
    first = rows.iloc[0]
    deltas = {
        row["structure"]: Cell(interval(row["delta_accuracy"], row["delta_low"], row["delta_high"]))
        for row in rows.to_dict("records")
    }
    same = paired[[*KEYS, "removed"]].eq(first[[*KEYS, "removed"]].to_numpy()).all(axis=1)
    against = {row["structure"]: outcome_cell(row) for row in paired[same].to_dict("records")}
    return [
        Cell(f"{name}, {at(first['removed'])}"),
        *(deltas.get(one, Cell(ABSENT)) for one in structures),
        *(against.get(one, Cell(ABSENT)) for one in others),
    ]
