"""What is said of the difference between networks: its estimate, and what other seeds and other images may change.

A difference is a contrast: networks of a ticket, draws averaged, minus those that they are set against, within each
seed. Where the answers to test images were kept, seeds and images both count as drawn at random (tables/crossed.py);
of what is no mean of answers only the seeds are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.answers import NOTHING, Answers
from layerlottery.tables.crossed import Contrast, contrast, pool
from layerlottery.tables.looks import level
from layerlottery.tables.measures import ConditionName
from layerlottery.tables.seeds import NAMES
from layerlottery.tables.statistics import SINGLE, Array, Places, described, interval_ends, p_differs

BY_SEEDS, BY_BOTH = "seeds", "seeds and images"
NETWORK = ["dataset", "network"]
# numbers of a seed × image table held at a time: 64 MiB, and as much again for what is computed of them
HELD = 2**23


class Measured(NamedTuple):
    """One value of every network, (networks,), NaN where it has none; in percent if it is the mean of answers.

    `floor` is then the standard error of one image more and one fewer, which counts where no answers were kept.
    `conditions` are by the network's place those whose answers it is the mean of.
    """

    values: Array
    floor: Array | None = None
    conditions: Mapping[int, Sequence[ConditionName]] = {}


@dataclass(frozen=True)
class Contrasts:
    """Differences within seeds: `rows` are (contrast, seed), and the weights of each, (rows, networks), sum to 1."""

    rows: pd.MultiIndex
    ours: sparse.csr_array
    theirs: sparse.csr_array

    @classmethod
    def between(cls, ours: pd.DataFrame, theirs: pd.DataFrame, networks: int) -> Contrasts:
        """Of frames with the columns contrast, seed and place; a seed that one side lacks does not count.

        A network that stands in several rows of a contrast and seed counts as often in their mean.
        """
        keys = [pd.MultiIndex.from_frame(side[["contrast", "seed"]]) for side in (ours, theirs)]
        rows = keys[0].unique().intersection(keys[1].unique()).sort_values()
        sides = (_weights(rows, key, side["place"], networks) for key, side in zip(keys, (ours, theirs), strict=True))
        return cls(rows, *sides)

    def sides(self, values: Array) -> tuple[pd.Series, pd.Series]:
        """Means of both sides of every row; NaN for both where one has no value."""
        ours, theirs = self.ours @ values, self.theirs @ values
        known = ~np.isnan(ours - theirs)
        return tuple(pd.Series(np.where(known, side, np.nan), self.rows) for side in (ours, theirs))

    def shared(self, numbers: Places) -> Places:
        """The number that all networks of each row have in common, −1 where there is none."""
        ends = [
            extreme.reduceat(numbers[side.indices], side.indptr[:-1])
            for side in (self.ours, self.theirs)
            for extreme in (np.minimum, np.maximum)
        ]
        return np.where(np.min(ends, axis=0) == np.max(ends, axis=0), ends[0], -1)

    def samples(self, values: Array) -> pd.DataFrame:
        """Differences by contrast and seed, NaN where there is none."""
        ours, theirs = self.sides(values)
        return (ours - theirs).unstack("seed")


def _weights(rows: pd.MultiIndex, keys: pd.MultiIndex, places: pd.Series, networks: int) -> sparse.csr_array:
    at = rows.get_indexer(keys)
    known = at >= 0
    counted = (np.ones(known.sum()), (at[known], places.to_numpy()[known]))
    weights = sparse.csr_array(counted, shape=(len(rows), networks))
    weights.data /= np.repeat(weights.sum(axis=1), np.diff(weights.indptr))
    return weights


class Inference:
    """Infers from the networks of a benchmark, rows of the table runs in their order."""

    def __init__(self, networks: pd.DataFrame, answers: Answers, settings: StatisticsSettings) -> None:
        self.settings = settings
        self._answers = answers
        self._group = networks.groupby(NETWORK, sort=False).ngroup().to_numpy()
        # networks that one training made bear its hash, whatever they are called
        self._training = pd.factorize(networks["config_hash"])[0]
        # networks that share all but the seed stand in one row
        kinds = networks.groupby([*NAMES, "draw"], sort=False, dropna=False).ngroup().to_numpy()
        self._seeds, column = np.unique(networks["seed"].to_numpy(), return_inverse=True)
        self._places = np.full((kinds.max(initial=-1) + 1, len(self._seeds)), -1)
        self._places[kinds, column] = np.arange(len(networks))

    def of(self, contrasts: Contrasts, measured: Measured) -> pd.DataFrame:
        """The inference on every contrast, in the order of its name, which is the index.

        Columns: mean, sd, se, df, seeds, seed_variance, image_variance, method, alpha, low, high, p_value, and the
        means of both sides, ours and theirs. Contrasts that no seed has a value of are left out.
        """
        ours, theirs = contrasts.sides(measured.values)
        samples = (ours - theirs).unstack("seed").dropna(how="all")
        numbered = pd.Series(np.arange(len(ours)), contrasts.rows).where(ours.notna())
        at = numbered.unstack("seed", fill_value=-1).reindex_like(samples).fillna(-1).to_numpy(int)
        # one network of each contrast stands for all: what is looked up is the same for its dataset and network
        place = contrasts.ours.indices[contrasts.ours.indptr[at.max(axis=1, initial=-1)]]
        floor = np.nan if measured.floor is None else measured.floor[place]
        found = described(samples.to_numpy(), floor).set_axis(samples.index)
        found = found.assign(seed_variance=found["se"] ** 2, image_variance=np.nan, method=BY_SEEDS)
        found.loc[found["seeds"] < 2, "method"] = SINGLE
        if measured.conditions and len(found):
            self._cross(found, at, samples.columns.to_numpy(), place, contrasts, measured)
        means = {name: side.groupby("contrast").mean() for name, side in (("ours", ours), ("theirs", theirs))}
        return self._tested(found.join(pd.DataFrame(means)))

    def _tested(self, found: pd.DataFrame) -> pd.DataFrame:
        seeds = {int(one): level(self.settings, int(one)) for one in found["seeds"].unique()}
        found["alpha"] = found["seeds"].map(seeds).astype(float)
        found["low"], found["high"] = interval_ends(found, found["alpha"])
        return found.assign(p_value=p_differs(found))

    def _cross(
        self, found: pd.DataFrame, at: Places, seeds: Places, place: Places, contrasts: Contrasts, measured: Measured
    ) -> None:
        """Put the inference from seeds and images in the place of that from seeds, where all answers were kept.

        `at` are the rows of `contrasts`, (contrasts, seeds), -1 where a seed is missing. A contrast of which a network
        lacks answers keeps the inference from seeds.
        """
        columns = ["se", "df", "seed_variance", "image_variance"]
        sheets, asked = self._sheets(measured)
        shared = _shared(contrasts.shared(sheets), at)
        patterns = pd.DataFrame(at >= 0).assign(group=self._group[place], sheet=shared)
        patterns = patterns[(shared != NOTHING) & ((at >= 0).sum(axis=1) > 1)]
        for _, some in patterns.groupby([*range(at.shape[1]), "group", "sheet"], sort=False):
            own = some.index.to_numpy()
            having = at[own[0]] >= 0
            rows, sheet = at[np.ix_(own, np.flatnonzero(having))], int(shared[own[0]])
            usable = (self._group == self._group[place[own[0]]]) & (sheets == sheet) & ~np.isnan(measured.values)
            crossed = self._crossed(usable, rows, seeds[having], contrasts, asked[sheet])
            if crossed is not None:
                found.loc[found.index[own], columns] = np.column_stack([getattr(crossed, name) for name in columns])
                found.loc[found.index[own], "method"] = BY_BOTH

    def _sheets(self, measured: Measured) -> tuple[Places, list[Sequence[ConditionName]]]:
        """By network the number of the conditions and images that it answered, −1: none; by number the conditions."""
        sheets = np.full(len(measured.values), NOTHING)
        alike: dict[tuple[ConditionName, ...], list[int]] = defaultdict(list)
        for place, conditions in measured.conditions.items():
            alike[tuple(conditions)].append(place)
        asked: list[Sequence[ConditionName]] = []
        for conditions, places in alike.items():
            numbers = self._answers.lists(places, conditions)
            sheets[places] = np.where(numbers == NOTHING, NOTHING, numbers + len(asked))
            asked += [conditions] * (numbers.max(initial=NOTHING) + 1)
        return sheets, asked

    def _crossed(
        self,
        usable: npt.NDArray[np.bool_],
        rows: Places,
        seeds: Places,
        contrasts: Contrasts,
        conditions: Sequence[ConditionName],
    ) -> Contrast | None:
        """Contrasts in percent, (contrasts, seeds) rows, in the pool of the `usable` networks; None of one image."""
        grid = self._places[:, np.searchsorted(self._seeds, seeds)]
        whole = grid[((grid >= 0) & usable[grid]).all(axis=1)]
        # one training under two names says nothing twice
        whole = whole[np.sort(np.unique(self._training[whole], axis=0, return_index=True)[1])]
        # a draw that only some seeds have takes part in a contrast, and says nothing in the pool
        weights = (contrasts.ours - contrasts.theirs)[rows.ravel()]
        used = np.union1d(whole.ravel(), np.unique(weights.indices))
        right = self._answers.right(used.tolist(), conditions)
        if right.shape[1] < 2:
            return None
        order = np.searchsorted(used, whole)
        pooled = pool(right[order])
        parts = [contrast(table, pooled) for table in _tables(weights[:, used], right, len(conditions), len(seeds))]
        percent = (100, 100, 1, 100**2, 100**2)
        return Contrast(*(np.concatenate(one) * by for one, by in zip(zip(*parts, strict=True), percent, strict=True)))


def _shared(numbers: Places, at: Places) -> Places:
    """The number that all rows of each contrast, (contrasts, seeds), have in common, −1 where there is none."""
    each = np.where(at >= 0, numbers[at], numbers[at.max(axis=1, initial=-1)][:, None])
    return np.where((each == each[:, :1]).all(axis=1), each[:, 0], NOTHING)


def _tables(weights: sparse.csr_array, right: npt.NDArray[Any], conditions: int, seeds: int) -> Iterator[Array]:
    """Differences of shares, (contrasts, seeds, images), some contrasts at a time."""
    images = right.shape[1]
    step = seeds * max(1, HELD // (seeds * images))
    for start in range(0, weights.shape[0], step):
        yield (weights[start : start + step] @ right).reshape(-1, seeds, images) / conditions
