"""Rewinding: the difference to the dense network by the weights that the training starts from."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.naming import family_name, variant_name
from layerlottery.report.charts import Picture, lines, name_ends, picture, ranks, tolerance_lines
from layerlottery.report.facets import facets
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.style import legend, looks
from layerlottery.report.tables import AFTER_ALL, GROUP, Tables, at_tolerance, start_rank
from layerlottery.words import start

MOST_SIZES = 3
KEYS = ["structure", "scored_at", "removed", "step"]


def rewound(tables: Tables, xi: str) -> pd.DataFrame:
    """The summary's tickets with the same structure, scored weights and size that were trained from several starts.

    `variant` and `family` name them without the start, `rank` sorts the starts.
    """
    rows = at_tolerance(tables.summary, xi)
    rows = rows[rows.groupby([*GROUP, *KEYS])["rewind"].transform("nunique") > 1]
    named = zip(rows["structure"], rows["scored_at"], rows["step"], strict=True)
    plain = [variant_name(structure, scored_at, step=step) for structure, scored_at, step in named]
    families = [family_name(*one) for one in zip(rows["criterion"], plain, strict=True)]
    return rows.assign(variant=plain, family=families, rank=rows["rewind"].map(start_rank))


def rewinding_picture(tables: Tables, xi: str) -> Picture:
    """A panel per number of blocks removed and kind of scoring, a line per criterion over the starts."""
    entries = looks(tables.runs)
    rows = rewound(tables, xi)
    # fresh weights are no later start, and trained ones have a recipe of their own, so no line leads to them
    rows = rows.assign(through=rows["mean"].where(rows["rank"] < AFTER_ALL))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        own = own.assign(at=ranks(own["rank"])).sort_values("at", kind="stable")
        starts = list(dict.fromkeys(own["rewind"]))
        tolerance_lines(axes, own)
        lines(axes, own, entries, "at", through="through", width=0.6, bar=1.6)
        axes.set_xticks(range(len(starts)), [start(one) for one in starts])
        axes.set_xlim(-0.55, len(starts) - 0.45)
        name_ends(axes, own, entries, "at")
        axes.set_xlabel("weights that the training starts from")

    panels = [size for one in facets(tables, rows, "rewind") for size in one.sizes(MOST_SIZES)]
    return picture("rewinding", panels, draw, legend(entries, rows))


def rewinding_grids(tables: Tables, xi: str) -> list[Grid]:
    """The same numbers per network: a row per criterion and blocks removed, a column per start."""
    return per_network(tables, "rewinding", lambda own: _starts(rewound(own, xi)))


def _starts(rows: pd.DataFrame) -> pd.DataFrame:
    starts = [start(one) for one in rows.sort_values("rank")["rewind"].unique()]
    rows = rows.assign(start=rows["rewind"].map(start))
    return pivoted(rows, "start", interval_cells(rows))[starts]
