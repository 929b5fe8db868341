"""The stage `aggregate`: every network's artifacts into Parquet tables. Imports no torch.

Networks are read once, in the order of the configuration, and their rows go to disk a batch at a time. What stays
in memory is what tickets are paired with and what statistics are made from.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from layerlottery.config.results import EnergySettings
from layerlottery.config.studies import AggregateSettings, Run, expand, expand_scorings
from layerlottery.store.schemas import TABLES
from layerlottery.tables.collect import Batch, Facts, read_ahead, read_networks, read_scores
from layerlottery.tables.comparisons import comparison_rows
from layerlottery.tables.conditions import Conditions
from layerlottery.tables.pairing import Pair, Pairing, Row
from layerlottery.tables.resilience import Measurements, resilience_columns
from layerlottery.tables.stability import Ranking, stability_rows
from layerlottery.tables.summary import summary_rows
from layerlottery.tables.writing import ResultTable, result_table

Tables = Mapping[str, ResultTable]


def aggregate(results: Path, settings: AggregateSettings) -> dict[str, int]:
    """Write the tables of all networks that the studies ask for; returns the number of rows of each."""
    with _uncollected(), ExitStack() as opened:
        tables = {name: opened.enter_context(result_table(results, name, settings)) for name in TABLES}
        runs, measured = add_networks(results, expand(settings.studies), settings.energy, tables)
        rankings = add_scores(results, expand_scorings(settings.studies), tables)
        tables["summary"].add_rows(summary_rows(runs, settings.statistics))
        tables["comparisons"].add_rows(comparison_rows(runs, settings.statistics))
        tables["resilience"].add_columns(*resilience_columns(runs, measured, confidence=settings.statistics.confidence))
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
        if enabled:
            gc.enable()


def add_networks(
    results: Path, runs: Sequence[Run], energy: EnergySettings, tables: Tables
) -> tuple[list[Row], Measurements]:
    """Write a row per trained network, and its rows for each condition, epoch and compared layer.

    Returns what statistics need of each network.
    """
    conditions = Conditions()
    pairing, measured = Pairing(results, energy, conditions), Measurements(conditions)
    aurocs: dict[tuple[object, ...], float] = {}
    kept: list[Row] = []
    for batch in read_networks(results, runs):
        pairs = pairing.pair(batch)
        tables["runs"].add_rows([pair.row for pair in pairs])
        _add_robustness(batch, pairs, tables["robustness"])
        _add_detection(batch, aurocs, tables["detection"])
        for name in ("curves", "similarity"):
            tables[name].add_table(batch.tables[name])
        measured.add(batch, pairs)
        kept += pairing.kept(pairs)
    return kept, measured


def _add_robustness(batch: Batch, pairs: Sequence[Pair], table: ResultTable) -> None:
    dense, deltas = (np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("dense", "deltas"))
    table.add_table(batch.tables["robustness"], dense_accuracy=pa.array(dense), delta_accuracy=pa.array(deltas))


def _add_detection(batch: Batch, aurocs: dict[tuple[object, ...], float], table: ResultTable) -> None:
    """Each row beside the dense network's; `aurocs` remembers those of the dense networks."""
    rows = batch.tables["detection"]
    names = ("dataset", "network", "seed", "outliers", "score")
    keys = list(zip(*(rows[name].to_pylist() for name in names), strict=True))
    own, counts = rows["auroc"].to_pylist(), rows["removed"].to_pylist()
    aurocs.update({key: value for key, value, removed in zip(keys, own, counts, strict=True) if not removed})
    dense = pa.array([aurocs.get(key) for key in keys], pa.float64())
    table.add_table(rows, dense_auroc=dense, delta_auroc=pc.subtract(rows["auroc"], dense))


def add_scores(results: Path, scorings: Sequence[Run], tables: Tables) -> list[Ranking]:
    """Write a row per scored network, criterion, draw and block. Filters and weights have no blocks."""
    rankings = []
    layers = [scoring for scoring in scorings if scoring.structure == "layers"]
    for scored in read_ahead(partial(read_scores, results), layers):
        rankings += [_ranking(scoring, facts) for scoring, facts in scored]
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
