"""Which blocks went, as rows of squares, and how far rankings agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pandas as pd
from markupsafe import Markup

from layerlottery.config.naming import family_name, variant_name
from layerlottery.report.charts import Panel, Picture
from layerlottery.report.grids import Cell, Grid, per_network
from layerlottery.report.series import removal_shares
from layerlottery.report.style import looks
from layerlottery.report.tables import Tables, group_name, tickets
from layerlottery.report.texts import TEMPLATES, TEXTS
from layerlottery.words import number, probability

WIDTH, LEFT, GAP = 420.0, 72.0, 10.0
LEVEL = 0.05  # of Friedman's test


def blocks_picture(tables: Tables) -> Picture:
    """One panel per network, criterion and scored weights: a row per number of blocks removed, a square per block."""
    colours = {name: look.css for name, look in looks(tables.runs).items()}
    many = len(tables.by_group) > 1
    panels = [one for group, own in tables.by_group.items() for one in _panels(own, group_name(group), colours, many)]
    return Picture("blocks", tuple(panels), (), TEXTS["figures"]["blocks"]["caption"])


def _panels(tables: Tables, group: str, colours: dict[str, str], many: bool) -> Iterator[Panel]:
    places, stages, side = _places(tables.scores)
    if not places:
        return
    drawing = TEMPLATES.get_template("blocks.svg.j2")
    heads = list(zip(short_names(list(stages)), stages.values(), strict=True))
    layered = tickets(tables.runs)
    layered = layered[layered["structure"] == "layers"]
    # where the training starts changes no choice but those of later rounds
    starts = layered["rewind"].where(layered["step"] > 0, "0")
    named = zip(layered["structure"], layered["scored_at"], starts, layered["step"], strict=True)
    layered = layered.assign(choice=[variant_name(*setting) for setting in named])
    choices = dict.fromkeys(layered.sort_values(["scored_at", "step"], kind="stable")["choice"])
    for criterion, choice in product(colours, choices):
        own = layered[(layered["criterion"] == criterion) & (layered["choice"] == choice)]
        if rows := _removed(own):
            name = family_name(criterion, choice)
            facts = {"heads": heads, "places": places, "side": side, "rows": rows, "colour": colours[criterion]}
            svg = drawing.render(label=f"{group}, {name}: {TEXTS['figures']['blocks']['label']}", width=WIDTH, **facts)
            yield Panel(name, group if many else "", Markup(svg))  # noqa: S704 - the template escapes


def _removed(runs: pd.DataFrame) -> dict[int, dict[str, Any]]:
    """For every number of blocks removed, the removed blocks with their shares of the choices."""
    shares = removal_shares(runs).set_index("removed_blocks")
    return {
        int(removed): shares[shares["removed"] == removed].to_dict("index") for removed in sorted(set(runs["removed"]))
    }


def _places(scores: pd.DataFrame) -> tuple[dict[str, tuple[float, bool]], dict[str, float], float]:
    """Left edge and removability of every block, left edge of every stage, and a square's side with its gap."""
    # in network order, as they were scored
    rows = scores[["stage", "block", "removable"]].drop_duplicates("block", ignore_index=True)
    side = min(24.0, (WIDTH - LEFT - GAP * max(0, rows["stage"].nunique() - 1)) / max(1, len(rows)))
    gaps = pd.Series(pd.factorize(rows["stage"])[0]).cummax()
    rows = rows.assign(left=LEFT + GAP * gaps + side * rows.index)
    places = {block: (left, removable) for block, removable, left in rows.drop(columns="stage").to_numpy().tolist()}
    return places, rows.groupby("stage", sort=False)["left"].first().to_dict(), side


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


def stability_grids(tables: Tables) -> list[Grid]:
    """Per network, how far the rankings of a criterion agree over seeds and draws."""
    return per_network(tables, "stability", lambda own: _agreement(own.stability.dropna(subset=["kendall_w"])))


def _agreement(rows: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "Kendall's W": [
            Cell(number(value), "heat", value * 0.8) if p < LEVEL else Cell(number(value), "muted")
            for value, p in zip(rows["kendall_w"], rows["p_value"], strict=True)
        ],
        "p value": [probability(value) for value in rows["p_value"]],
        "rankings": rows["rankings"].tolist(),
        "blocks": rows["blocks"].tolist(),
    }
    return pd.DataFrame(columns, pd.Index(rows["family"], name="criterion"))
