"""Whether the headline of a benchmark is luck: how often it repeats with other seeds and other test images.

`python benchmarks/headline.py --results FOLDER --seeds 10 [--repeats 500]` takes a finished benchmark of more seeds,
draws so many of them (none twice) and as many test images (with replacement) again and again, makes the verdicts on
clean accuracy anew from the kept answers, and prints how often the headline and each ticket's verdict come out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from layerlottery.config.results import StatisticsSettings
from layerlottery.report.verdict import chosen
from layerlottery.tables.answers import Answers
from layerlottery.tables.inference import Inference, Measured
from layerlottery.tables.measures import CLEAN, CLEAN_ACCURACY, ConditionName
from layerlottery.tables.resilience import resilience
from layerlottery.tables.seeds import NAMES
from layerlottery.tables.summary import MEANS, RATIOS, summary

FAMILY = ["dataset", "network", "seed"]


class Resampled(Answers):
    """Answers of some networks, to images that may come more than once."""

    def __init__(self, right: np.ndarray) -> None:
        super().__init__()
        self._right = right

    def lists(self, places: Sequence[int], conditions: Sequence[ConditionName]) -> np.ndarray:
        return np.zeros(len(places), np.intp)

    def right(self, places: Sequence[int], conditions: Sequence[ConditionName]) -> np.ndarray:
        return self._right[list(places)]


class OnlyAccuracy:
    """Accuracy on these images, as the one measure."""

    def __init__(self, right: np.ndarray) -> None:
        self._right = right

    def each(self, networks: int) -> list[tuple[object, Measured]]:
        values = 100 * self._right.mean(axis=1)
        return [(CLEAN_ACCURACY, Measured(values, None, {place: [CLEAN] for place in range(networks)}))]


def read(results: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """The networks in their order, and which clean test images each got right, (networks, images)."""
    networks = pd.read_parquet(results / "tables" / "runs.parquet")
    held = pq.read_table(results / "tables" / "answers.parquet").to_pandas()
    clean = held[(held["kind"] == "clean") & (held["name"] == "clean")].reset_index(drop=True)
    keys = [*FAMILY, *(name for name in NAMES if name not in FAMILY), "draw"]
    assert networks[keys].astype(object).fillna("").equals(clean[keys].astype(object).fillna(""))
    right = [np.unpackbits(np.frombuffer(row.answers, np.uint8), count=row.images) for row in clean.itertuples()]
    beside = dict.fromkeys((*MEANS, *RATIOS), 1.0) | {
        f"{kind}_{part}": 0 for kind in ("attack", "corruption", "shift") for part in ("sum", "count")
    }
    lacking = {name: value for name, value in beside.items() if name not in networks}
    return networks.assign(architecture="", **lacking), np.array(right)


def verdicts(networks: pd.DataFrame, right: np.ndarray, settings: StatisticsSettings) -> pd.DataFrame:
    """The summary of these networks on these images."""
    own = networks.reset_index(drop=True).reset_index(names="place")
    dense = own[own["removed"] == 0].set_index(FAMILY)["place"]
    accuracy = 100 * right.mean(axis=1)
    own["dense"] = dense.reindex(pd.MultiIndex.from_frame(own[FAMILY])).to_numpy()
    own = own.assign(accuracy=accuracy, delta_accuracy=accuracy - accuracy[own["dense"]])
    inference = Inference(own, Resampled(right), settings)
    found = summary(own, resilience(own, OnlyAccuracy(right), inference), settings)
    return found.assign(ticket=found["criterion"] + " " + found["structure"] + " rewind " + found["rewind"])


def category(rows: pd.DataFrame) -> str:
    """What the headline says: how many tickets are proven to win."""
    tickets = chosen(rows)
    return f"{int(tickets['winning_holm'].eq(True).sum())} of {len(tickets)} proven to win"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--xi", type=float, default=1.0)
    given = parser.parse_args()
    networks, right = read(given.results)
    settings = StatisticsSettings(xi=[given.xi], primary=["clean"])
    random, every = np.random.default_rng(0), networks["seed"].unique()
    headlines: Counter[str] = Counter()
    tickets: dict[str, Counter[str]] = {}
    for _ in range(given.repeats):
        some = networks["seed"].isin(random.choice(every, given.seeds, replace=False)).to_numpy()
        images = random.integers(0, right.shape[1], right.shape[1])
        rows = verdicts(networks[some], right[some][:, images], settings)
        headlines[category(rows)] += 1
        for row in rows.itertuples():
            word = f"{row.verdict_holm}{', wins' if row.winning_holm is True else ''}"
            tickets.setdefault(row.ticket, Counter())[word] += 1
    print(f"{given.seeds} of {len(every)} seeds and {right.shape[1]} images drawn {given.repeats} times\n")
    for name, found in {"headline": headlines, **tickets}.items():
        shown = "; ".join(f"{100 * n / given.repeats:.1f} % {word}" for word, n in found.most_common())
        print(f"| {name} | {shown} |")


if __name__ == "__main__":
    main()
