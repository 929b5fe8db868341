"""One network under several names: its training was done once, and its rows say whose it is.

That is told by what is trained (`config_hash` of the table runs), not by which job came first: it holds for every run
of a configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from layerlottery.config.naming import ticket_name
from layerlottery.config.studies import Run
from layerlottery.tables.seeds import identities

TRAINING = ["dataset", "network", "seed", "config_hash"]


class Firsts:
    """The first network of each training, in the order of the configuration; `runs` are all networks by place."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._first: dict[tuple[object, ...], int] = {}

    def of(self, rows: pd.DataFrame) -> list[str | None]:
        """The folder of the first network that is the same as each of these; None for the first itself."""
        keys = rows[TRAINING].itertuples(index=False, name=None)
        firsts = [(place, self._first.setdefault(key, place)) for key, place in zip(keys, rows["place"], strict=True)]
        return [None if first == place else self._runs[first].folder for place, first in firsts]


def same_as(tickets: pd.DataFrame) -> pd.Series:
    """By ticket the name of the first one that has the same networks in every seed; null for the first itself.

    `tickets` are rows of the table runs with the number of their `ticket`.
    """
    keys = pd.Series(list(tickets[TRAINING].itertuples(index=False, name=None)), tickets.index)
    names = [ticket_name(one) for one in identities(tickets).to_dict("records")]
    first: dict[frozenset[object], int] = {}
    networks = keys.groupby(tickets["ticket"]).agg(frozenset)
    firsts = [(ticket, first.setdefault(made, ticket)) for ticket, made in networks.items()]
    return pd.Series({ticket: None if one == ticket else names[one] for ticket, one in firsts}, dtype=object)
