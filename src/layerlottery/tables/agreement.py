"""The table `agreement`: how alike two networks answer the same clean test images.

Two networks of equal accuracy may err on different images. Churn (Milani Fard et al. 2016) is the share of images that
exactly one of them answers right; what the same network does over its own seeds is the yardstick for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from layerlottery.tables.answers import NOTHING, Answers
from layerlottery.tables.measures import CLEAN
from layerlottery.tables.seeds import NAMES, WHOLE, shapes
from layerlottery.tables.statistics import Array, Places

START = [name for name in NAMES if name != "criterion"]
# pairs whose answers are held at a time
PAIRS = 256


def agreement(networks: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """One row per ticket, and per dense network, and what it is set beside, where answers of a pair were kept.

    dense: the dense network of the same seed. itself: the same of other seeds. ticket: those of another criterion, of
    the same seed, size and start, each two once. `networks` are all rows of the table runs, in their order.
    """
    rows = networks.assign(blocks=networks["removed_blocks"].map(tuple), architecture=shapes(networks))
    kinds, sheets = rows.groupby(NAMES, sort=False, dropna=False), _sheets(answers, len(rows))
    found = []
    for beside, other, pairs in _pairs(rows, kinds):
        first, second = sheets[pairs].T
        kept = pairs[(first == second) & (first != NOTHING)]
        if len(kept):
            measured = pd.DataFrame(_measured(rows, answers, kept, sheets), index=[0])
            found.append(measured.assign(**rows.iloc[pairs[0, 0]][NAMES], beside=beside, criterion_other=other))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _sheets(answers: Answers, networks: int) -> Places:
    """(networks,): which answers to clean images can be compared, by a common number; −1 where some were not kept."""
    places = range(networks)
    kept = np.column_stack([answers.lists(places, [CLEAN]), answers.predicts(places)])
    numbers = np.unique(kept, axis=0, return_inverse=True)[1].reshape(-1)
    return np.where((kept[:, 0] == NOTHING) | (kept[:, 1] == 0), NOTHING, numbers)


def _pairs(rows: pd.DataFrame, kinds: pd.api.typing.DataFrameGroupBy) -> Iterator[tuple[str, str | None, Places]]:
    """What each kind of network stands beside, the other's criterion, and the pairs of places (pairs, 2)."""
    for _, own in kinds:
        if own["removed"].iloc[0]:
            yield "dense", None, own[["place", "dense"]].to_numpy()
        again = own.merge(own, on="draw", suffixes=("", "_other"))
        again = again[again["seed"] < again["seed_other"]]
        if len(again):
            yield "itself", None, again[["place", "place_other"]].to_numpy()
    for _, alike in rows[rows["removed"] > 0].groupby(START, sort=False):
        criteria = {str(name): own for name, own in alike.groupby("criterion", sort=False)}
        for (_, first), (other, second) in combinations(criteria.items(), 2):
            both = first.merge(second, on="seed", suffixes=("", "_other"))
            if len(both):
                yield "ticket", other, both[["place", "place_other"]].to_numpy()


def _measured(rows: pd.DataFrame, answers: Answers, pairs: Places, sheets: Places) -> dict[str, float]:
    """Means over pairs, in percent of the images; shares of pairs with the same blocks and architecture."""
    first, second = pairs.T
    blocks, architectures = (rows[name].to_numpy() for name in ("blocks", "architecture"))
    whole = rows["structure"].isin(WHOLE).to_numpy()
    same = {
        "same_blocks": np.mean((blocks[first] == blocks[second]) & whole[first] & whole[second]),
        "same_architecture": np.mean(architectures[first] == architectures[second]),
    }
    alike = [pairs[sheets[first] == sheet] for sheet in np.unique(sheets[first])]
    parts = [_alike(answers, own[start : start + PAIRS]) for own in alike for start in range(0, len(own), PAIRS)]
    means = 100 * np.sum(parts, axis=0) / len(pairs)
    return dict(zip(("churn", "both_wrong", "agreement"), means, strict=True)) | same | {"pairs": len(pairs)}


def _alike(answers: Answers, pairs: Places) -> Array:
    """Shares of images, summed over pairs: one right, none right, the same class predicted."""
    places, at = np.unique(pairs, return_inverse=True)
    right, classes = answers.right(places.tolist(), [CLEAN]), answers.predicted(places.tolist())
    first, second = at.reshape(-1, 2).T
    known = right[first], right[second]
    shares = known[0] != known[1], (known[0] + known[1]) == 0, classes[first] == classes[second]
    return np.array([one.mean(axis=1).sum() for one in shares])
