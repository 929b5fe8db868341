"""What a ticket saves: two figures and a table."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.charts import Picture, lines, picture, removed_axis
from layerlottery.report.grids import Cell, Grid, grid, pivoted
from layerlottery.report.series import cost_by_removed
from layerlottery.report.style import INK, MUTED, Look
from layerlottery.report.tables import STRUCTURES, Facet, Tables, at_tolerance, group_name, start_rank
from layerlottery.words import factor, percent

SAVED = {
    "macs_reduction": ("MACs", Look(INK, 0)),
    "params_reduction": ("parameters", Look(INK, 3, "4 2")),
    "memory_reduction": ("training memory", Look(MUTED, 1)),
    "energy_reduction": ("energy", Look(MUTED, 2, "1 2")),
}
FASTER = {
    "predicted_speedup": ("what MACs predict", Look(MUTED, 0, "4 2")),
    "train_speedup": ("training time", Look(INK, 1)),
    "latency_speedup": ("latency", Look(INK, 2, "1 2")),
}
HEADS = {
    "macs_reduction": "MACs",
    "params_reduction": "parameters",
    "memory_reduction": "memory",
    "energy_reduction": "energy",
    "predicted_speedup": "predicted",
    "train_speedup": "training",
    "latency_speedup": "latency",
}


def cost_of(tables: Tables, xi: str) -> pd.DataFrame:
    """cost_by_removed of every dataset and network, with its name and structure in `place`.

    Tickets that start from a later epoch are left out: their shorter training would pass for a saving.
    """
    found = []
    for group, own in tables.by_group.items():
        rows = at_tolerance(own.summary, xi)
        rows = rows[rows["rewind"].map(start_rank).isin((0, math.inf))]
        costs = cost_by_removed(rows).sort_values("structure", key=lambda one: one.map(STRUCTURES.index), kind="stable")
        other = costs["structure"].where(costs["structure"] != "layers")
        found.append(costs.assign(place=group_name(group) + (", " + other).fillna("")))
    return pd.concat(found, ignore_index=True)


def savings_picture(costs: pd.DataFrame) -> Picture:
    """Percent saved by blocks removed."""
    caption = (
        "Look for how far parameters, memory and energy keep up with the MACs. Means over criteria; "
        "thin bars join the lowest and highest criterion, since parameters and memory depend on which blocks go."
    )
    return _picture("savings", costs, SAVED, "saved, %", caption)


def speed_picture(costs: pd.DataFrame) -> Picture:
    """Measured speed-ups against what MACs predict."""
    caption = (
        "Look for the gap to the dashed line, the speed-up if time were proportional to MACs, 1 / (1 − MACs saved). "  # noqa: RUF001
        "Geometric means over criteria; thin bars join the lowest and highest."
    )
    return _picture("speed", costs, FASTER, "speed-up, dense = 1", caption)


def _picture(
    name: str, costs: pd.DataFrame, quantities: dict[str, tuple[str, Look]], unit: str, caption: str
) -> Picture:
    held = set(costs.dropna(subset=["mean"])["quantity"])
    measured = {one: quantities[one] for one in quantities if one in held}
    places = costs.groupby("place", sort=False)
    facets = [Facet(f"{name}{index}", str(place), (), rows) for index, (place, rows) in enumerate(places)]

    def draw(axes: Axes, rows: pd.DataFrame) -> None:
        looks = {quantity: look for quantity, (_, look) in measured.items()}
        lines(axes, rows, looks, "removed", by="quantity", line=1.3, bar=0.8)
        removed_axis(axes, rows)

    missing = [words for quantity, (words, _) in quantities.items() if quantity not in measured]
    caption += f" Not measured: {', '.join(missing)}." if missing else ""
    label = f"{name} by blocks removed"
    return picture(name, facets, draw, unit=unit, label=label, legend=tuple(measured.values()), caption=caption)


def cost_grids(costs: pd.DataFrame) -> list[Grid]:
    """Savings and speed-ups per network and number of blocks removed."""
    if costs.empty:
        return []
    note = "Savings in percent of the dense network; predicted, training and latency are speed-ups (1 = dense)."
    means = zip(costs["quantity"], costs["mean"], strict=True)
    cells = [Cell((percent if quantity in SAVED else factor)(mean)) for quantity, mean in means]
    frame = pivoted(costs, "quantity", cells, ["place", "removed"])[list(HEADS)].rename(columns=HEADS)
    frame = frame.rename_axis(index=["network", "p"]).reset_index("p")
    return [grid("costs", "Cost by blocks removed", frame, note)]
