"""How much a trained ticket's features resemble the dense network's."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.accuracy import BLOCKS_REMOVED
from layerlottery.report.grids import Cell, Grid
from layerlottery.report.series import by_seed, similarity_by_layer, similarity_by_removed
from layerlottery.report.style import (
    GRID,
    Draw,
    Look,
    Panel,
    Picture,
    dodge,
    dots,
    legend,
    looks,
    panel,
    present,
    slimness,
    whole_steps,
)
from layerlottery.report.tables import Tables, first_starts, parts, title
from layerlottery.words import ABSENT, at, number

UNIT = "debiased linear CKA"


def penultimate(similarity: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last features before the classifier."""
    return similarity[similarity["layer"] == "penultimate"]


def removal_picture(tables: Tables) -> Picture:
    """CKA at the penultimate layer against blocks removed."""
    entries = looks(tables.runs)
    rows = first_starts(penultimate(tables.similarity))
    panels = [
        panel(f"cka{part.name}", part.titled(), UNIT, "similarity by blocks removed", _by_removed(part.rows, entries))
        for part in parts(tables, rows)
    ]
    caption = (
        "Look for criteria whose tickets stay close to the dense network (1) as blocks go. Features before the "
        "classifier, of the trained networks on test images. Line: mean over seeds; small marks: single seeds."
    )
    return Picture("similarity", tuple(panels), legend(entries, rows, ""), caption)


def _by_removed(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    series, points = similarity_by_removed(rows), by_seed(rows, ["criterion", "removed"], "cka")
    criteria, slim = present(entries, rows), slimness(len(series))

    def draw(axes: Axes) -> None:
        for criterion, offset in zip(criteria, dodge(len(criteria)), strict=True):
            look, one = entries[criterion], series[series["criterion"] == criterion]
            seeds = points[points["criterion"] == criterion]
            x = one["removed"] + offset
            axes.vlines(x, one["low"], one["high"], color=look.colour, alpha=0.45, linewidth=slim**2)
            dots(axes, seeds["removed"] + offset, seeds["cka"], look, size=3.2 * slim, alpha=0.55)
            axes.plot(x, one["mean"], color=look.colour, linestyle=look.line, linewidth=1.3 * slim)
            dots(axes, x, one["mean"], look, size=6.5 * slim)
        _up_to_one(axes, series)
        whole_steps(axes, rows["removed"].tolist())
        axes.set_xlabel(BLOCKS_REMOVED)

    return draw


def _up_to_one(axes: Axes, series: pd.DataFrame) -> None:
    axes.set_ylim(min(0.9, float(series["low"].min()) - 0.02), 1.01)


def layer_picture(tables: Tables) -> Picture:
    """CKA layer by layer with the most blocks removed of every network and variant."""
    entries = looks(tables.runs)
    held = first_starts(tables.similarity)
    panels: list[Panel] = []
    for part in parts(tables, held):
        removed = part.rows["removed"].max()
        draw = _by_layer(part.rows[part.rows["removed"] == removed], entries)
        panels.append(panel(f"layer{part.name}", part.titled(f"p = {removed}"), UNIT, "similarity by layer", draw))
    caption = (
        "Look for where a ticket leaves the dense network, and whether it comes back. Outputs of the blocks that both "
        "have, by their place in the dense network; the last mark is the layer before the classifier. Means over "
        "seeds with the most blocks removed; thin lines part the stages."
    )
    return Picture("layers", tuple(panels), legend(entries, held, ""), caption)


def _by_layer(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    series = similarity_by_layer(rows)
    edges = rows.groupby(rows["stage"].fillna("penultimate"))["position"].min()

    def draw(axes: Axes) -> None:
        for edge in sorted(edges)[1:]:
            axes.axvline(edge - 0.5, color=GRID, linewidth=1.2)
        for criterion in present(entries, series):
            look, one = entries[criterion], series[series["criterion"] == criterion]
            axes.plot(one["position"], one["mean"], color=look.colour, linestyle=look.line, linewidth=1.1)
            dots(axes, one["position"], one["mean"], look, size=3.4)
        _up_to_one(axes, series)
        whole_steps(axes, rows["position"].tolist())
        axes.set_xlabel("block of the dense network")

    return draw


def similarity_grids(tables: Tables) -> list[Grid]:
    """CKA at the penultimate layer: a row per family, a column per number of blocks removed."""
    found = []
    for index, group in enumerate(tables.groups()):
        rows = penultimate(tables.of(group).similarity)
        counts = sorted(set(rows["removed"]))
        means = by_seed(rows, ["family", "removed"], "cka").groupby(["family", "removed"])["cka"].mean()
        lines = [
            [Cell(family), *(_shade(means.get((family, removed))) for removed in counts)]
            for family in dict.fromkeys(rows["family"])
        ]
        heads = ["family", *map(at, counts)]
        heading = title(tables, group, "Similarity to dense, penultimate layer")
        found.append(Grid(f"similarity{index}", heading, heads, lines, NOTE))
    return [grid for grid in found if grid.rows]


NOTE = "Debiased linear CKA, means over seeds; 1: the same up to rotation and scale, about 0: unrelated."


def _shade(value: float | None) -> Cell:
    return Cell(ABSENT) if value is None or pd.isna(value) else Cell(number(value, 3), "heat", max(0.0, value) * 0.8)
