"""How much a trained ticket's features resemble the dense network's."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.charts import BY_REMOVED, Picture, lines, lines_over_seeds, picture, whole_steps
from layerlottery.report.grids import Cell, Grid, grid
from layerlottery.report.series import over_seeds
from layerlottery.report.style import GRID, legend, looks
from layerlottery.report.tables import TICKET, Tables, facets, first_starts
from layerlottery.words import at, number

UNIT = "debiased linear CKA"
NOTE = "Debiased linear CKA, means over seeds; 1: the same up to rotation and scale, about 0: unrelated."


def penultimate(similarity: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last features before the classifier."""
    return similarity[similarity["layer"] == "penultimate"]


def removal_picture(tables: Tables) -> Picture:
    """CKA at the penultimate layer against blocks removed."""
    entries = looks(tables.runs)
    rows = first_starts(penultimate(tables.similarity))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        lines_over_seeds(axes, own, entries, "cka")
        _up_to_one(axes, over_seeds(own, BY_REMOVED, "cka"))

    caption = (
        "Look for criteria whose tickets stay close to the dense network (1) as blocks go. Features before the "
        "classifier, of the trained networks on test images. Line: mean over seeds; small marks: single seeds."
    )
    return picture(
        "similarity",
        facets(tables, rows, "cka"),
        draw,
        unit=UNIT,
        label="similarity by blocks removed",
        legend=legend(entries, rows, None),
        caption=caption,
    )


def _up_to_one(axes: Axes, series: pd.DataFrame) -> None:
    axes.set_ylim(min(0.9, float(series["low"].min()) - 0.02), 1.01)


def layer_picture(tables: Tables) -> Picture:
    """CKA layer by layer with the most blocks removed of every network and variant."""
    entries = looks(tables.runs)
    held = first_starts(tables.similarity)

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        edges = own.groupby(own["stage"].fillna("penultimate"))["position"].min()
        for edge in sorted(edges)[1:]:
            axes.axvline(edge - 0.5, color=GRID, linewidth=1.2)
        series = over_seeds(own, ["criterion", "position"], "cka").sort_values("position", kind="stable")
        lines(axes, series, entries, "position", mark=3.4)
        _up_to_one(axes, series)
        whole_steps(axes, own["position"])
        axes.set_xlabel("block of the dense network")

    caption = (
        "Look for where a ticket leaves the dense network, and whether it comes back. Outputs of the blocks that both "
        "have, by their place in the dense network; the last mark is the layer before the classifier. Means over "
        "seeds with the most blocks removed; thin lines part the stages."
    )
    return picture(
        "layers",
        [replace(size, key=one.key) for one in facets(tables, held, "layer") for size in one.sizes(1)],
        draw,
        unit=UNIT,
        label="similarity by layer",
        legend=legend(entries, held, None),
        caption=caption,
    )


def similarity_grids(tables: Tables) -> list[Grid]:
    """CKA at the penultimate layer: a row per family, a column per number of blocks removed."""
    held = tables.each("similarity", "Similarity to dense, penultimate layer")
    return [
        grid(key, heading, _shades(penultimate(own.similarity)), NOTE)
        for key, heading, own in held
        if not own.similarity.empty
    ]


def _shades(rows: pd.DataFrame) -> pd.DataFrame:
    means = over_seeds(rows, TICKET, "cka").pivot_table(index="family", columns="removed", values="mean", sort=False)
    return means.sort_index(axis=1).rename(columns=at).map(_shade)


def _shade(value: float) -> Cell:
    return Cell(number(value, 3), "heat", math.nan if math.isnan(value) else max(0.0, value) * 0.8)
