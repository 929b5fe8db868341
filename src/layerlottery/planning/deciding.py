"""What so many seeds can tell, and which would decide what is open; docs/statistics.md. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.naming import family_name, gone_name, variant_name
from layerlottery.config.results import StatisticsSettings
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_result_table
from layerlottery.store.schemas import TICKET, arrow_schema
from layerlottery.tables.looks import level
from layerlottery.tables.measures import CLEAN_ACCURACY, PRIMARY
from layerlottery.tables.power import detectable
from layerlottery.tables.statistics import SINGLE, UNDECIDED, holm, p_within
from layerlottery.words import counted, gone, number

# before the first run: the share of images that one of two networks answers right, and the standard deviation over
# seeds of their difference beyond that, percentage points
CHURN, SEED_SD = 0.05, 0.3
MOST, NAMED = 1000, 8
OPEN = (UNDECIDED, SINGLE)


@dataclass(frozen=True)
class Found:
    """What the tables of a results folder say: seeds, looks so far, what is open, and what would decide it."""

    seeds: list[int]
    looks: list[int]
    most: int | None
    open: list[str]
    tickets: int
    further: int | None

    @property
    def told(self) -> str:
        """How it stands, in one sentence."""
        here = f"{counted(len(self.seeds), 'seed', 'seeds')}: "
        if not self.open:
            return f"{here}all primary endpoints of {counted(self.tickets, 'ticket', 'tickets')} are decided"
        more = f"; and {len(self.open) - NAMED} more" if len(self.open) > NAMED else ""
        return f"{here}undecided are {'; '.join(self.open[:NAMED])}{more}"


def found(benchmark: Benchmark, results: Path) -> Found:
    """How a finished benchmark stands at the report's tolerance; raises LayerLotteryError where it has no tables."""
    manifest, tables = results / "manifest.json", str(results / "tables")
    if not manifest.exists():
        raise LayerLotteryError(f"{manifest}: no finished benchmark here; run snakemake --cores all first")
    said = read_facts(manifest)
    summary, inferred = (
        read_result_table(Path(paths.table(tables, name)), arrow_schema(name)).to_pandas()
        for name in ("summary", "resilience")
    )
    xi = "sd" if benchmark.report.xi == "sd" else f"{benchmark.report.xi:g}"
    rows = summary[(summary["xi"] == xi) & ~summary["is_control"].astype(bool)]
    if rows.empty:
        raise LayerLotteryError(f"{tables}: no ticket at ξ = {xi}; run snakemake --cores all first")
    undecided = rows[rows["verdict_holm"].isin(OPEN)]
    more, others = undecided["more_seeds"].dropna(), list(_open_endpoints(inferred, rows))
    planned = said["configuration"].get("statistics", {})
    return Found(
        seeds=said["seeds"],
        looks=[int(look) for look in planned.get("looks", [])],
        most=planned.get("most"),
        open=[*map(_named, undecided.to_dict("records")), *others],
        tickets=len(rows),
        # only clean accuracy says how many would do
        further=int(more.max()) if len(more) == len(undecided) > 0 and not others else None,
    )


def _named(row: dict[Any, Any]) -> str:
    size = gone(gone_name(row["structure"], row["removed"]))
    variant = variant_name(row["structure"], row["scored_at"], row["rewind"], int(row["step"]))
    return f"{family_name(row['criterion'], variant)} with {size} on {row['dataset']}, {row['network']}"


def _open_endpoints(inferred: pd.DataFrame, tickets: pd.DataFrame) -> Iterator[str]:
    """Primary endpoints beside clean accuracy that are neither better nor worse, nor, of accuracies, equivalent.

    Equivalence within ξ is corrected by Holm for the endpoints and tickets of a network, as for clean accuracy.
    """
    keys = [column.name for column in TICKET]
    rows = inferred.merge(tickets[[*keys, "xi_points", "confidence"]], on=keys)
    rows = rows[(rows["role"] == PRIMARY) & (rows["measure"] != CLEAN_ACCURACY.measure)]
    found = rows.rename(columns={"difference": "mean"})
    p = pd.Series(p_within(found, rows["xi_points"]), rows.index).where(rows["unit"] == "%")
    corrected = p.groupby([rows["dataset"], rows["network"]]).transform(holm)
    within = corrected <= (1 - rows["confidence"]) / 2
    for row in rows[rows["outcome"].isin(OPEN) & ~within].to_dict("records"):
        name = "" if pd.isna(row["name"]) else f", {row['name']}"
        level = "" if pd.isna(row["level"]) else f" at {row['level']:g}/255"
        yield f"{row['measure']}{name}{level} of {_named(row)}"


def next_values(state: Found, add: int, most: int) -> list[str]:
    """Words of Snakemake's --config that add so many seeds, and say at which numbers of seeds results are looked at."""
    fresh = range(max(state.seeds) + 1, max(state.seeds) + 1 + add)
    return values([*state.seeds, *fresh], [*state.looks, len(state.seeds), len(state.seeds) + add], most)


def values(seeds: list[int], looks: list[int], most: int) -> list[str]:
    """The same for these seeds and looks."""
    known = sorted(set(looks))
    return [f"more_seeds={json.dumps(seeds)}", f"statistics={{looks: {json.dumps(known)}, most: {most}}}"]


def tells(benchmark: Benchmark, images: dict[str, int]) -> Iterator[str]:
    """What the seeds of a benchmark can tell of each network, from its tables or, before them, from stated defaults."""
    tables = Path(paths.table(f"{benchmark.results}/tables", "summary"))
    if tables.exists():
        rows = read_result_table(tables, arrow_schema("summary")).to_pandas().dropna(subset=["detectable"])
        # the noisiest of its tickets and controls: all others are told at least as well
        largest = rows.loc[rows.groupby(["dataset", "network"], sort=False)["detectable"].idxmax()]
        for row in largest.to_dict("records"):
            yield _telling(row["dataset"], row["network"], row["seeds"], row["detectable"], "as found so far")
        return
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in benchmark.runs():
        kinds.setdefault((run.dataset, run.network), []).append(run)
    for (dataset, network), runs in kinds.items():
        seeds = {run.seed for run in runs}
        variance = 1e4 * CHURN / images[dataset] + SEED_SD**2
        others = len({replace(run, seed=0) for run in runs}) - 1
        least = _detectable(variance, len(seeds), others, benchmark.statistics)
        assumed = f"if {100 * CHURN:g} % of their answers differ"
        yield _telling(dataset, network, len(seeds), least, assumed)
        tie = _seeds_for_tie(variance, others, benchmark)
        if tie is not None:
            yield f"  {tie} seeds would show a true tie within {benchmark.report.xi:g} pp, if so"


def _telling(dataset: str, network: str, seeds: int, least: float, why: str) -> str:
    size = f"true differences of {number(least)} pp with 80 % power, {why}" if seeds > 1 else "nothing"
    return f"{dataset}, {network}: {counted(seeds, 'seed', 'seeds')} tell {size}"


def _detectable(variance: float, seeds: int, others: int, settings: StatisticsSettings) -> float:
    if seeds < 2:
        return float("nan")
    df = (seeds - 1) * max(1, others)
    return float(detectable(np.sqrt(variance / seeds), df, level=level(settings, seeds)))


def _seeds_for_tie(variance: float, others: int, benchmark: Benchmark) -> int | None:
    """Seeds that show two one-sided tests within ξ, if there is no difference, with 80 % power: 90 % for each."""
    if benchmark.report.xi in ("sd", 0):
        return None
    alpha, xi = 1 - benchmark.statistics.confidence, float(benchmark.report.xi)
    for seeds in range(2, MOST):
        df = (seeds - 1) * max(1, others)
        if detectable(np.sqrt(variance / seeds), df, level=alpha, power=0.9) <= xi:
            return seeds
    return None
