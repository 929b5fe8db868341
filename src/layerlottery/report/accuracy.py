"""Accuracy against blocks removed, the paired difference, and learning curves."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.charts import (
    BY_REMOVED,
    Picture,
    dense_line,
    direct_labels,
    lines,
    lines_over_seeds,
    name_ends,
    picture,
    removed_axis,
    shared_axis,
    slimness,
    spacing,
    tolerance_lines,
)
from layerlottery.report.facets import Facet, apart, facets, hidden, siblings
from layerlottery.report.forest import judged
from layerlottery.report.grids import Cell, Grid, interval_cells, per_network, pivoted, tone
from layerlottery.report.series import over_seeds
from layerlottery.report.style import BAND, INK, MOST_NAMES, RANDOM, Look, legend, looks
from layerlottery.report.tables import TICKET, Tables, at_tolerance, dense, first_starts, group_name, tickets, within
from layerlottery.report.texts import TEXTS
from layerlottery.report.verdict import tolerance_words
from layerlottery.words import number

MOST_CURVES = 6


def accuracy_picture(tables: Tables) -> Picture:
    """Accuracy of every ticket and seed against blocks removed, with the dense networks as a band."""
    entries = looks(tables.runs)
    rows = first_starts(tables.runs)

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        reference = over_seeds(dense(own), BY_REMOVED, "accuracy")
        for low, mean, high in reference[["low", "mean", "high"]].itertuples(index=False):
            axes.axhspan(low, high, color=INK, alpha=0.1, linewidth=0)
            axes.axhline(mean, color=INK, linewidth=1.8)
        lines_over_seeds(axes, tickets(own), entries, "accuracy")
        shared_axis(axes, own)

    more = TEXTS["notes"]["later"] if len(rows) < len(tables.runs) else ""
    panels = apart(facets(tables, rows, "acc"), ["accuracy"], MOST_NAMES)
    return picture("accuracy", panels, draw, legend(entries, rows, BAND), more=more)


def difference_picture(tables: Tables, xi: str) -> Picture:
    """The mean paired difference of every ticket with its t interval, against zero and the tolerance."""
    entries = looks(tables.runs)
    rows = first_starts(at_tolerance(tables.summary, xi))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        slim = slimness(len(own))
        tolerance_lines(axes, own)
        width = (0.6 if slim == 1 else 0.8) * spacing(own)
        lines(axes, own, entries, "removed", width=width, line=0, mark=7 * slim, bar=1.6 * slim**2)
        removed_axis(axes, own)
        shared_axis(axes, own)

    words = tolerance_words(xi)
    panels = apart(facets(tables, rows, "diff"), ["mean", "low", "high"], MOST_NAMES)
    return picture("difference", panels, draw, legend(entries, rows), tolerance=words)


def tradeoff_picture(tables: Tables, xi: str) -> Picture:
    """Difference to dense against MACs saved, a panel per dataset and network, all with the same axes."""
    entries = looks(tables.runs)
    rows = at_tolerance(tables.summary, xi)
    rows = rows.assign(control=rows["is_control"].astype(bool)).dropna(subset=["macs_reduction", "mean"])
    ends = rows[["mean", "low", "high"]].stack()
    bottom, top = (ends.min(), ends.max()) if len(ends) else (0.0, 0.0)
    margin = 0.06 * max(top - bottom, 0.1)
    named = rows.loc[~rows["control"], "family"].nunique() <= MOST_NAMES
    most, slim = rows["macs_reduction"].max(), slimness(len(rows) // max(1, len(tables.by_group)))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        axes.set_ylim(bottom - margin, top + margin)
        axes.set_xlim(min(0, rows["macs_reduction"].min()) - 0.06 * most, 1.08 * most)
        tolerance_lines(axes, own)
        greyed = {name: Look(RANDOM, look.shape) for name, look in entries.items()}
        for held, known in ((own[own["control"]], greyed), (own[~own["control"]], entries)):
            size = {"width": 0.05 * most, "mark": 6 * slim, "bar": 1.2 * slim}
            lines(axes, held, known, "macs_reduction", line=0, **size)
        chosen = own[~own["control"]] if named else own[:0]
        last = chosen.loc[chosen.groupby("family", sort=False)["macs_reduction"].idxmax()]
        ends = zip(last["mean"], last["family"], last["criterion"], strict=True)
        direct_labels(axes, [(mean, name, entries[one].colour) for mean, name, one in ends])
        axes.set_xlabel("MACs saved, %")

    several = len(tables.by_group) > 1
    panels = [
        Facet(f"tradeoff{place}", group_name(group) if several else "", (), within(rows, group))
        for place, group in enumerate(tables.by_group)
    ]
    return picture("tradeoff", [one for one in panels if len(one.rows)], draw)


def curves_picture(tables: Tables) -> Picture:
    """Test accuracy by epoch, a panel per number of blocks removed; a readable selection where there are many."""
    entries = looks(tables.runs)
    held = [replace(one, rows=_curves(one.rows)) for one in facets(tables, first_starts(tables.curves), "curve")]
    shown = [size for one in held for size in one.sizes(MOST_CURVES // siblings(one, held))]

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        dense_line(axes, own, "epoch")
        lines(axes, own, entries, "epoch", mark=0)
        name_ends(axes, own, entries, "epoch")
        axes.set_ylim(*own[["bottom", "top"]].iloc[0])
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")

    names = legend(entries, first_starts(tables.runs))
    return picture("curves", shown, draw, names, more=hidden(held, shown))


def _curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with the ends of an axis that all sizes share."""
    curves = over_seeds(rows, [*BY_REMOVED, "epoch"], "test_accuracy")
    bottom, top = curves["mean"].quantile(0.08), curves["mean"].max()
    return curves.assign(bottom=bottom, top=top + 0.06 * max(top - bottom, 1))


def summary_grids(tables: Tables) -> list[Grid]:
    """One table per dataset and network: a row per ticket, the verdict at every tolerance."""
    return per_network(tables, "summary", lambda own: _summary(own.summary))


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    first = rows.drop_duplicates(TICKET)
    spread = ["" if pd.isna(sd) else f" ± {number(sd)}" for sd in first["accuracy_sd"]]
    frame = pd.DataFrame(
        {
            "seeds": first["seeds"],
            "accuracy, %": first["accuracy"].map(number) + spread,
            "Δ [low, high], pp": interval_cells(first),
        }
    )
    if first["same_as"].notna().any():
        frame["identical to"] = first["same_as"].fillna("")
    heads = [f"ξ = {'1 sd' if xi == 'sd' else f'{xi} pp'}" for xi in rows["xi"]]
    judged = pivoted(rows.assign(heads=heads), "heads", [_judged(row) for row in rows.to_dict("records")])
    return frame.set_axis(judged.index).join(judged)


def _judged(row: dict[Hashable, Any]) -> Cell:
    if pd.isna(row["won"]):
        return Cell("not computable", "muted")
    if row["learned"] is False:
        return Cell("nothing learned", "muted")
    wins = row["winning_holm"] is True
    word = judged(str(row["verdict_holm"]), wins=wins)
    before = " (wins uncorrected)" if row["winning"] is True and not wins else ""
    return Cell(word + before, "win" if wins else tone(row["verdict_holm"]))
