"""Which blocks went, as rows of squares: drawn directly, since nothing here is a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import pandas as pd
from markupsafe import Markup, escape

from layerlottery.report.series import removal_shares
from layerlottery.report.style import PLACEHOLDERS, Look, Panel, Picture, looks
from layerlottery.report.tables import Tables, group_name, tickets

WIDTH, LEFT, GAP, HEAD = 420.0, 46.0, 10.0, 20.0
Place = tuple[float, bool]


def blocks_picture(tables: Tables) -> Picture:
    """One panel per network, criterion and scored weights: a row per number of blocks removed, a square per block."""
    entries = looks(tables.runs)
    many = len(tables.groups()) > 1
    panels = [
        panel for group in tables.groups() for panel in _panels(tables.of(group), group_name(group), entries, many)
    ]
    caption = (
        "Look for criteria that empty one stage, and for rows that change little with the seed. One row per number of "
        "blocks removed, one square per residual block, from the first stage to the last. The fuller the colour, the "
        "larger the share of seeds (and draws) that removed the block. Crossed: a block that can't go."
    )
    return Picture("blocks", tuple(panels), (), caption)


def _panels(tables: Tables, group: str, entries: dict[str, Look], many: bool) -> Iterator[Panel]:
    places, stages, side = _places(tables.scores)
    if not places:
        return
    shares = removal_shares(tables.runs)
    layered = tickets(tables.runs)
    layered = layered[layered["structure"] == "layers"]
    for criterion, scored_at in product(entries, ("init", "trained")):
        rows = sorted(set(_chosen(layered, criterion, scored_at)["removed"]))
        if not rows:
            continue
        own = _chosen(shares, criterion, scored_at)
        name = criterion if scored_at == "init" else f"{criterion} (trained)"
        colour = PLACEHOLDERS[entries[criterion].colour]
        drawn = [*_heads(stages), *(one for at, p in enumerate(rows) for one in _row(own, at, p, places, side, colour))]
        unit = group if many else ""
        height = HEAD + _pitch(side) * len(rows)
        label = f"{group}, {name}: share of seeds that removed each block, by blocks removed"
        svg = (
            f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg>'
        )
        yield Panel(name, unit, Markup(svg))  # noqa: S704 - every name is escaped


def _chosen(frame: pd.DataFrame, criterion: str, scored_at: str) -> pd.DataFrame:
    return frame[(frame["criterion"] == criterion) & (frame["scored_at"] == scored_at)]


def _pitch(side: float) -> float:
    return max(15.0, side + 1)


def _places(scores: pd.DataFrame) -> tuple[dict[str, Place], dict[str, float], float]:
    """Left edge and removability of every block, left edge of every stage, and a square's side with its gap."""
    # in network order, as they were scored
    rows = scores[["stage", "block", "removable"]].drop_duplicates("block")
    blocks = list(rows.itertuples(index=False, name=None))
    stages: dict[str, float] = {}
    places: dict[str, Place] = {}
    gaps = GAP * max(0, len({stage for stage, _, _ in blocks}) - 1)
    side = min(24.0, (WIDTH - LEFT - gaps) / max(1, len(blocks)))
    x = LEFT - GAP
    for stage, block, removable in blocks:
        x += GAP if stage not in stages else 0
        stages.setdefault(stage, x)
        places[block] = (x, bool(removable))
        x += side
    return places, stages, side


def _heads(stages: dict[str, float]) -> Iterator[str]:
    for short, x in zip(short_names(list(stages)), stages.values(), strict=True):
        yield f'<text x="{x:.1f}" y="12" class="head">{escape(short)}</text>'


def short_names(stages: Sequence[str]) -> list[str]:
    """Dotted names without the parts that all begin and end with; the last part of a name that stands alone."""
    parts = [stage.split(".") for stage in stages]
    if len(parts) < 2:
        return [names[-1] for names in parts]
    while all(len(names) > 1 for names in parts) and len({names[0] for names in parts}) == 1:
        parts = [names[1:] for names in parts]
    while all(len(names) > 1 for names in parts) and len({names[-1] for names in parts}) == 1:
        parts = [names[:-1] for names in parts]
    return [".".join(names) for names in parts]


def _row(
    shares: pd.DataFrame, at: int, removed: int, places: dict[str, Place], side: float, colour: str
) -> Iterator[str]:
    middle = HEAD + _pitch(side) * (at + 0.5)
    yield f'<text x="0" y="{middle + 4.5:.1f}">p = {removed}</text>'
    own = shares[shares["removed"] == removed]
    gone = {name: (share, f"{count} of {choices}") for name, share, count, choices in _shares(own)}
    size = side - 2
    for block, (x, removable) in places.items():
        share, words = gone.get(block, (0.0, ""))
        y = middle - size / 2
        title = f"<title>{escape(block)}: removed {words} times</title>" if share else ""
        fill = f'fill="var(--{colour})" fill-opacity="{share:.2f}"' if share else 'fill="none"'
        frame = f'x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{size:.1f}" rx="{min(2.5, size / 5):.1f}"'
        yield f'<rect {frame} {fill} class="{"block" if removable else "fixed"}">{title}</rect>'
        if not removable:
            yield f'<path class="cross" d="M{x:.1f} {y + size:.1f}l{size:.1f} {-size:.1f}"/>'


def _shares(rows: pd.DataFrame) -> list[tuple[str, float, int, int]]:
    return list(rows[["removed_blocks", "share", "count", "choices"]].itertuples(index=False, name=None))
