"""Layers, filters and weights at equal budget."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.config.naming import family_name, variant_name
from layerlottery.report.charts import Picture, lines, picture, removed_axis, tolerance_lines
from layerlottery.report.facets import Facet
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.style import INK, MUTED, Look, legend, present
from layerlottery.report.tables import (
    GROUP,
    Tables,
    at_tolerance,
    first_starts,
    group_name,
    is_tuned,
)

LOOKS = {"layers": Look(INK, 0), "filters": Look(MUTED, 3, "4 2"), "weights": Look(MUTED, 2, "1 2")}


def structures_picture(tables: Tables, xi: str) -> Picture:
    """A panel per network and criterion with several structures and as many blocks removed, a line per structure."""
    rows = compared(tables, xi)
    facets: list[Facet] = []
    for group, own in tables.by_group.items():
        where = (group_name(group),) if len(tables.by_group) > 1 else ()
        for family, same in compared(own, xi).groupby("family", sort=False):
            if same.groupby("removed")["structure"].nunique().max() > 1:
                facets.append(Facet(f"structure{len(facets)}", "", where, same, (str(family),)))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        tolerance_lines(axes, own)
        lines(axes, own, LOOKS, "removed", by="structure", width=0.3, bar=1.6)
        removed_axis(axes, own)

    return picture("structures", facets, draw, legend(LOOKS, rows, None, by="structure"))


def compared(tables: Tables, xi: str) -> pd.DataFrame:
    """The summary's tickets of every network, criterion and scored weights that removed filters or weights.

    `family` is what all their structures share.
    """
    rows = first_starts(at_tolerance(tables.summary, xi))
    rows = rows[rows["structure"].isin(LOOKS)]
    rows = _shared(rows)
    other = rows["structure"] != "layers"
    rows = rows[other.groupby([rows[name] for name in (*GROUP, "family")]).transform("any")]
    return rows.sort_values(
        ["family", "removed"], key=lambda one: one if one.name == "removed" else pd.factorize(one)[0]
    )


def _shared(rows: pd.DataFrame) -> pd.DataFrame:
    starts = rows["rewind"].where(rows["rewind"].map(is_tuned), "0")
    settings = zip(rows["scored_at"], starts, rows["step"], strict=True)
    variants = (variant_name("layers", *setting) for setting in settings)
    return rows.assign(family=[family_name(*one) for one in zip(rows["criterion"], variants, strict=True)])


def structures_grids(tables: Tables, xi: str) -> list[Grid]:
    """Per network: difference to dense of every structure, and their paired difference to the layer ticket."""
    structures = present(LOOKS, compared(tables, xi), "structure")
    return per_network(tables, "structures", lambda own: _cells(compared(own, xi), own.comparisons, structures))


def _cells(rows: pd.DataFrame, comparisons: pd.DataFrame, structures: list[str]) -> pd.DataFrame:
    paired = _shared(first_starts(comparisons[comparisons["control"] == "layers"]))
    others = [name for name in structures if name != "layers"]
    deltas = pivoted(rows, "structure", interval_cells(rows)).reindex(columns=structures)
    against = pivoted(paired, "structure", interval_cells(paired, "difference")).reindex(columns=others)
    return deltas.add_suffix(", Δ pp").join(against.add_suffix(" to layers, pp"))
