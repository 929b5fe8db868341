"""A ticket's savings: two figures and a table."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.naming import CALLED
from layerlottery.report.charts import Picture, lines, picture, removed_axis
from layerlottery.report.facets import Facet
from layerlottery.report.grids import Cell, Grid, grid, pivoted
from layerlottery.report.series import cost_by_removed
from layerlottery.report.style import INK, MUTED, Look, legend
from layerlottery.report.tables import STRUCTURES, Tables, at_tolerance, group_name, start_rank
from layerlottery.report.texts import TEXTS
from layerlottery.words import factor, percent

SAVED_LOOKS = Look(INK, 0), Look(INK, 3, "4 2"), Look(MUTED, 1), Look(MUTED, 2, "1 2")
SAVED = dict(zip(TEXTS["savings"].values(), SAVED_LOOKS, strict=True))
FASTER = dict(zip(TEXTS["speedups"].values(), (Look(MUTED, 0, "4 2"), Look(INK, 1), Look(INK, 2, "1 2")), strict=True))


def cost_of(tables: Tables, xi: str) -> pd.DataFrame:
    """cost_by_removed of every dataset and network, with its name and structure in `place`.

    Tickets that start from a later epoch are left out: their shorter training would pass for a saving.
    """
    found = []
    for group, own in tables.by_group.items():
        rows = at_tolerance(own.summary, xi)
        rows = rows[rows["rewind"].map(start_rank).isin((0, math.inf))]
        costs = cost_by_removed(rows).sort_values("structure", key=lambda one: one.map(STRUCTURES.index), kind="stable")
        other = costs["structure"].where(costs["structure"] != "layers").replace(CALLED)
        found.append(costs.assign(place=group_name(group) + (", " + other).fillna("")))
    return pd.concat(found, ignore_index=True)


def savings_picture(costs: pd.DataFrame) -> Picture:
    """Percent saved by blocks removed."""
    return _picture("savings", costs, SAVED)


def speed_picture(costs: pd.DataFrame) -> Picture:
    """Measured speed-ups against what MACs predict."""
    return _picture("speed", costs, FASTER)


def _picture(name: str, costs: pd.DataFrame, looks: dict[str, Look]) -> Picture:
    known = costs.dropna(subset=["mean"])
    names = legend(looks, known, None, by="quantity")
    places = costs.groupby("place", sort=False)
    facets = [Facet(f"{name}{index}", str(place), (), rows) for index, (place, rows) in enumerate(places)]

    def draw(axes: Axes, rows: pd.DataFrame) -> None:
        lines(axes, rows, dict(names), "removed", by="quantity", line=1.3, bar=0.8)
        removed_axis(axes, rows)

    missing = [quantity for quantity in looks if quantity not in dict(names)]
    return picture(name, facets, draw, names, more=f" Not measured: {', '.join(missing)}." if missing else "")


def cost_grids(costs: pd.DataFrame) -> list[Grid]:
    """Savings and speed-ups per network and number of blocks removed."""
    means = zip(costs["quantity"], costs["mean"], strict=True)
    cells = [Cell((percent if quantity in SAVED else factor)(mean)) for quantity, mean in means]
    frame = pivoted(costs, "quantity", cells, ["place", "removed"])
    frame = frame.rename_axis(index=["network", "removed"]).reset_index("removed")
    words = TEXTS["tables"]["costs"]
    return [grid("costs", words["title"], frame, words["note"])] if len(frame) else []
