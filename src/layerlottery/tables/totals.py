"""What a network has cost with every training that it rests on.

A ticket's own training is seldom all of it: scores of trained weights, and a start from them, need the dense network
first, and a later round needs all rounds before it. The papers that fine-tune compare dense training + fine-tuning.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerlottery.paths import TUNED
from layerlottery.tables.statistics import Array

SPENT = ["train_seconds", "energy_kwh"]
# what all rounds of one ticket share
CHAIN = ["dataset", "network", "seed", "structure", "criterion", "draw", "scored_at", "rewind", "step"]


class Totals:
    """Adds trainings up, a batch of networks after the other; rounds come in their order."""

    def __init__(self) -> None:
        self._rounds = pd.DataFrame(columns=[*CHAIN, "round", *SPENT])

    def of(self, rows: pd.DataFrame, dense: pd.DataFrame) -> pd.DataFrame:
        """`total_seconds` and `total_kwh` of each network; NaN where a round before it is missing.

        `rows` are networks, `dense` their dense networks in the same order, both with `epochs` and SPENT.
        """
        own = rows[SPENT].where(rows["step"] == 0, self._over_rounds(rows).reindex(rows.index))
        found = own + dense[SPENT].mul(_dense_share(rows, dense), axis=0)
        return found.set_axis(["total_seconds", "total_kwh"], axis=1)

    def _over_rounds(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Sums over each network's rounds so far, of those that have rounds."""
        fresh = rows.loc[rows["step"] > 0, [*CHAIN, "round", *SPENT]]
        if fresh.empty:
            return fresh[SPENT]
        held = pd.concat([self._rounds, fresh], ignore_index=True) if len(self._rounds) else fresh
        chains = held.groupby(CHAIN, sort=False)
        whole = chains.cumcount() + 1 == held["round"]
        sums = chains[SPENT].cumsum().where(whole)
        self._rounds = held
        return sums.tail(len(fresh)).set_axis(fresh.index)


def _dense_share(rows: pd.DataFrame, dense: pd.DataFrame) -> Array:
    """The share of the dense network's training that each network rests on; none of its own, for a dense one.

    All of it where trained weights were scored, or are the start; up to epoch i where only θi is the start.
    """
    later = pd.to_numeric(rows["rewind"], errors="coerce").fillna(0) / dense["epochs"]
    whole = rows["scored_at"].eq("trained") | rows["rewind"].str.fullmatch(TUNED.pattern)
    return np.asarray(np.where(rows["removed"] == 0, 0.0, np.where(whole, 1.0, later)))
