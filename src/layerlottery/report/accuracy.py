"""Accuracy against blocks removed, the paired difference, and learning curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.report.series import accuracy_by_removed, by_seed, curves_by_epoch
from layerlottery.report.style import (
    INK,
    MUTED,
    Draw,
    Look,
    Panel,
    Picture,
    bars,
    dodge,
    dots,
    legend,
    looks,
    panel,
    present,
    slimness,
    whole_steps,
)
from layerlottery.report.tables import Tables, at_tolerance, dense, first_starts, parts, spread, tickets
from layerlottery.report.verdict import tolerance_words
from layerlottery.words import MINUS, ranges

MOST_CURVES = 6
BLOCKS_REMOVED = "residual blocks removed (p)"


def accuracy_picture(tables: Tables) -> Picture:
    """Accuracy of every ticket and seed against blocks removed, with the dense networks as a band."""
    entries = looks(tables.runs)
    rows = first_starts(tables.runs)
    panels = [
        panel(
            f"acc{part.name}",
            part.titled(),
            "test accuracy, %",
            "accuracy by blocks removed",
            _accuracy(part.rows, entries),
        )
        for part in parts(tables, rows)
    ]
    caption = (
        "Look for lines that stay inside or above the grey band: these tickets are as good as the dense network. "
        "Line: mean over seeds. Small marks: single seeds, joined from lowest to highest. "
        "Grey band: lowest to highest dense network, dark line: their mean. "
        "Offsets within a number of blocks only keep the marks apart." + _later(tables)
    )
    return Picture("accuracy", tuple(panels), legend(entries, rows, "band"), caption)


def _later(tables: Tables) -> str:
    all_here = len(first_starts(tables.runs)) == len(tables.runs)
    return "" if all_here else " Tickets that start from later epochs or fresh weights stand under Rewinding."


def _accuracy(runs: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    rows = tickets(runs)
    series, reference = accuracy_by_removed(rows), accuracy_by_removed(dense(runs))
    points = by_seed(rows, ["criterion", "removed"], "accuracy")
    criteria, slim = present(entries, rows), slimness(len(series))

    def draw(axes: Axes) -> None:
        for low, mean, high in reference[["low", "mean", "high"]].itertuples(index=False):
            axes.axhspan(low, high, color=INK, alpha=0.1, linewidth=0)
            axes.axhline(mean, color=INK, linewidth=1.8)
        for criterion, offset in zip(criteria, dodge(len(criteria)), strict=True):
            look, one = entries[criterion], series[series["criterion"] == criterion]
            seeds = points[points["criterion"] == criterion]
            x = one["removed"] + offset
            axes.vlines(x, one["low"], one["high"], color=look.colour, alpha=0.45, linewidth=slim**2)
            dots(axes, seeds["removed"] + offset, seeds["accuracy"], look, size=3.2 * slim, alpha=0.55)
            axes.plot(x, one["mean"], color=look.colour, linestyle=look.line, linewidth=1.3 * slim)
            dots(axes, x, one["mean"], look, size=6.5 * slim)
        whole_steps(axes, rows["removed"].tolist())
        axes.set_xlabel(BLOCKS_REMOVED)

    return draw


def difference_picture(tables: Tables, xi: str) -> Picture:
    """The mean paired difference of every ticket with its t interval, against zero and the tolerance."""
    entries = looks(tables.runs)
    rows = first_starts(at_tolerance(tables.summary, xi))
    panels = [
        panel(
            f"diff{part.name}",
            part.titled(),
            "Δ to dense, pp",
            "difference by blocks removed",
            _difference(part.rows, entries),
        )
        for part in parts(tables, rows)
    ]
    caption = (
        f"Look for intervals that lie wholly above the dashed line, {MINUS}ξ: these tickets win "
        f"({tolerance_words(xi)}). Wholly below: they lose. Across it: undecided. "
        "Mark: mean difference to the dense network of the same seed; bar: t interval of that mean, "
        "absent with one seed. The dark line is the dense network."
    )
    return Picture("difference", tuple(panels), legend(entries, rows), caption)


def _difference(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    criteria, slim = present(entries, rows), slimness(len(rows))

    def draw(axes: Axes) -> None:
        tolerance_lines(axes, rows)
        for criterion, offset in zip(criteria, dodge(len(criteria), width=0.6 if slim == 1 else 0.8), strict=True):
            look, one = entries[criterion], rows[rows["criterion"] == criterion]
            x = one["removed"] + offset
            bars(axes, x, one["delta_low"], one["delta_high"], look, slim=slim)
            dots(axes, x, one["delta_accuracy"], look, size=7 * slim)
        whole_steps(axes, rows["removed"].tolist())
        axes.set_xlabel(BLOCKS_REMOVED)

    return draw


def tolerance_lines(axes: Axes, rows: pd.DataFrame) -> None:
    """The dense network at zero and, dashed, the tolerance below it."""
    axes.axhline(0, color=INK, linewidth=1.8)
    for points in rows["xi_points"].dropna().head(1):
        axes.axhline(-points, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f" {MINUS}ξ", (1, -points), xycoords=("axes fraction", "data"), va="center", annotation_clip=False
        )


def curves_picture(tables: Tables) -> Picture:
    """Test accuracy by epoch, a panel per number of blocks removed; a readable selection where there are many."""
    entries = looks(tables.runs)
    held = parts(tables, first_starts(tables.curves))
    panels: list[Panel] = []
    hidden = False
    for part in held:
        curves = curves_by_epoch(part.rows)
        ends = float(curves["mean"].quantile(0.08)), float(curves["mean"].max())
        every = sorted(set(tickets(curves)["removed"]))
        shown = spread(every, max(1, MOST_CURVES // sum(one.group == part.group for one in held)))
        hidden |= shown != every
        for removed in shown:
            draw = _curves(curves[curves["removed"].isin((0, removed))], entries, ends)
            name, heading = f"curve{part.name}x{removed}", part.titled(f"p = {removed}")
            panels.append(panel(name, heading, "test accuracy, %", "accuracy by epoch", draw))
    caption = (
        "Look for tickets that leave the dense network (thick) early and stay below it. Means over seeds. "
        "The axis leaves out the lowest 8 % of all values, the first epochs." + (_selected(tables) if hidden else "")
    )
    return Picture("curves", tuple(panels), legend(entries, first_starts(tables.runs)), caption)


def _selected(tables: Tables) -> str:
    every = ranges(tickets(tables.runs)["removed"])
    return f" Of the numbers of blocks removed, {every}, at most {MOST_CURVES} are drawn a network."


def _curves(rows: pd.DataFrame, entries: dict[str, Look], ends: tuple[float, float]) -> Draw:
    def draw(axes: Axes) -> None:
        thick = dense(rows)
        axes.plot(thick["epoch"], thick["mean"], color=INK, linewidth=2.6, alpha=0.85)
        for criterion in present(entries, rows):
            look, one = entries[criterion], rows[rows["criterion"] == criterion]
            axes.plot(one["epoch"], one["mean"], color=look.colour, linewidth=1.1, linestyle=look.line)
        axes.set_ylim(ends[0], ends[1] + 0.06 * max(ends[1] - ends[0], 1))
        axes.set_xlim(left=0)
        axes.set_xlabel("epoch")

    return draw
