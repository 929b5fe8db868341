"""The result tables as data frames, with the names that the page gives to tickets."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from layerlottery.config.choices import Structure
from layerlottery.config.criteria import DEEPEST, DEPTHS, DRAWN
from layerlottery.config.naming import family_name, gone_name, is_depths, variant_name
from layerlottery.config.results import ReportSettings
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import FRESH
from layerlottery.errors import LayerLotteryError
from layerlottery.paths import TUNED
from layerlottery.store.artifacts import read_result_table
from layerlottery.store.schemas import TABLES, arrow_schema
from layerlottery.words import gone, ranges

DENSE = "dense"
GROUP = ["dataset", "network"]
SETTING = ["structure", "criterion", "scored_at", "rewind", "step"]
# `gone` says how much is removed, in blocks or percent of the filters
TICKET = ["family", "gone"]
# what a table without these columns is about: rankings of blocks
PLAIN = {"structure": "layers", "rewind": "0", "step": 0}
STRUCTURES = ("none", *get_args(Structure))
# the rank of trained weights: after those of any epoch
AFTER_ALL = float(sys.maxsize)
# columns of fixed words, on which it depends what is shown
WORDS = {
    "structure": "|".join(STRUCTURES),
    "scored_at": "init|trained",
    "rewind": r"\d{1,9}|random|trained-[0-9a-f]{8}",
    "origin": "official|generated",
}


@dataclass(frozen=True)
class Tables:
    """The tables of columns.toml with names for every row.

    `variant` is what sets a ticket apart from one that was scored, pruned and trained from θ0, and empty for
    that; `family` is the criterion with its variant; `gone` how much is removed, in words. The summary's paired
    difference is in `mean`, `low`, `high` too.
    """

    runs: pd.DataFrame
    robustness: pd.DataFrame
    answers: pd.DataFrame
    detection: pd.DataFrame
    curves: pd.DataFrame
    scores: pd.DataFrame
    similarity: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    resilience: pd.DataFrame
    agreement: pd.DataFrame
    stability: pd.DataFrame

    @cached_property
    def by_group(self) -> dict[tuple[str, str], Tables]:
        """The rows of every dataset and network, in the order of the runs."""
        frames = {name: getattr(self, name) for name in TABLES}
        groups: list[Any] = _distinct(self.runs, GROUP)
        return {group: Tables(**{name: within(one, group) for name, one in frames.items()}) for group in groups}


def within(frame: pd.DataFrame, group: tuple[str, str]) -> pd.DataFrame:
    """The rows of one dataset and network."""
    return frame[(frame["dataset"] == group[0]) & (frame["network"] == group[1])]


def read_tables(folder: Path, only: Collection[str] = tuple(TABLES)) -> Tables:
    """Read the result tables of a folder, or `only` some: the others are empty.

    Raises LayerLotteryError when one is missing or broken.
    """
    frames = {
        name: _read(folder / f"{name}.parquet", name) if name in only else arrow_schema(name).empty_table().to_pandas()
        for name in TABLES
    }
    if frames["runs"].empty:
        raise LayerLotteryError(f"{folder / 'runs.parquet'}: no trained network in it, so there is nothing to report")
    frames = {name: labelled(frame) for name, frame in frames.items()}
    # as the means of other tables are called
    delta = {"mean": "delta_accuracy", "low": "delta_low", "high": "delta_high"}
    frames["summary"] = frames["summary"].assign(**{name: frames["summary"][column] for name, column in delta.items()})
    order = families(frames["runs"])
    return Tables(**{name: _sorted(frame, order) for name, frame in frames.items()})


def _read(path: Path, name: str) -> pd.DataFrame:
    if not path.exists() and any(path.with_name(f"{other}.parquet").exists() for other in TABLES):
        raise LayerLotteryError(f"{path}: missing; recreate the tables: snakemake --cores all")
    frame: pd.DataFrame = read_result_table(path, arrow_schema(name)).to_pandas()
    for column, allowed in WORDS.items():
        for found in frame[column].dropna().unique() if column in frame else ():
            if not re.fullmatch(allowed, found):
                raise LayerLotteryError(f"{path}: column {column}: found {found[:60]!r}; allowed: {allowed}")
    return frame


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns `variant` and `family`."""
    missing = {name: value for name, value in PLAIN.items() if name not in frame}
    keys = list(frame.assign(**missing)[SETTING].itertuples(index=False, name=None))
    names = {key: _names(*key) for key in dict.fromkeys(keys)}
    frame = frame.assign(variant=[names[key][0] for key in keys], family=[names[key][1] for key in keys])
    if not {"structure", "removed"} <= {*frame}:
        return frame
    sizes = zip(frame["structure"], frame["removed"], strict=True)
    return frame.assign(gone=[gone(gone_name(structure, removed)) if removed else "" for structure, removed in sizes])


def _names(structure: str, criterion: str | None, scored_at: str | None, rewind: str, step: int) -> tuple[str, str]:
    if pd.isna(criterion):
        return DENSE, DENSE
    variant = "" if is_depths(str(criterion)) else variant_name(structure, scored_at, rewind, int(step))
    return variant, family_name(str(criterion), variant)


def start_rank(rewind: str) -> float:
    """Sorts the weights that trainings start from: by epoch, then trained ones, fresh ones last."""
    return math.inf if rewind == FRESH else AFTER_ALL if is_tuned(rewind) else int(rewind)


def is_tuned(rewind: str) -> bool:
    """Whether a ticket starts from trained weights, and is fine-tuned."""
    return TUNED.fullmatch(rewind) is not None


def is_share(rows: pd.DataFrame) -> pd.Series:
    """Which rows count what is removed in percent of the filters, and not in residual blocks."""
    return rows["structure"] == SHARE


def sizes(rows: pd.DataFrame) -> str:
    """How much is removed in tickets of one structure: 1–3 removed, or 20, 36 % removed."""
    return gone(gone_name(str(rows["structure"].iloc[0]), ranges(map(int, rows["removed"]))))


def families(runs: pd.DataFrame) -> list[str]:
    """Every family as the page lists them: dense, criteria by name, random ones last."""
    drawn = drawn_criteria(runs)
    ranked = [
        (family != DENSE, criterion in drawn, str(criterion), _setting_rank(structure, scored_at, rewind, step), family)
        for structure, criterion, scored_at, rewind, step, family in _distinct(runs, [*SETTING, "family"])
    ]
    # two networks' fine-tuning may differ, and is called alike
    return list(dict.fromkeys(family for *_, family in sorted(ranked)))


def variants(frame: pd.DataFrame) -> list[str]:
    """Every variant: layers before filters and weights, scored at θ0 before trained, by start and rounds."""
    settings = _distinct(tickets(frame), ["structure", "scored_at", "rewind", "step", "variant"])
    ranked = sorted((_setting_rank(*setting), name) for *setting, name in settings)
    return list(dict.fromkeys(name for _, name in ranked))


def variant_words(variant: str) -> str:
    """How a variant is headed."""
    return variant.replace("trained", "scored after training") or "at initialization"


def _distinct(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    return list(frame[columns].drop_duplicates().itertuples(index=False, name=None))


def _setting_rank(structure: str, scored_at: str | None, rewind: str, step: int) -> tuple[int, str, float, int]:
    return STRUCTURES.index(structure), str(scored_at), start_rank(rewind), step


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    rank = frame["family"].map({family: place for place, family in enumerate(order)})
    keys = ["rank", "removed"] if "removed" in frame else ["rank"]
    return frame.assign(rank=rank).sort_values(keys, kind="stable", ignore_index=True)


def first_starts(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the tickets that differ from others only in starting later or afresh: figures on rewinding show them.

    Fine-tuned tickets have a recipe of their own, and stay.
    """
    known = frame.fillna({"scored_at": ""})
    rank = known["rewind"].map(start_rank).astype(float)
    kinds = [*(known[name] for name in (*GROUP, "structure", "scored_at", "step")), rank == AFTER_ALL]
    return frame[rank == rank.groupby(kinds).transform("min")]


def group_name(group: Sequence[str]) -> str:
    """How a dataset and network are headed."""
    return " · ".join(group)


def tickets(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are no dense networks."""
    return frame[frame["criterion"].notna()]


def dense(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the dense networks."""
    return frame[frame["criterion"].isna()]


def trainings(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of trainings, each once: what was copied has the times of the one that it was copied from."""
    # wherever a table has them, originals come before their copies
    rows = runs.sort_values("same_as", na_position="first", kind="stable")
    copied = rows["same_as"].notna() & rows.duplicated(["config_hash", "host", "started", "ended"])
    return rows[~copied].sort_index()


def drawn_criteria(runs: pd.DataFrame, functions: Sequence[str] = DRAWN) -> set[str]:
    """Names of the criteria that draw blocks at random: by their recorded formula, or by name where there is none."""
    pairs = _distinct(runs.dropna(subset=["criterion"]), ["criterion", "criterion_settings"])
    return {str(name) for name, settings in pairs if formula_name(name, settings) in functions}


def unchosen_criteria(runs: pd.DataFrame) -> set[str]:
    """Names of the criteria that choose no blocks: those are drawn at random, the deepest, or of given depths."""
    pairs = _distinct(runs.dropna(subset=["criterion"]), ["criterion", "criterion_settings"])
    deepest = {str(name) for name, settings in pairs if recorded(settings, "select") == DEEPEST}
    return drawn_criteria(runs, (*DRAWN, DEPTHS)) | deepest


def formula_name(name: str, settings: str) -> str:
    """The function of a criterion's recorded settings, or its name where they tell none."""
    return recorded(settings, "function") or str(name)


def recorded(settings: str, key: str) -> str:
    """A criterion's recorded setting, or nothing where there is none."""
    try:
        return str(json.loads(settings)[key])
    except (TypeError, ValueError, KeyError, RecursionError):
        return ""


def tolerance_name(settings: ReportSettings) -> str:
    """The text under which the summary table keeps the report's tolerance."""
    return "sd" if settings.xi == "sd" else f"{settings.xi:g}"


def at_tolerance(summary: pd.DataFrame, name: str) -> pd.DataFrame:
    """The summary rows of one tolerance. Raises when the statistics were not made for it."""
    rows = summary[summary["xi"] == name]
    if rows.empty and not summary.empty:
        known = ", ".join(dict.fromkeys(summary["xi"]))
        raise LayerLotteryError(f"xi: found {name}; allowed: the tolerances of these tables, {known} (statistics.xi)")
    return rows
