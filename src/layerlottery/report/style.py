"""How figures look: fixed colours, one panel size, SVG that can share a page with other SVG.

Colours are written as placeholders and become CSS variables, so that figures follow the page into
dark mode. The palette of page.css is Okabe and Ito's, extended, with a mixed variant of each colour for
criteria beyond the tenth; markers repeat what colours say.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from layerlottery.report.tables import drawn_criteria, tickets

SIZE = (4.2, 2.8)
BOX = (0.115, 0.15, 0.835, 0.815)
INK, MUTED, GRID, RANDOM = "#fe0100", "#fe0101", "#fe0102", "#fe0103"
BLUE = "#fe0200"
COLOURS = 10
PLACEHOLDERS = {INK: "ink", MUTED: "muted", GRID: "grid", RANDOM: "random"} | {
    f"#fe02{index:02x}": f"c{index}" for index in range(2 * COLOURS)
}
RULES: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.major.size": 0,
    "lines.linewidth": 1.5,
    "lines.solid_joinstyle": "round",
}
# corners and rotation of a regular polygon; 16 corners pass for a circle
SHAPES = ((16, 0), (4, 45), (3, 0), (4, 0), (3, 180), (5, 0), (3, 90), (6, 0), (3, 270), (5, 180))
DASHES = ("", "4 2", "1 2", "6 2 1 2", "8 3", "2 1")
Draw = Callable[[Axes], None]
Numbers: TypeAlias = pd.Series | Sequence[float]


@dataclass(frozen=True)
class Look:
    """How one line is drawn wherever it appears."""

    colour: str
    shape: int
    dash: str = ""

    @property
    def marker(self) -> list[tuple[float, float]]:
        """Corners of the marker in a square from -1 to 1."""
        corners, turn = SHAPES[self.shape % len(SHAPES)]
        # small corners look smaller than a circle of the same radius
        size = 1.3 if corners == 3 else 1.0
        angles = [math.radians(90 + turn + 360 * corner / corners) for corner in range(corners)]
        return [(round(size * math.cos(angle), 3), round(size * math.sin(angle), 3)) for angle in angles]

    @property
    def line(self) -> tuple[float, tuple[float, ...] | None]:
        """The dash pattern as matplotlib takes it."""
        return 0, tuple(float(part) for part in self.dash.split()) or None


@dataclass(frozen=True)
class Panel:
    """One SVG of a figure."""

    title: str
    unit: str
    svg: Markup


@dataclass(frozen=True)
class Picture:
    """A figure of the page: panels under one legend and caption; without panels `caption` says why."""

    name: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, Markup], ...]
    caption: str


def looks(runs: pd.DataFrame) -> dict[str, Look]:
    """One look per criterion, the same on the whole page; random ones are grey and last."""
    grey = drawn_criteria(runs)
    names = sorted(set(tickets(runs)["criterion"]))
    coloured = [name for name in names if name not in grey]
    found = {name: _look(place) for place, name in enumerate(coloured)}
    drawn = [name for name in names if name in grey]
    return found | {
        name: Look(RANDOM, place, DASHES[(place - 1) % len(DASHES)]) for place, name in enumerate(drawn, start=1)
    }


def _look(place: int) -> Look:
    # the diamond is kept for random removal
    shape = place if place == 0 else place + 1
    return Look(f"#fe02{place % (2 * COLOURS):02x}", shape, DASHES[place // COLOURS % len(DASHES)])


def present(entries: dict[str, Look], rows: pd.DataFrame) -> list[str]:
    """The criteria that some rows hold, in the order of the legend."""
    held = set(rows["criterion"])
    return [criterion for criterion in entries if criterion in held]


def legend(entries: dict[str, Look], rows: pd.DataFrame, dense: str = "line") -> tuple[tuple[str, Markup], ...]:
    """Swatches of the criteria that appear; `dense` is how the dense network is drawn: line, band or ''."""
    first = {"line": (("dense", _dense_swatch()),), "band": (("dense", _dense_swatch(True)),)}.get(dense, ())
    return (*first, *((criterion, swatch(entries[criterion])) for criterion in present(entries, rows)))


def swatch(look: Look) -> Markup:
    """A line with its marker, as in the figures."""
    corners = " ".join(f"{14 + 4 * x:.1f},{6 - 4 * y:.1f}" for x, y in look.marker)
    dashes = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    colour = f"var(--{PLACEHOLDERS[look.colour]})"
    return Markup(  # noqa: S704 - built from constants
        '<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true">'
        f'<path d="M1 6H27" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        f'<polygon points="{corners}" fill="{colour}"/></svg>'
    )


def _dense_swatch(band: bool = False) -> Markup:
    back = '<path d="M1 1H27V11H1Z" fill="var(--ink)" opacity=".12"/>' if band else ""
    return Markup(  # noqa: S704 - built from constants
        f'<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true">{back}'
        '<path d="M1 6H27" stroke="var(--ink)" stroke-width="2.4"/></svg>'
    )


def panel(name: str, title: str, unit: str, label: str, draw: Draw) -> Panel:
    """Draw one panel. `name` must be unique on the page; `label` is what a screen reader says."""
    with matplotlib.rc_context(RULES | {"svg.hashsalt": name}):
        figure = Figure(figsize=SIZE)
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_axes(BOX)
        axes.patch.set_visible(False)
        draw(axes)
        written = io.StringIO()
        figure.savefig(written, format="svg")
    return Panel(title, unit, inline(written.getvalue(), prefix=name, label=f"{title}: {label}"))


def inline(svg: str, *, prefix: str, label: str) -> Markup:
    """Make matplotlib's SVG fit for a page: ids that can't clash, CSS colours, no dates, no style that leaks."""
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', body))
    body = re.sub(r'\s+id="([\w.-]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(?:xlink:)?(href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r"#fe0[12][0-9a-f]{2}", lambda found: f"var(--{PLACEHOLDERS[found[0]]})", body)
    body = re.sub(r"<[^>]+>", _shortened, body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    size = re.search(r'viewBox="[^"]*"', body)
    head = f'<svg {size[0] if size else ""} role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">'
    return Markup(head + re.sub(r"\n\s*", "\n", body[body.index(">") + 1 :]))  # noqa: S704 - the label is escaped


def _shortened(tag: re.Match[str]) -> str:
    """Coordinates with two digits; the text between tags is left alone."""
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", tag[0])


def dots(axes: Axes, x: Numbers, y: Numbers, look: Look, *, size: float = 5, alpha: float = 1) -> None:
    """Markers without outline or line."""
    axes.plot(x, y, marker=look.marker, ls="none", color=look.colour, ms=size, mew=0, alpha=alpha)


def whole_steps(axes: Axes, values: Sequence[int]) -> None:
    """Integer ticks only, at most eight of them, with a margin for the markers."""
    low, high = min(values), max(values)
    step = max(1, math.ceil((high - low + 1) / 8))
    axes.set_xticks(range(low, high + 1, step))
    axes.set_xlim(low - 0.55, high + 0.55)


def bars(axes: Axes, x: Numbers, low: Numbers, high: Numbers, look: Look, *, slim: float = 1) -> None:
    """Intervals behind the marks."""
    axes.vlines(x, low, high, color=look.colour, linewidth=1.6 * slim**2, alpha=0.75)


def slimness(tickets: int) -> float:
    """How far marks shrink where many tickets share a panel: 1 up to 60 tickets."""
    return min(1.0, math.sqrt(60 / max(tickets, 1)))


def dodge(count: int, *, width: float = 0.5) -> list[float]:
    """Offsets that set apart what stands with as many blocks removed."""
    return [0.0] if count < 2 else [width * (index / (count - 1) - 0.5) for index in range(count)]
