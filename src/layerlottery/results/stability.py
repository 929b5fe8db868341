"""The table `stability`: how far a criterion ranks the same blocks alike, whatever the seed and the draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerlottery.results.statistics import kendall_w
from layerlottery.results.summary import grouped
from layerlottery.settings import DATA_FREE

Row = dict[str, Any]

CRITERION = ("dataset", "network", "criterion", "scored_at")
# these see weights alone and choose nothing at random: every draw of a seed repeats the first
UNDRAWN = DATA_FREE - {"random", "random_spread"}


def stability_rows(scores: Sequence[Row]) -> list[Row]:
    """One row per dataset, network, criterion and scored weights; random criteria are the null reference.

    `scores` are the rows of that table, with the criterion's `function`.
    """
    removable = [row for row in scores if row["removable"]]
    found = []
    for key, rows in grouped(removable, CRITERION).items():
        rankings = _rankings(rows)
        agreement, p = kendall_w(rankings)
        found.append(
            dict(zip(CRITERION, key, strict=True))
            | {"blocks": len(rankings[0]), "rankings": len(rankings), "kendall_w": agreement, "p_value": p}
        )
    return found


def _rankings(rows: Sequence[Row]) -> list[list[float]]:
    """The scores of every seed and draw, blocks in one order."""
    undrawn = rows[0]["function"] in UNDRAWN
    draws = grouped(rows, ["seed", "draw"])
    distinct = {(seed, 0 if undrawn else draw): blocks for (seed, draw), blocks in draws.items()}
    return [[row["score"] for row in sorted(blocks, key=lambda row: row["block"])] for blocks in distinct.values()]
