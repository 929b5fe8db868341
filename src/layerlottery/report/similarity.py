"""How much a trained ticket's features resemble the dense network's."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.charts import BY_REMOVED, Picture, lines, lines_over_seeds, name_ends, picture, whole_steps
from layerlottery.report.facets import apart, facets
from layerlottery.report.grids import Cell, Grid, per_network
from layerlottery.report.series import over_seeds
from layerlottery.report.style import GRID, MOST_NAMES, legend, looks
from layerlottery.report.tables import TICKET, Tables, first_starts, is_share
from layerlottery.words import number


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

    panels = apart(facets(tables, rows, "cka"), ["cka"], MOST_NAMES)
    return picture("similarity", panels, draw, legend(entries, rows, None))


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
        name_ends(axes, series, entries, "position")
        axes.set_xlabel("block of the dense network")

    panels = [replace(size, key=one.key) for one in facets(tables, held, "layer") for size in one.sizes(1)]
    return picture("layers", panels, draw, legend(entries, held, None))


def similarity_grids(tables: Tables) -> list[Grid]:
    """CKA at the penultimate layer: a row per family, a column per number of blocks removed."""
    return per_network(tables, "similarity", lambda own: _shades(penultimate(own.similarity)))


def _shades(rows: pd.DataFrame) -> pd.DataFrame:
    means = over_seeds(rows, TICKET, "cka").pivot_table(index="family", columns="gone", values="mean", sort=False)
    order = rows.assign(share=is_share(rows)).sort_values(["share", "removed"])["gone"].unique()
    # a size of which nothing was measured has no column
    return means[[size for size in order if size in means]].map(_shade)


def _shade(value: float) -> Cell:
    return Cell(number(value, 3), "heat", math.nan if math.isnan(value) else max(0.0, value) * 0.8)
