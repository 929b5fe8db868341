"""The table `stability`: how far a criterion ranks the same blocks alike, whatever the seed and the draw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from layerlottery.config.criteria import DRAWN, FORMULAS
from layerlottery.config.studies import Run
from layerlottery.tables.statistics import kendall_w

Row = dict[str, Any]

CRITERION = ("dataset", "network", "criterion", "scored_at")
# these see weights alone and choose nothing at random: every draw of a seed repeats the first
UNDRAWN = {name for name, formula in FORMULAS.items() if formula.data_free} - set(DRAWN)


@dataclass(frozen=True)
class Ranking:
    """The scores of the removable blocks, by name, of one scored network and draw, and the criterion's function."""

    scoring: Run
    function: str
    scores: dict[str, float]


def stability_rows(rankings: Iterable[Ranking]) -> list[Row]:
    """One row per dataset, network, criterion and scored weights; random criteria are the null reference."""
    found: dict[tuple[Any, ...], dict[tuple[int, int], list[float]]] = {}
    for ranking in rankings:
        if ranking.scores:
            scoring = ranking.scoring
            draw = 0 if ranking.function in UNDRAWN else scoring.draw
            alike = found.setdefault(tuple(getattr(scoring, name) for name in CRITERION), {})
            # blocks in one order
            alike[scoring.seed, draw] = [score for _, score in sorted(ranking.scores.items())]
    return [_row(key, list(rankings.values())) for key, rankings in found.items()]


def _row(criterion: tuple[Any, ...], rankings: list[list[float]]) -> Row:
    agreement, p = kendall_w(rankings)
    named = dict(zip(CRITERION, criterion, strict=True))
    return named | {"blocks": len(rankings[0]), "rankings": len(rankings), "kendall_w": agreement, "p_value": p}
