"""Accuracy against blocks removed, the paired difference, and learning curves."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.charts import (
    BY_REMOVED,
    DIFFERENCE,
    Picture,
    dense_line,
    lines,
    lines_over_seeds,
    picture,
    removed_axis,
    slimness,
    tolerance_lines,
)
from layerlottery.report.grids import Cell, Grid, grid, interval_cells, pivoted, tone
from layerlottery.report.series import over_seeds
from layerlottery.report.style import BAND, INK, legend, looks
from layerlottery.report.tables import (
    TICKET,
    Tables,
    at_tolerance,
    dense,
    facets,
    first_starts,
    hidden,
    siblings,
    tickets,
    with_difference,
)
from layerlottery.report.verdict import holm_mark, tolerance_words
from layerlottery.words import MINUS, number

MOST_CURVES = 6
SUMMARY_NOTE = (
    "Accuracy: mean ± standard deviation over seeds. Δ: mean paired difference to the dense network with its "
    "t interval. Under each tolerance: the verdict, then how many of the networks won. Starred verdicts stand "
    "after Holm's correction for all tickets of that network."
)


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

    caption = (
        "Look for lines that stay inside or above the grey band: these tickets are as good as the dense network. "
        "Line: mean over seeds. Small marks: single seeds, joined from lowest to highest. "
        "Grey band: lowest to highest dense network, dark line: their mean. "
        "Offsets within a number of blocks only keep the marks apart."
    )
    if len(rows) < len(tables.runs):
        caption += " Tickets that start from later epochs or fresh weights stand under Rewinding."
    return picture(
        "accuracy",
        facets(tables, rows, "acc"),
        draw,
        unit="test accuracy, %",
        label="accuracy by blocks removed",
        legend=legend(entries, rows, BAND),
        caption=caption,
    )


def difference_picture(tables: Tables, xi: str) -> Picture:
    """The mean paired difference of every ticket with its t interval, against zero and the tolerance."""
    entries = looks(tables.runs)
    rows = first_starts(at_tolerance(tables.summary, xi))

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        slim = slimness(len(own))
        tolerance_lines(axes, own)
        width = 0.6 if slim == 1 else 0.8
        lines(axes, own, entries, "removed", width=width, line=0, mark=7 * slim, bar=1.6 * slim**2)
        removed_axis(axes, own)

    caption = (
        f"Look for intervals that lie wholly above the dashed line, {MINUS}ξ: these tickets win "
        f"({tolerance_words(xi)}). Wholly below: they lose. Across it: undecided. "
        "Mark: mean difference to the dense network of the same seed; bar: t interval of that mean, "
        "absent with one seed. The dark line is the dense network."
    )
    return picture(
        "difference",
        facets(tables, rows, "diff"),
        draw,
        unit=DIFFERENCE,
        label="difference by blocks removed",
        legend=legend(entries, rows),
        caption=caption,
    )


def curves_picture(tables: Tables) -> Picture:
    """Test accuracy by epoch, a panel per number of blocks removed; a readable selection where there are many."""
    entries = looks(tables.runs)
    held = [replace(one, rows=_curves(one.rows)) for one in facets(tables, first_starts(tables.curves), "curve")]
    shown = [size for one in held for size in one.sizes(MOST_CURVES // siblings(one, held))]

    def draw(axes: Axes, own: pd.DataFrame) -> None:
        dense_line(axes, own, "epoch")
        lines(axes, own, entries, "epoch", mark=0)
        axes.set_ylim(*own[["bottom", "top"]].iloc[0])
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")

    caption = (
        "Look for tickets that leave the dense network (thick) early and stay below it. Means over seeds. "
        "The axis leaves out the lowest 8 % of all values, the first epochs." + hidden(held, shown)
    )
    return picture(
        "curves",
        shown,
        draw,
        unit="test accuracy, %",
        label="accuracy by epoch",
        legend=legend(entries, first_starts(tables.runs)),
        caption=caption,
    )


def _curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with the ends of an axis that all sizes share."""
    curves = over_seeds(rows, [*BY_REMOVED, "epoch"], "test_accuracy")
    bottom, top = curves["mean"].quantile(0.08), curves["mean"].max()
    return curves.assign(bottom=bottom, top=top + 0.06 * max(top - bottom, 1))


def summary_grids(tables: Tables) -> list[Grid]:
    """One table per dataset and network: a row per ticket, the verdict at every tolerance."""
    return [
        grid(key, heading, _summary(own.summary))
        for key, heading, own in tables.each("summary")
        if not own.summary.empty
    ]


def _summary(summary: pd.DataFrame) -> pd.DataFrame:
    rows = with_difference(summary)
    first = rows.drop_duplicates(TICKET)
    spread = ["" if pd.isna(sd) else f" ± {number(sd)}" for sd in first["accuracy_sd"]]
    frame = pd.DataFrame(
        {
            "seeds": first["seeds"],
            "accuracy, %": first["accuracy"].map(number) + spread,
            "Δ [low, high], pp": interval_cells(first),
        }
    )
    heads = [f"ξ = {'1 sd' if xi == 'sd' else f'{xi} pp'}" for xi in rows["xi"]]
    judged = pivoted(rows.assign(heads=heads), "heads", [_judged(row) for row in rows.to_dict("records")])
    return frame.set_axis(judged.index).join(judged)


def _judged(row: dict[Hashable, Any]) -> Cell:
    if pd.isna(row["won"]):
        return Cell("not computable", "muted")
    return Cell(f"{row['verdict']}{holm_mark(row)} {int(row['won'])}/{row['networks']}", tone(row["verdict"]))
