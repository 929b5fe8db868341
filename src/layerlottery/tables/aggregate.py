"""The stage `aggregate`: every network's artifacts into Parquet tables. Imports no torch.

Networks are read once, in the order of the configuration, and their rows go to disk a batch at a time. What stays
in memory is what tickets are paired with and what statistics are made from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from layerlottery.config.results import EnergySettings
from layerlottery.config.studies import AggregateSettings, Run, expand, expand_scorings
from layerlottery.store.chain import Chain
from layerlottery.store.schemas import TABLES
from layerlottery.tables.agreement import agreement
from layerlottery.tables.answers import Answers
from layerlottery.tables.chance import against_chance
from layerlottery.tables.collect import read_ahead, read_batch, read_scores
from layerlottery.tables.comparisons import comparisons
from layerlottery.tables.inference import NETWORK, Inference
from layerlottery.tables.measures import CLEAN_ACCURACY
from layerlottery.tables.pairing import Pairing, tell_of_types
from layerlottery.tables.resilience import Measurements, resilience
from layerlottery.tables.stability import stability
from layerlottery.tables.summary import summary
from layerlottery.tables.writing import ResultTable, result_table

SCORING = ["dataset", "network", "seed", "criterion", "draw", "scored_at"]
Tables = Mapping[str, ResultTable]


def aggregate(
    results: Path, settings: AggregateSettings, *, there: Callable[[Run], bool] | None = None
) -> dict[str, int]:
    """Write the tables of all networks that the studies ask for; returns the number of rows of each.

    Of a benchmark that has not ended `there` tells which networks and scorings are there; a ticket goes with its dense
    network, and costs may be missing.
    """
    kept, partial = there or (lambda run: True), there is not None
    runs, statistics, chain = list(filter(kept, expand(settings.studies, settings))), settings.statistics, Chain()
    # filters and weights have no blocks
    scorings = [scoring for scoring in expand_scorings(settings.studies, settings) if scoring.structure == "layers"]
    scorings = list(filter(kept, scorings))
    with ExitStack() as opened:
        tables = {name: opened.enter_context(result_table(results, name, settings)) for name in TABLES}
        answers = Answers()
        networks, measured = add_networks(results, runs, settings.energy, tables, chain, answers, partial)
        if any(run.removed for run in runs):
            found = pd.concat(networks, ignore_index=True).join(measured.differences())
            tell_of_types(found)
            inference = Inference(found, answers, statistics)
            inferred, accuracy = resilience(found, measured, inference), measured.of(CLEAN_ACCURACY, len(found))
            chance = against_chance(found, accuracy, answers, statistics)
            tables["summary"].add(summary(found, inferred, statistics).join(chance, on=NETWORK))
            tables["comparisons"].add(comparisons(found, accuracy, inference))
            tables["resilience"].add(inferred)
            tables["agreement"].add(agreement(found, answers))
        if scores := add_scores(results, scorings, tables["scores"], chain):
            tables["stability"].add(stability(pd.concat(scores)))
    return {name: table.rows for name, table in tables.items()}


def add_networks(
    results: Path,
    runs: Sequence[Run],
    energy: EnergySettings,
    tables: Tables,
    chain: Chain,
    answers: Answers,
    unprofiled: bool = False,
) -> tuple[list[pd.DataFrame], Measurements]:
    """Write a row per trained network, and its rows for each condition, epoch and compared layer.

    Returns what statistics need of each network.
    """
    pairing, measured = Pairing(results, runs, energy, unprofiled=unprofiled), Measurements()
    networks = []
    read = functools.partial(read_batch, results, energy.lacoste_intensity, unprofiled=unprofiled)
    for batch, said in read_ahead(read, list(enumerate(runs))):
        chain.join(said)
        networks.append(pairing.networks(batch["runs"], batch["costs"]))
        conditions, outliers = pairing.conditions(batch["robustness"]), pairing.outliers(batch["detection"])
        measured.add(conditions, outliers)
        answers.add(batch["robustness"])
        tables["answers"].add(batch["robustness"].filter(pc.field("answers").is_valid()))
        tables["runs"].add(batch["runs"], **networks[-1])
        tables["robustness"].add(batch["robustness"], **conditions[["dense_accuracy", "delta_accuracy"]])
        tables["detection"].add(batch["detection"], **outliers[["dense_auroc", "delta_auroc"]])
        for name in ("curves", "similarity"):
            tables[name].add(batch[name])
    return networks, measured


def add_scores(results: Path, scorings: Sequence[Run], table: ResultTable, chain: Chain) -> list[pd.DataFrame]:
    """Write a row per scored network, criterion, draw and block; returns what their ranks are compared by."""
    found = []
    for scores, said in read_ahead(functools.partial(read_scores, results), scorings):
        chain.join(said)
        blocks = scores.select([*SCORING, "block", "removable", "score", "function"]).to_pandas()
        removable = blocks[blocks["removable"]]
        # rank 1 goes first
        ranks = removable.groupby(SCORING)["score"].rank(method="first")
        table.add(scores, rank=ranks.reindex(blocks.index))
        found.append(removable)
    return found
