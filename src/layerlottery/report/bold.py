"""Which cells of a table for a publication are bold: the best of each column, and those not told from it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa

from layerlottery.config.results import StatisticsSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.report.tables import Tables
from layerlottery.store.schemas import IDENTITY, TICKET
from layerlottery.tables.answers import Answers
from layerlottery.tables.inference import BY_BOTH, Contrasts, Inference, Measured
from layerlottery.tables.measures import CLEAN
from layerlottery.tables.statistics import holm

OWN, NAMES = ([column.name for column in columns] for columns in (IDENTITY, TICKET))
SIDES = ["row", "column"]
BEST = "Bold: the highest mean of each column."
DIFFERS = "Bold: told from 0 after Holm's correction for all comparisons with that control on the same architecture."
UNBEATEN = (
    "Bold: the highest mean of each column, and every one that is not shown to be lower. That is tested for all "
    "{pairs} pairs within the columns, {paired}, and corrected by Holm as one family, at the level {level}."
)


def best(cells: pd.DataFrame) -> pd.Series:
    """The highest mean of each column; `cells` are indexed by SIDES."""
    return cells["mean"].eq(cells.groupby("column")["mean"].transform("max"))


def unbeaten(tables: Tables, held: pd.DataFrame, cells: pd.DataFrame, value: str) -> tuple[pd.Series, str]:
    """The highest mean of each column and those that are not shown to be lower, and the sentence that says so.

    `held` are the networks of the cells, rows of the table runs with the names of their SIDES. All pairs are tested,
    since it is the results themselves that say which one is best.
    """
    networks, pairs = _networks(tables.runs, held, value), _pairs(cells)
    levels = _levels(held, tables.summary)
    found = pairs.join(_tested(networks, held, pairs, tables))
    found["p_holm"] = holm(found["p_value"].to_numpy(float))
    each = [levels.reindex(_cells(found, side)).to_numpy() for side in ("first", "second")]
    beaten = found[found["top"] & (found["mean"] > 0) & (found["p_holm"] <= np.minimum(*each))]
    lost = cells.index.isin(_cells(beaten, "second"))
    return cells["mean"].notna() & ~lost, _words(found, levels)


def _networks(runs: pd.DataFrame, held: pd.DataFrame, value: str) -> pd.DataFrame:
    """All networks, so that they say together how much seeds matter: of an architecture, or of all of a data set."""
    several = {name: bool((held.groupby("column")[name].nunique() > 1).any()) for name in ("dataset", "network")}
    if several["dataset"]:
        raise LayerLotteryError("--bold holm: found several data sets in a column; allowed: one, or --bold none")
    if several["network"] and value == "delta":
        raise LayerLotteryError(
            "--bold holm: found --value delta of several networks in a column; allowed: --value accuracy"
        )
    if not several["network"]:
        return runs
    return runs.assign(criterion=runs["network"] + " " + runs["criterion"].fillna(""), network="")


def _pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """All pairs within each column, the higher mean first; `top`: that is the column's highest."""
    ranked = cells.dropna(subset="mean").sort_values("mean", ascending=False, kind="stable").reset_index()
    rows = [
        (column, *pair, pair[0] == own.iloc[0])
        for column, own in ranked.groupby("column", sort=False)["row"]
        for pair in combinations(own, 2)
    ]
    return pd.DataFrame(rows, columns=["column", "first", "second", "top"]).astype({"top": bool})


def _cells(pairs: pd.DataFrame, side: str) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([pairs[side], pairs["column"]], names=SIDES)


def _tested(networks: pd.DataFrame, held: pd.DataFrame, pairs: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The inference on every pair, by its number; the place of a network is its row in the table runs."""
    placed = held[[*SIDES, "seed"]].assign(place=held.index)
    numbered = pairs.rename_axis("contrast").reset_index()
    ours, theirs = (
        numbered.merge(placed, left_on=["column", side], right_on=["column", "row"])[["contrast", "seed", "place"]]
        for side in ("first", "second")
    )
    contrasts = Contrasts.between(ours, theirs, len(networks))
    clean = _clean(tables.robustness)
    images = tables.runs[OWN].merge(clean[[*OWN, "images"]], how="left", on=OWN)["images"].to_numpy(float)
    measured = Measured(
        tables.runs["accuracy"].to_numpy(float), 100 / images, {place: [CLEAN] for place in networks.index}
    )
    return Inference(networks, _answers(tables), StatisticsSettings()).of(contrasts, measured)


def _answers(tables: Tables) -> Answers:
    """What every network answered to the clean test images."""
    columns = ["images", "images_hash", "answers"]
    clean = _clean(tables.answers)[[*OWN, *columns]]
    rows = tables.runs[OWN].assign(place=tables.runs.index).merge(clean, on=OWN)[["place", *columns]]
    kind, name, level = CLEAN
    found = Answers()
    whole = rows.assign(kind=kind, name=name, level=level, predicted=None).astype({"images": int})
    found.add(pa.Table.from_pandas(whole, preserve_index=False))
    return found


def _clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["kind"] == CLEAN.kind) & (rows["name"] == CLEAN.name)]


def _levels(held: pd.DataFrame, summary: pd.DataFrame) -> pd.Series:
    """By cell the level of its ticket's verdicts: lower where seeds are added in looks."""
    tickets = held.drop_duplicates(SIDES)
    known = summary.drop_duplicates(NAMES)[[*NAMES, "confidence"]]
    found = tickets.merge(known, how="left", on=NAMES).set_index(SIDES)["confidence"]
    return 1 - found


def _words(found: pd.DataFrame, levels: pd.Series) -> str:
    ways = {True: "paired by seed and test image", False: "paired by seed"}
    tested = found[found["p_value"].notna()]
    paired = " or ".join(ways[way] for way in (True, False) if (tested["method"].eq(BY_BOTH) == way).any())
    lacking = len(found) - len(tested)
    alone = f" Not tested: {lacking}, which share too few seeds." if lacking else ""
    return UNBEATEN.format(pairs=len(found), paired=paired or "by seed", level=f"{levels.min():.3g}") + alone
