"""Accuracy under attack, by strength of the attack."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.series import attack_by_epsilon
from layerlottery.report.style import INK, Draw, Look, Panel, Picture, dots, legend, looks, panel
from layerlottery.report.tables import Tables, dense, spread, tickets, title
from layerlottery.report.words import densities

MOST_DENSITIES = 3


def attack_picture(tables: Tables) -> Picture:
    """One panel per attack and density, dense networks thick."""
    entries = looks(tables.runs)
    panels: list[Panel] = []
    every: set[int] = set()
    for index, group in enumerate(tables.groups()):
        rows = tables.of(group).robustness
        every |= set(tickets(rows)["density"])
        for attack in dict.fromkeys(rows.loc[rows["kind"] == "attack", "name"]):
            series = attack_by_epsilon(rows, attack)
            panels += _panels(series, f"attack{index}{attack}", title(tables, group, attack.upper()), entries)
    if not panels:
        return Picture("attacks", (), (), "Attacks were not evaluated in this benchmark.")
    caption = (
        "Look for tickets that fall faster or slower than the dense network (thick). Means over seeds; steps on the "
        "horizontal axis are not to scale, and 0 are the same images untouched."
    )
    note = f" Of the densities {densities(every)}, at most {MOST_DENSITIES} are drawn an attack."
    return Picture(
        "attacks",
        tuple(panels),
        legend(entries, tuple(entries)),
        caption + (note if len(every) > MOST_DENSITIES else ""),
    )


def _panels(series: pd.DataFrame, name: str, heading: str, entries: dict[str, Look]) -> list[Panel]:
    found = []
    for density in spread(sorted(set(tickets(series)["density"])), MOST_DENSITIES):
        rows = series[series["density"].isin((0, density))]
        draw = _strengths(rows, entries)
        found.append(
            panel(f"{name}x{density}", f"{heading}, p = {density}", "accuracy, %", "accuracy by epsilon", draw)
        )
    return found


def _strengths(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    levels = sorted(set(rows["level"]))

    def draw(axes: Axes) -> None:
        thick = dense(rows)
        axes.plot(
            [levels.index(level) for level in thick["level"]], thick["mean"], color=INK, linewidth=2.6, alpha=0.85
        )
        for family, one in tickets(rows).groupby("family"):
            look = entries[str(family)]
            at = [levels.index(level) for level in one["level"]]
            axes.plot(at, one["mean"], color=look.colour, linewidth=1.1, linestyle=look.line)
            dots(axes, at, one["mean"], look, size=4)
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_ylim(0, 103)
        axes.set_xlabel("ε, in 1/255")

    return draw
