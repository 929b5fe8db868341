"""Accuracy under attack, by strength of the attack."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.series import attack_by_epsilon
from layerlottery.report.style import INK, Draw, Look, Panel, Picture, dots, legend, looks, panel, present
from layerlottery.report.tables import Part, Tables, dense, first_starts, parts, spread, tickets
from layerlottery.report.words import densities

MOST_DENSITIES = 3


def attack_picture(tables: Tables) -> Picture:
    """One panel per attack and density, dense networks thick; a readable selection where there are many."""
    entries = looks(tables.runs)
    rows = tables.robustness[tables.robustness["kind"] == "attack"]
    held = parts(tables, first_starts(rows))
    panels: list[Panel] = []
    hidden = False
    for part in held:
        most = max(1, MOST_DENSITIES // sum(one.group == part.group for one in held))
        panels += _panels(part, most, entries)
        hidden |= tickets(part.rows)["density"].nunique() > most
    caption = (
        "Look for tickets that fall faster or slower than the dense network (thick). Means over seeds; steps on the "
        "horizontal axis are not to scale, and 0 are the same images untouched."
    )
    every = densities(tickets(rows)["density"])
    caption += f" Of the densities {every}, at most {MOST_DENSITIES} are drawn a network and attack." if hidden else ""
    return Picture("attacks", tuple(panels), legend(entries, first_starts(rows)), caption)


def _panels(part: Part, most: int, entries: dict[str, Look]) -> list[Panel]:
    found = []
    for attack in dict.fromkeys(part.rows["name"]):
        series = attack_by_epsilon(part.rows, attack)
        for density in spread(sorted(set(tickets(series)["density"])), most):
            draw = _strengths(series[series["density"].isin((0, density))], entries)
            name, heading = f"attack{part.name}{attack}x{density}", part.titled(f"{attack.upper()}, p = {density}")
            found.append(panel(name, heading, "accuracy, %", "accuracy by epsilon", draw))
    return found


def _strengths(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    levels = sorted(set(rows["level"]))

    def draw(axes: Axes) -> None:
        thick = dense(rows)
        axes.plot(
            [levels.index(level) for level in thick["level"]], thick["mean"], color=INK, linewidth=2.6, alpha=0.85
        )
        for criterion in present(entries, rows):
            look, one = entries[criterion], rows[rows["criterion"] == criterion]
            at = [levels.index(level) for level in one["level"]]
            axes.plot(at, one["mean"], color=look.colour, linewidth=1.1, linestyle=look.line)
            dots(axes, at, one["mean"], look, size=4)
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_ylim(0, 103)
        axes.set_xlabel("ε, in 1/255")

    return draw
