"""What a ticket saves: two figures and a table."""

from __future__ import annotations

import math
from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.series import cost_by_removed
from layerlottery.report.style import INK, MUTED, Draw, Look, Picture, dots, panel, swatch, whole_steps
from layerlottery.report.tables import STRUCTURES, Tables, at_tolerance, group_name, start_rank, within

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


def cost_of(tables: Tables, xi: str) -> pd.DataFrame:
    """cost_by_removed of every dataset and network, with its name in `group`.

    Tickets that start from a later epoch are left out: their shorter training would pass for a saving.
    """
    rows = at_tolerance(tables.summary, xi)
    rows = rows[rows["rewind"].map(start_rank).isin((0, math.inf))]
    parts = []
    for group, structure in product(tables.groups(), STRUCTURES):
        own = within(rows[rows["structure"] == structure], group)
        if not own.empty:
            parts.append(cost_by_removed(own).assign(group=group_name(group)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


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
    if costs.empty:
        return Picture(name, (), (), caption)
    known = {column: quantity for column, quantity in quantities.items() if costs[column].notna().any()}
    panels = []
    for index, ((group, structure), rows) in enumerate(costs.groupby(["group", "structure"], sort=False)):
        title = str(group) if structure == "layers" else f"{group}, {structure}"
        panels.append(panel(f"{name}{index}", title, unit, f"{name} by blocks removed", _lines(rows, known)))
    missing = [words for column, (words, _) in quantities.items() if column not in known]
    note = f" Not measured: {', '.join(missing)}." if missing else ""
    return Picture(name, tuple(panels), tuple((words, swatch(look)) for words, look in known.values()), caption + note)


def _lines(rows: pd.DataFrame, known: dict[str, tuple[str, Look]]) -> Draw:
    def draw(axes: Axes) -> None:
        for column, (_, look) in known.items():
            axes.vlines(rows["removed"], rows[f"{column}_min"], rows[f"{column}_max"], color=look.colour, linewidth=0.8)
            axes.plot(rows["removed"], rows[column], color=look.colour, linestyle=look.line, linewidth=1.3)
            dots(axes, rows["removed"], rows[column], look)
        whole_steps(axes, rows["removed"].tolist())
        axes.set_xlabel("residual blocks removed (p)")

    return draw
