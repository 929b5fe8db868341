"""The stage `aggregate`: every network's artifacts into Parquet tables. Imports no torch.

Networks are read once, in the order of the configuration, and their rows go to disk a batch at a time. What stays
in memory is what tickets are paired with and what statistics are made from.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from layerlottery.results.collect import Facts, read_ahead, read_networks, read_scores
from layerlottery.results.comparisons import comparison_rows
from layerlottery.results.pairing import Pair, Pairing, Row
from layerlottery.results.schemas import TABLES
from layerlottery.results.stability import Ranking, stability_rows
from layerlottery.results.summary import summary_rows
from layerlottery.results.tables import ResultTable, result_table
from layerlottery.settings import EnergySettings
from layerlottery.studies import AggregateSettings, Run, expand, expand_scorings

Tables = Mapping[str, ResultTable]


def aggregate(results: Path, settings: AggregateSettings) -> dict[str, int]:
    """Write the tables of all networks that the studies ask for; returns the number of rows of each."""
    with _uncollected(), ExitStack() as opened:
        tables = {name: opened.enter_context(result_table(results, name, settings)) for name in TABLES}
        runs = add_networks(results, expand(settings.studies), settings.energy, tables)
        rankings = add_scores(results, expand_scorings(settings.studies), tables)
        # statsmodels collects garbage at every correction, come what may: these rows need not be walked each time
        gc.freeze()
        tables["summary"].add_rows(summary_rows(runs, settings.statistics))
        tables["comparisons"].add_rows(comparison_rows(runs, settings.statistics))
        tables["stability"].add_rows(stability_rows(rankings))
    return {name: table.rows for name, table in tables.items()}


@contextmanager
def _uncollected() -> Iterator[None]:
    """Rows refer to nothing in circles, and looking for garbage among those of 20,000 networks takes its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def add_networks(results: Path, runs: Sequence[Run], energy: EnergySettings, tables: Tables) -> list[Row]:
    """Write a row per trained network, and its rows for each condition, epoch and compared layer.

    Returns what statistics need of each network.
    """
    pairing, kept = Pairing(results, energy), []
    for networks in read_networks(results, runs):
        pairs = [pairing.pair(network) for network in networks]
        tables["runs"].add_rows([pair.row for pair in pairs])
        _add_robustness(pairs, tables["robustness"])
        tables["curves"].add_tables([(network.run, network.curve) for network in networks])
        compared = [(network.run, network.similarity) for network in networks if network.similarity is not None]
        tables["similarity"].add_tables(compared)
        kept += [pair.kept() for pair in pairs]
    return kept


def _add_robustness(pairs: Sequence[Pair], table: ResultTable) -> None:
    table.add_tables(
        [(pair.run, conditions) for pair in pairs for conditions in pair.conditions],
        dense_accuracy=list(chain.from_iterable(pair.dense_accuracy for pair in pairs)),
        delta_accuracy=list(chain.from_iterable(pair.delta_accuracy for pair in pairs)),
    )


def add_scores(results: Path, scorings: Sequence[Run], tables: Tables) -> list[Ranking]:
    """Write a row per scored network, criterion, draw and block. Filters and weights have no blocks."""
    rankings = []
    layers = [scoring for scoring in scorings if scoring.structure == "layers"]
    for scored in read_ahead(partial(read_scores, results), layers):
        for scoring, facts in scored:
            rankings.append(_ranking(scoring, facts))
        tables["scores"].add_rows([row for scoring, facts in scored for row in _score_rows(scoring, facts)])
    return rankings


def _ranking(scoring: Run, facts: Facts) -> Ranking:
    scores = {block["name"]: block["score"] for block in facts["blocks"] if block["removable"]}
    return Ranking(scoring, facts["settings"]["function"], scores)


def _score_rows(scoring: Run, facts: Facts) -> Iterator[Row]:
    """The blocks of one scoring; rank 1 goes first."""
    ranked = sorted((block for block in facts["blocks"] if block["removable"]), key=lambda block: float(block["score"]))
    ranks = {block["name"]: number for number, block in enumerate(ranked, start=1)}
    for block in facts["blocks"]:
        yield vars(scoring) | block | {"block": block["name"], "rank": ranks.get(block["name"])}
