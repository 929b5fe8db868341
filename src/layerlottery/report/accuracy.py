"""Accuracy against density, the paired difference, and learning curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.series import accuracy_by_density, curves_by_epoch
from layerlottery.report.style import (
    INK,
    MUTED,
    Draw,
    Look,
    Panel,
    Picture,
    dodge,
    dots,
    legend,
    looks,
    panel,
    slimness,
    whole_steps,
)
from layerlottery.report.tables import Tables, at_tolerance, dense, group_name, spread, tickets, title
from layerlottery.report.verdict import tolerance_words
from layerlottery.report.words import MINUS, densities

MOST_CURVES = 6


def accuracy_picture(tables: Tables) -> Picture:
    """Accuracy of every ticket and seed against density, with the dense networks as a band."""
    entries = looks(tables.runs)
    panels = []
    for index, group in enumerate(tables.groups()):
        own = tables.of(group)
        if not tickets(own.runs).empty:
            draw = _accuracy(own.runs, entries)
            panels.append(panel(f"acc{index}", group_name(group), "test accuracy, %", "accuracy by density", draw))
    caption = (
        "Look for lines that stay inside or above the grey band: these tickets are as good as the dense network. "
        "Line: mean over seeds. Small marks: single seeds, joined from lowest to highest. "
        "Grey band: lowest to highest dense network, dark line: their mean. "
        "Offsets within a density only keep the marks apart."
    )
    return Picture("accuracy", tuple(panels), legend(entries, tuple(entries), "band"), caption)


def _accuracy(runs: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    rows = tickets(runs)
    series, reference = accuracy_by_density(rows), accuracy_by_density(dense(runs))
    families = [family for family in entries if family in set(rows["family"])]

    slim = slimness(len(series))

    def draw(axes: Axes) -> None:
        for low, mean, high in reference[["low", "mean", "high"]].itertuples(index=False):
            axes.axhspan(low, high, color=INK, alpha=0.1, linewidth=0)
            axes.axhline(mean, color=INK, linewidth=1.8)
        for family, offset in zip(families, dodge(len(families)), strict=True):
            look, one = entries[family], series[series["family"] == family]
            seeds = rows[rows["family"] == family]
            x = one["density"] + offset
            axes.vlines(x, one["low"], one["high"], color=look.colour, alpha=0.45, linewidth=slim**2)
            dots(axes, seeds["density"] + offset, seeds["accuracy"], look, size=2.6 * slim, alpha=0.55)
            axes.plot(x, one["mean"], color=look.colour, linestyle=look.line, linewidth=1.3 * slim)
            dots(axes, x, one["mean"], look, size=5 * slim)
        whole_steps(axes, rows["density"].tolist())
        axes.set_xlabel("density p: residual blocks removed")

    return draw


def difference_picture(tables: Tables, xi: str) -> Picture:
    """The mean paired difference of every ticket with its t interval, against zero and the tolerance."""
    entries = looks(tables.runs)
    summary = at_tolerance(tables.summary, xi)
    panels = []
    for index, group in enumerate(tables.groups()):
        rows = summary[(summary["dataset"] == group[0]) & (summary["network"] == group[1])]
        if not rows.empty:
            draw = _difference(rows, entries)
            panels.append(panel(f"diff{index}", group_name(group), "Δ to dense, pp", "difference by density", draw))
    caption = (
        f"Look for intervals that lie wholly above the dashed line, {MINUS}ξ: these tickets win "
        f"({tolerance_words(xi)}). Wholly below: they lose. Across it: undecided. "
        "Mark: mean difference to the dense network of the same seed; bar: t interval of that mean, "
        "absent with one seed. The dark line is the dense network."
    )
    return Picture("difference", tuple(panels), legend(entries, tuple(entries)), caption)


def _difference(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    families = [family for family in entries if family in set(rows["family"])]
    slim = slimness(len(rows))

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=INK, linewidth=1.8)
        points = rows["xi_points"].dropna()
        if not points.empty:
            axes.axhline(-points.iloc[0], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(
                f" {MINUS}ξ",
                (1, -points.iloc[0]),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        for family, offset in zip(families, dodge(len(families), width=0.6 if slim == 1 else 0.8), strict=True):
            look, one = entries[family], rows[rows["family"] == family]
            x = one["density"] + offset
            axes.vlines(x, one["delta_low"], one["delta_high"], color=look.colour, linewidth=1.6 * slim**2, alpha=0.75)
            dots(axes, x, one["delta_accuracy"], look, size=5.5 * slim)
        whole_steps(axes, rows["density"].tolist())
        axes.set_xlabel("density p: residual blocks removed")

    return draw


def curves_picture(tables: Tables) -> Picture:
    """Test accuracy by epoch, a panel per density; a readable selection where there are many."""
    entries = looks(tables.runs)
    panels: list[Panel] = []
    for index, group in enumerate(tables.groups()):
        curves = curves_by_epoch(tables.of(group).curves)
        floor, top = float(curves["mean"].quantile(0.08)), float(curves["mean"].max())
        for density in spread(sorted(set(tickets(curves)["density"])), MOST_CURVES):
            rows = curves[curves["density"].isin((0, density))]
            draw = _curves(rows, entries, (floor, top))
            heading = title(tables, group, f"p = {density}")
            panels.append(panel(f"curve{index}x{density}", heading, "test accuracy, %", "accuracy by epoch", draw))
    caption = (
        "Look for tickets that leave the dense network (thick) early and stay below it. Means over seeds. "
        "The axis leaves out the lowest 8 % of all values, the first epochs." + _left_out(tables)
    )
    return Picture("curves", tuple(panels), legend(entries, tuple(entries)), caption)


def _left_out(tables: Tables) -> str:
    every = sorted(set(tickets(tables.runs)["density"]))
    shown = spread(every, MOST_CURVES)
    return "" if shown == every else f" Of the densities {densities(every)}, at most {MOST_CURVES} are drawn a network."


def _curves(rows: pd.DataFrame, entries: dict[str, Look], ends: tuple[float, float]) -> Draw:
    def draw(axes: Axes) -> None:
        thick = dense(rows)
        axes.plot(thick["epoch"], thick["mean"], color=INK, linewidth=2.6, alpha=0.85)
        for family, one in tickets(rows).groupby("family"):
            look = entries[str(family)]
            axes.plot(one["epoch"], one["mean"], color=look.colour, linewidth=1.1, linestyle=look.line)
        axes.set_ylim(ends[0], ends[1] + 0.06 * max(ends[1] - ends[0], 1))
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")

    return draw
