"""Tickets as groups of networks: the seed is the unit, draws are averaged within it first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from layerlottery.config.criteria import DEEPEST, DEPTHS, DRAWN, CriterionSettings
from layerlottery.config.studies import AT_COST, FRESH, TUNED_ON
from layerlottery.store.schemas import TICKET

NAMES = [column.name for column in TICKET]
# structures whose blocks are whole or gone: of dense_at_cost and dense_tuned all are there
WHOLE = ("none", "layers", "dense_at_cost", TUNED_ON)


def pruned(networks: pd.DataFrame) -> pd.DataFrame:
    """The networks that are no dense ones; `ticket` numbers what trained them, in the order of first appearance."""
    rows = networks[networks["removed"] > 0]
    return rows.assign(ticket=rows.groupby(NAMES, sort=False).ngroup())


def are_controls(tickets: pd.DataFrame) -> pd.Series:
    """Which networks stand for no choice of a criterion: random, deepest, given depths, fresh weights, equal costs."""
    settings = tickets["criterion_settings"].map(json.loads)
    functions = settings.map(lambda one: one["function"])
    deepest = settings.map(selection).eq(DEEPEST) & tickets["structure"].eq("layers")
    chosen_by_none = functions.isin([*DRAWN, DEPTHS]) | deepest
    return chosen_by_none | tickets["rewind"].eq(FRESH) | tickets["structure"].isin([*AT_COST, TUNED_ON])


def selection(settings: dict[str, Any]) -> str:
    """How a criterion with these recorded settings selects blocks."""
    return str(settings.get("select", CriterionSettings.model_fields["select"].default))


def shapes(networks: pd.DataFrame) -> pd.Series:
    """What makes two networks of a family one architecture: of layers, what it costs and where blocks are gone.

    Which of several equal blocks of a stage went makes no difference, and the hash of the architecture names them.
    """
    lost = networks["removed_blocks"].map(lambda names: ",".join(sorted(one.rpartition(".")[0] for one in names)))
    for cost in ("macs", "params"):
        lost = lost + " " + networks[cost].astype(str)
    return lost.where(networks["structure"].isin(WHOLE), networks["architecture"])


def identities(tickets: pd.DataFrame) -> pd.DataFrame:
    """The columns that name each ticket, by its number."""
    return tickets.drop_duplicates("ticket").set_index("ticket")[NAMES]


def per_seed(tickets: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Means over the draws of each ticket and seed, which index them; NaN where a draw has no value."""
    groups = tickets.groupby(["ticket", "seed"])
    numbers, draws = groups.ngroup().to_numpy(), groups.size()
    # in the order of the table, and without the compensation of pandas' own sums
    means = {name: np.bincount(numbers, values[name]) / draws.to_numpy() for name in values}
    return pd.DataFrame(means, index=draws.index)


def samples(seeds: pd.Series | pd.DataFrame) -> pd.DataFrame:
    """Values by ticket and seed as (samples, seeds), NaN where there is none; of a frame, a sample per column too."""
    return (seeds.stack() if isinstance(seeds, pd.DataFrame) else seeds).unstack("seed")
