"""Ranks of tickets, of one benchmark or several: which of them are shown to be more accurate than which others.

Tickets are set against each other in pairs, within seeds, by the model of inference.py; all pairs are one family,
corrected by Holm. A ticket's rank is 1 + the number of tickets that are shown better. Docs: leaderboard.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from layerlottery.config.results import StatisticsSettings
from layerlottery.config.rounds import SHARE
from layerlottery.tables.answers import Answers
from layerlottery.tables.inference import Contrasts, Inference, Measured
from layerlottery.tables.measures import CLEAN
from layerlottery.tables.seeds import NAMES
from layerlottery.tables.statistics import holm, outcome

# what tells a network from others of its ticket, and from the same one that was trained elsewhere
MARKS = ["seed", "draw", "accuracy", "answered"]
PAIR = ["first", "second"]
COLUMNS = [*PAIR, "difference", "low", "high", "p_value", "p_holm", "alpha", "seeds", "method", "outcome"]


@dataclass(frozen=True)
class Ranking:
    """`pairs` has a row per pair of tickets: first, second, difference, low, high, p_value, p_holm, method, outcome.

    `ranks` is indexed by ticket: rank, NaN where nothing could be compared, and how many tickets it is shown better
    and worse than (better_than, worse_than).
    """

    pairs: pd.DataFrame
    ranks: pd.DataFrame


def ranking(networks: pd.DataFrame, answers: Answers, alpha: pd.Series) -> Ranking:
    """Rank tickets of one data set, architecture and recipe, each among those with as many blocks removed.

    `networks` are rows of the table runs, of one benchmark after the other, numbered from 0, with further columns:
    `source`, which benchmark; `ticket`, its number, below 0 for each benchmark's dense networks; `images`, how many it
    was tested on; `answered`, text that tells its answers from others'; `listed`, which list of images these are to.
    A network without an accuracy is compared with none. `alpha` is the level of each ticket's verdicts, by its number;
    a pair has the stricter one of its two.
    """
    stands = _standing(networks)
    held = networks.assign(accuracy=networks["accuracy"].where(networks["ticket"].map(stands).eq(networks["ticket"])))
    pairs = _pairs(held)
    found = pairs.join(_inferred(held, pairs, answers)).rename(columns={"mean": "difference"})
    found["alpha"] = np.minimum(*(alpha.reindex(found[side]).to_numpy() for side in PAIR))
    found["p_holm"] = holm(found["p_value"])
    told = found.rename(columns={"difference": "mean"}).fillna({"seeds": 0})
    found["outcome"] = outcome(told, found["p_holm"], found["alpha"])
    return Ranking(found[COLUMNS], _ranks(found, stands))


def _standing(networks: pd.DataFrame) -> pd.Series:
    """By ticket, the first one whose networks are the same bit for bit; by itself for most.

    What was trained twice on one kind of machine says nothing twice: pools of noise would count it double.
    """
    whole = networks.assign(mark=networks[MARKS].astype(str).fillna("").agg(" ".join, axis=1))
    marks = whole.groupby("ticket")["mark"].agg(lambda own: "\n".join(sorted(own)))
    named = networks.drop_duplicates("ticket").set_index("ticket")[NAMES].join(marks)
    named["ticket"] = named.index
    return named.groupby([*NAMES, "mark"], sort=False, dropna=False)["ticket"].transform("first")


def _pairs(networks: pd.DataFrame) -> pd.DataFrame:
    """All pairs of tickets that stand for themselves, with as many blocks or percent of the filters removed."""
    tickets = networks[(networks["ticket"] >= 0) & networks["accuracy"].notna()].drop_duplicates("ticket")
    # percent of the filters are no number of blocks
    size = [tickets["removed"], tickets["structure"] == SHARE]
    found = [pair for _, own in tickets.groupby(size)["ticket"] for pair in combinations(sorted(own), 2)]
    return pd.DataFrame(found, columns=PAIR, dtype=int)


def _inferred(networks: pd.DataFrame, pairs: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """The inference on every pair that shares a seed, by its number."""
    if pairs.empty:
        return pd.DataFrame(columns=["mean", "low", "high", "p_value", "seeds", "method"], dtype=float)
    # networks of other benchmarks are other kinds, and those that answered other images are pooled apart
    names = networks["source"].astype(str) + " " + networks["criterion"].fillna("")
    # of copies only one is here (_standing)
    apart = networks.assign(criterion=names, network=networks["listed"].fillna(""), config_hash=networks.index)
    keys = ["contrast", "seed", "place"]
    numbered = pairs.rename_axis("contrast").reset_index()
    ours, theirs = (numbered.merge(networks, left_on=side, right_on="ticket")[keys] for side in PAIR)
    conditions = {place: [CLEAN] for place in networks["place"]}
    measured = Measured(networks["accuracy"].to_numpy(float), 100 / networks["images"].to_numpy(float), conditions)
    contrasts = Contrasts.between(ours, theirs, len(networks))
    return Inference(apart, answers, StatisticsSettings()).of(contrasts, measured)


def _ranks(pairs: pd.DataFrame, stands: pd.Series) -> pd.DataFrame:
    """What the pairs say of each ticket, and so of those that it stands for."""
    tickets = sorted({*stands[stands.index >= 0]})
    at = {ticket: place for place, ticket in enumerate(tickets)}
    better = np.zeros((len(tickets), len(tickets)), dtype=bool)
    for first, second, told in pairs[[*PAIR, "outcome"]].itertuples(index=False, name=None):
        if told in ("better", "worse"):
            winner, other = (first, second) if told == "better" else (second, first)
            better[at[winner], at[other]] = True
    _close(better)
    compared = {ticket for side in PAIR for ticket in pairs.loc[pairs["p_value"].notna(), side]}
    every = stands[stands.index >= 0]
    # a ticket counts as often as it is there
    times = every.value_counts().reindex(tickets).to_numpy(int)
    ranks = pd.DataFrame({"better_than": better @ times, "worse_than": times @ better}, index=tickets)
    ranks["rank"] = (1.0 + ranks["worse_than"]).where(ranks.index.isin(compared))
    return ranks.reindex(every).set_axis(every.index)


def _close(better: npt.NDArray[np.bool_]) -> None:
    """Who is better than one that is better than a third is better than that: both hold, or the family erred already.

    In a circle, which only tickets of different seeds can make, each is better than the others and not than itself.
    """
    for middle in range(len(better)):
        better |= np.outer(better[:, middle], better[middle])
    np.fill_diagonal(better, val=False)
