"""How figures look: fixed colours, one panel size, SVG that can share a page with other SVG.

Colours are written as placeholders and become CSS variables, so that figures follow the page into
dark mode. The palette of page.css is Okabe and Ito's, extended, with a mixed variant of each colour for
criteria beyond the tenth; markers repeat what colours say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import pandas as pd
from markupsafe import Markup, escape

from layerlottery.config.criteria import DEPTHS, DRAWN, FORMULAS
from layerlottery.config.naming import family_name
from layerlottery.report.tables import tickets, unchosen_criteria
from layerlottery.words import identifier, visible

# names that a legend, or the edge of a panel, has room for
MOST_NAMES = 6
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
    # a name with dollar signs is no formula
    "text.parse_math": False,
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
# the paper's criteria first, then the other built-in ones, in places that stay
UNCHOSEN = (*DRAWN, DEPTHS)
FIXED = tuple(
    dict.fromkeys(
        (
            *("snip", "grasp", "l1", "kl", "cka"),
            *sorted(name for function, one in FORMULAS.items() if function not in UNCHOSEN for name in one.names),
        )
    )
)
DASHES = ("", "4 2", "1 2", "6 2 1 2", "8 3", "2 1")


@dataclass(frozen=True)
class Look:
    """How one line is drawn wherever it appears; dense networks have no shape, and a band where seeds differ."""

    colour: str
    shape: int | None
    dash: str = ""
    band: bool = False

    @property
    def marker(self) -> list[tuple[float, float]]:
        """Corners of the marker in a square from -1 to 1."""
        if self.shape is None:
            return []
        corners, turn = SHAPES[self.shape % len(SHAPES)]
        # small corners look smaller than a circle of the same radius
        size = 1.3 if corners == 3 else 1.0
        angles = [math.radians(90 + turn + 360 * corner / corners) for corner in range(corners)]
        return [(round(size * math.cos(angle), 3), round(size * math.sin(angle), 3)) for angle in angles]

    @property
    def line(self) -> tuple[float, tuple[float, ...] | None]:
        """The dash pattern as matplotlib takes it."""
        return 0, tuple(float(part) for part in self.dash.split()) or None

    @property
    def css(self) -> str:
        """The colour as the page writes it."""
        return f"var(--{PLACEHOLDERS[self.colour]})"


Legend: TypeAlias = tuple[tuple[str, Look], ...]
THICK, BAND = Look(INK, None), Look(INK, None, band=True)


def looks(runs: pd.DataFrame) -> dict[str, Look]:
    """One look per criterion; random and deepest ones and given depths are grey and last.

    A built-in criterion looks the same on every page, whatever else is there; others take what is left.
    """
    grey = unchosen_criteria(runs)
    names = sorted(set(tickets(runs)["criterion"]))
    coloured = [name for name in names if name not in grey]
    places = {name: FIXED.index(name) for name in coloured if name in FIXED}
    free = (place for place in count() if place not in places.values())
    places |= {name: next(free) for name in coloured if name not in FIXED}
    found = {name: _look(place) for name, place in sorted(places.items(), key=lambda one: one[1])}
    drawn = [name for name in names if name in grey]
    return found | {
        name: Look(RANDOM, place, DASHES[(place - 1) % len(DASHES)]) for place, name in enumerate(drawn, start=1)
    }


def _look(place: int) -> Look:
    # the diamond is kept for random removal
    shape = place if place == 0 else place + 1
    return Look(f"#fe02{place % (2 * COLOURS):02x}", shape, DASHES[place // COLOURS % len(DASHES)])


def present(entries: Iterable[str], rows: pd.DataFrame, by: str = "criterion") -> list[str]:
    """The names that some rows hold, in the order of the legend."""
    held = set(rows[by])
    return [name for name in entries if name in held]


def legend(
    entries: Mapping[str, Look], rows: pd.DataFrame, dense: Look | None = THICK, by: str = "criterion"
) -> Legend:
    """The names that appear, after the dense networks, if those are drawn; figures name what is too many."""
    first = (("dense", dense),) if dense else ()
    held = present(entries, rows, by)
    return (*first, *((family_name(name, ""), entries[name]) for name in held if len(held) <= MOST_NAMES))


def inline(svg: str, *, prefix: str, label: str) -> Markup:
    """Make matplotlib's SVG fit for a page: ids that can't clash, CSS colours, no dates, no style that leaks."""
    body = visible(svg[svg.index("<svg") :])
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', body))
    # the text between tags, where a name may look like any of this, is left alone
    body = re.sub(r"<[^>]+>", lambda found: _own(found[0], identifier(prefix), used), body)
    size = re.search(r'viewBox="[^"]*"', body)
    named = escape(visible(label))
    head = f'<svg {size[0] if size else ""} role="img" aria-label="{named}" xmlns="http://www.w3.org/2000/svg">'
    return Markup(head + re.sub(r"\n\s*", "\n", body[body.index(">") + 1 :]))  # noqa: S704 - matplotlib escapes


def _own(tag: str, prefix: str, used: Collection[str]) -> str:
    """A tag as this page writes it; coordinates have two digits."""
    tag = re.sub(r'\s+id="([\w.-]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(r'(?:xlink:)?(href="#|url\(#)', rf"\g<1>{prefix}-", tag)
    tag = re.sub(r"#fe0[12][0-9a-f]{2}", lambda found: f"var(--{PLACEHOLDERS[found[0]]})", tag)
    tag = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", tag)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
