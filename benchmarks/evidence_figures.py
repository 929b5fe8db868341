"""The figures of docs/evidence: forests as SVG that stand alone."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style
from evidence_tables import Study
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from layerlottery.report.style import INK, MUTED, RANDOM, RULES, inline
from layerlottery.report.texts import TEMPLATES

# inches; a phone is about as wide, so that letters keep their size there
WIDTH, LINE, MARGIN = 4.6, 0.235, 0.62
SNIP, GRASP = "#fe0200", "#fe0201"
COLOURS = {"SNIP": SNIP, "GraSP": GRASP}


class Mark(NamedTuple):
    """A row of a forest; hollow where nothing is decided."""

    name: str
    mean: float
    low: float
    high: float
    colour: str
    marker: str = "o"
    filled: bool = True


def forest_svg(study: Study) -> str:
    """Every architecture of the tickets' size against the dense network, ordered; tickets and their controls above."""
    marks = []
    for name, criterion in (("SNIP", "snip"), ("GraSP", "grasp")):
        rows = study.summary[study.summary["criterion"] == criterion]
        kinds = {
            "'s tickets": (rows["structure"] == "layers") & (rows["rewind"] == "0"),
            ", fresh weights": rows["rewind"] == "random",
            ", dense at that cost": rows["structure"] == "dense_at_cost",
        }
        for (words, own), marker in zip(kinds.items(), "osD", strict=True):
            kept = rows[own & (rows["scored_at"] == "init")]
            marks += [_mark(f"{name}{words}", row, COLOURS[name], marker) for row in kept.to_dict("records")]
    first = len(marks)
    for row in study.architectures.to_dict("records"):
        name = row["criterion"].removeprefix("depths_").replace("_", "-")
        marks.append(_mark(f"without {name}", row, RANDOM, "o"))
    title = f"{study.network}, {study.called}: Δ to the dense network, pp"
    return _drawn(marks, title, f"forest_{study.name}", first, [float(study.summary["xi_points"].iloc[0])])


def robustness_svg(study: Study) -> str:
    """SNIP's and GraSP's tickets against the dense network under each condition."""
    rows = study.rows("robustness")
    marks = []
    for row in rows:
        name, _, condition = row.what.partition(": ")
        decided = row.verdict in ("better", "worse")
        marks.append(Mark(f"{condition}, {name}", row.mean, row.low, row.high, COLOURS[name], filled=decided))
    title = f"{study.network}, {study.called}: Δ to the dense network, pp"
    return _drawn(marks, title, f"robustness_{study.name}", 0, [])


def _mark(name: str, row: dict[str, object], colour: str, marker: str) -> Mark:
    mean, low, high = (float(str(row[one])) for one in ("mean", "low", "high"))
    decided = row["verdict_holm"] in ("better", "worse", "equivalent") or row["winning_holm"] is True
    return Mark(name, mean, low, high, colour, marker, decided)


def _drawn(marks: Sequence[Mark], title: str, key: str, gap: int, tolerance: Sequence[float]) -> str:
    """The forest, its first row on top, with a gap behind so many rows."""
    at = [-(place + (0.6 if gap and place >= gap else 0)) for place in range(len(marks))]
    height = LINE * (len(marks) + 1) + MARGIN
    with matplotlib.style.context(["default", RULES | {"svg.hashsalt": key, "axes.grid.axis": "x"}]):
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_axes((0.42, 0.32 / height, 0.55, 1 - MARGIN / height))
        axes.patch.set_visible(False)
        axes.axvline(0, color=INK, linewidth=1)
        for edge in (sign * one for one in tolerance for sign in (-1, 1)):
            axes.axvline(edge, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        for y, mark in zip(at, marks, strict=True):
            _interval(axes, y, mark)
        axes.set_yticks(at, [mark.name for mark in marks])
        axes.set_ylim(at[-1] - 0.7, 0.7)
        axes.tick_params(axis="both", colors=MUTED, labelsize=8, length=0)
        figure.text(0.015, 1 - 0.2 / height, title, color=INK, fontsize=8.5)
        written = io.StringIO()
        figure.savefig(written, format="svg")
    return _standing(inline(written.getvalue(), prefix=key, label=title))


def _interval(axes: Axes, y: float, mark: Mark) -> None:
    if not math.isnan(mark.low):
        axes.plot([mark.low, mark.high], [y, y], color=mark.colour, linewidth=1.8)
    axes.plot(
        [mark.mean],
        [y],
        marker=mark.marker,
        markersize=5,
        markeredgewidth=1.4,
        markeredgecolor=mark.colour,
        markerfacecolor=mark.colour if mark.filled else "white",
        linestyle="none",
    )


def _standing(svg: str) -> str:
    """The SVG of a page as a file of its own, in the page's light colours: what shows it may be white, or dark."""
    css = TEMPLATES.get_template("page.css").render()
    colours = dict(reversed(re.findall(r"--([\w-]+): (#\w+);", css)))
    body = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], svg)
    head, _, rest = body.partition(">")
    return f'{head} font-family="system-ui, sans-serif"><rect width="100%" height="100%" fill="#fff"/>{rest}\n'
