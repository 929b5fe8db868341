"""The vocabulary of the figures: panels over facets, and lines with bars, one for every criterion.

A figure is a list of facets, whose rows hold `mean`, `low` and `high`, and a function that draws one of them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import TypeAlias

import matplotlib.style
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from layerlottery.config.naming import family_name
from layerlottery.config.rounds import PERCENT
from layerlottery.report.facets import Facet, spread
from layerlottery.report.series import by_seed, over_seeds
from layerlottery.report.style import BOX, INK, MOST_NAMES, MUTED, RULES, SIZE, Legend, Look, inline, present
from layerlottery.report.tables import dense, is_share, tickets
from layerlottery.report.texts import TEXTS
from layerlottery.words import MINUS

Draw: TypeAlias = Callable[[Axes, pd.DataFrame], None]
SEED = 3.2 / 6.5  # size of a single seed's mark, its mean's being 1
ROOM = 0.35  # for names beside the marks, as a part of an axis
LETTERS = 17  # of a name, that fit in there
BY_REMOVED = ["criterion", "removed"]


@dataclass(frozen=True)
class Panel:
    """One SVG of a figure."""

    title: str
    unit: str
    svg: Markup


@dataclass(frozen=True)
class Picture:
    """A figure of the page: panels under one legend and caption; without panels it is left out."""

    name: str
    panels: tuple[Panel, ...]
    legend: Legend
    caption: str


def picture(
    name: str, facets: Iterable[Facet], draw: Draw, legend: Legend = (), *, more: str = "", **facts: str
) -> Picture:
    """Draw a panel per facet, with the words that texts.toml has for the figure.

    `facts` fill the caption, `more` goes behind it.
    """
    words = TEXTS["figures"][name]
    panels = (Panel(one.heading, words["unit"], _svg(one, draw, f"{one.heading}: {words['label']}")) for one in facets)
    return Picture(name, tuple(panels), legend, words["caption"].format(**facts) + more)


def _svg(facet: Facet, draw: Draw, label: str) -> Markup:
    # not the user's own style, that of a matplotlibrc
    with matplotlib.style.context(["default", RULES | {"svg.hashsalt": facet.key}]):
        figure = Figure(figsize=SIZE)
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_axes(BOX)
        axes.patch.set_visible(False)
        draw(axes, facet.rows)
        written = io.StringIO()
        figure.savefig(written, format="svg")
    return inline(written.getvalue(), prefix=facet.key, label=label)


def lines(
    axes: Axes,
    rows: pd.DataFrame,
    looks: Mapping[str, Look],
    x: str,
    *,
    by: str = "criterion",
    width: float = 0,
    line: float = 1.1,
    mark: float = 5,
    bar: float = 0,
    through: str = "mean",
    seeds: pd.DataFrame | None = None,
) -> None:
    """A series for every value of `by`: bars from `low` to `high`, a line through a column, marks at `mean`.

    `width` is how far the series are set apart; `line`, `mark` and `bar` are sizes in points, 0 for none.
    `seeds` adds single values as small marks.
    """
    held = present(looks, rows, by)
    for name, offset in zip(held, offsets(len(held), width), strict=True):
        look, one = looks[name], rows[rows[by] == name]
        at = one[x] + offset
        if bar:
            alpha = 0.75 if seeds is None else 0.45
            axes.vlines(at, one["low"], one["high"], color=look.colour, linewidth=bar, alpha=alpha)
        if seeds is not None:
            own = seeds[seeds[by] == name]
            _dots(axes, own[x] + offset, own["mean"], look, size=SEED * mark, alpha=0.55)
        if line:
            axes.plot(at, one[through], color=look.colour, linestyle=look.line, linewidth=line)
        if mark:
            _dots(axes, at, one["mean"], look, size=mark)


def _dots(axes: Axes, x: pd.Series, y: pd.Series, look: Look, *, size: float, alpha: float = 1) -> None:
    axes.plot(x, y, marker=look.marker, ls="none", color=look.colour, ms=size, mew=0, alpha=alpha)


def direct_labels(axes: Axes, ends: Iterable[tuple[float, str, str]]) -> None:
    """Names (height, text, colour) in room made at the right, in the order of their heights and set apart."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    step, floor = 0.075 * (high - low), low
    for height, text, colour in sorted(ends):
        axes.set_xlim(left, right + ROOM * (right - left))
        parts = wrap(text, LETTERS, break_long_words=False)
        half = step * (len(parts) - 1) / 2
        floor = max(height, floor + half)
        place = (1.02 / (1 + ROOM), floor)
        axes.annotate("\n".join(parts), place, xycoords=("axes fraction", "data"), va="center", color=colour)
        floor += half + step


def name_ends(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], x: str, by: str = "criterion") -> None:
    """The names of the highest and lowest series at their ends, where the legend has no room for all."""
    held = rows.dropna(subset=[by, "mean"])
    if held[by].nunique() > MOST_NAMES:
        last = held.loc[held.groupby(by, sort=False)[x].idxmax()].sort_values("mean")
        ends = pd.concat([last.head(MOST_NAMES // 2), last.tail(MOST_NAMES // 2)])
        named = zip(ends["mean"], ends[by], strict=True)
        direct_labels(axes, [(height, family_name(name, ""), looks[name].colour) for height, name in named])


def shared_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """The ends that panels of one network share, where there are several (facets.apart)."""
    if "bottom" in rows:
        bottom, top = rows[["bottom", "top"]].iloc[0]
        margin = 0.05 * max(top - bottom, 0.1)
        axes.set_ylim(bottom - margin, top + margin)


def offsets(count: int, width: float) -> list[float]:
    """Offsets that set apart what stands with as many blocks removed."""
    return [0.0] * count if count < 2 else [width * (index / (count - 1) - 0.5) for index in range(count)]


def slimness(marks: int) -> float:
    """How far marks shrink where many share a panel: 1 up to 60."""
    return min(1.0, math.sqrt(60 / max(marks, 1)))


def lines_over_seeds(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], value: str) -> None:
    """Means over seeds by blocks removed, single seeds as small marks, joined from lowest to highest."""
    means, seeds = over_seeds(rows, BY_REMOVED, value), by_seed(rows, BY_REMOVED, value)
    slim = slimness(len(means))
    width = 0.5 * spacing(rows)
    lines(axes, means, looks, "removed", width=width, line=1.3 * slim, mark=6.5 * slim, bar=slim**2, seeds=seeds)
    removed_axis(axes, rows)


def dense_line(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    """The dense networks, thick, behind the tickets."""
    own = dense(rows)
    axes.plot(own[x], own["mean"], color=INK, linewidth=2.6, alpha=0.85)


def tolerance_lines(axes: Axes, rows: pd.DataFrame) -> None:
    """The dense network at zero and, dashed, the tolerance below it."""
    axes.axhline(0, color=INK, linewidth=1.8)
    for points in rows["xi_points"].dropna().head(1):
        axes.axhline(-points, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f" {MINUS}ξ", (1, -points), xycoords=("axes fraction", "data"), va="center", annotation_clip=False
        )


def removed_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Numbers of blocks removed, or percent of the filters."""
    rows = tickets(rows) if "criterion" in rows else rows
    if not is_share(rows).any():
        whole_steps(axes, rows["removed"])
        axes.set_xlabel("residual blocks removed")
        return
    values, room = sorted(set(rows["removed"])), 0.55 * spacing(rows)
    axes.set_xticks(spread(values, 8))
    axes.set_xlim(values[0] - room, values[-1] + room)
    axes.set_xlabel("filters removed, %")


def spacing(rows: pd.DataFrame) -> float:
    """How far neighbours lie apart on the axis of what is removed: one block, or percent of the filters."""
    if not is_share(rows).any():
        return 1.0
    gaps = rows.loc[is_share(rows), "removed"].drop_duplicates().sort_values().diff().dropna()
    return float(gaps.min()) if len(gaps) else PERCENT / 10


def whole_steps(axes: Axes, values: pd.Series) -> None:
    """Integer ticks only, at most eight of them, with a margin for the markers."""
    low, high = int(values.min()), int(values.max())
    step = max(1, math.ceil((high - low + 1) / 8))
    axes.set_xticks(range(low, high + 1, step))
    axes.set_xlim(low - 0.55, high + 0.55)


def ranks(values: pd.Series) -> pd.Series:
    """Places from 0 of values on an axis that is not to scale."""
    return values.rank(method="dense") - 1
