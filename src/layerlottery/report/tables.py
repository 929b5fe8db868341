"""The five result tables as data frames, with the names that the page gives to tickets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from layerlottery.errors import LayerLotteryError
from layerlottery.results.artifacts import read_table
from layerlottery.results.schemas import TABLES
from layerlottery.settings import ReportSettings

DENSE = "dense"
GROUP = ["dataset", "network"]
VARIANT = ["structure", "criterion", "scored_at", "rewind"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Tables:
    """The tables of schemas.py; `family` is added: criterion plus what sets it apart from a plain ticket."""

    runs: pd.DataFrame
    robustness: pd.DataFrame
    curves: pd.DataFrame
    scores: pd.DataFrame
    summary: pd.DataFrame

    def groups(self) -> list[tuple[str, str]]:
        """Every dataset and network, in the order of the runs."""
        return [(str(one), str(two)) for one, two in self.runs[GROUP].drop_duplicates().itertuples(index=False)]

    def of(self, group: tuple[str, str]) -> Tables:
        """The rows of one dataset and network."""
        return Tables(**{name: within(getattr(self, name), group) for name in TABLES})


def within(frame: pd.DataFrame, group: tuple[str, str]) -> pd.DataFrame:
    """The rows of one dataset and network."""
    return frame[(frame["dataset"] == group[0]) & (frame["network"] == group[1])]


def read_tables(folder: Path) -> Tables:
    """Read every result table of a folder. Raises LayerLotteryError when one is missing or broken."""
    frames = {name: read_table(folder / f"{name}.parquet").to_pandas() for name in TABLES}
    if frames["runs"].empty:
        raise LayerLotteryError(f"{folder / 'runs.parquet'}: no trained network in it, so there is nothing to report")
    frames = {name: _labelled(frame) for name, frame in frames.items()}
    order = families(frames["runs"])
    return Tables(**{name: _sorted(frame, order) for name, frame in frames.items()})


def families(runs: pd.DataFrame) -> list[str]:
    """Every family as the page lists them: dense, criteria by name, random last."""
    drawn = is_random(runs)
    pairs = runs[["criterion", "family"]].drop_duplicates().itertuples(index=False, name=None)
    ranked = [(family != DENSE, criterion in drawn, str(criterion), len(family), family) for criterion, family in pairs]
    return [family for *_, family in sorted(ranked)]


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    if not {"family", "density"} <= set(frame.columns):
        return frame
    rank = frame["family"].map({family: place for place, family in enumerate(order)})
    return frame.assign(rank=rank).sort_values(["rank", "density"], kind="stable", ignore_index=True)


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    if not {*VARIANT} <= set(frame.columns):
        return frame
    names = {key: _family(*key) for key in frame[VARIANT].drop_duplicates().itertuples(index=False, name=None)}
    keys = frame[VARIANT].itertuples(index=False, name=None)
    return frame.assign(family=pd.Series([names.get(key) or _family(*key) for key in keys], frame.index, dtype=object))


def _family(structure: str, criterion: str | None, scored_at: str | None, rewind: int) -> str:
    if pd.isna(criterion):
        return DENSE
    parts = [structure] if structure != "layers" else []
    parts += ["trained"] if scored_at == "trained" else []
    parts += [f"rewind {rewind}"] if rewind else []
    return f"{criterion} ({', '.join(parts)})" if parts else str(criterion)


def title(tables: Tables, group: Sequence[str], *parts: str) -> str:
    """A heading; the dataset and network are left out where the page has only one."""
    named = [] if parts and len(tables.groups()) == 1 else [group_name(group)]
    return ", ".join([*parts[:1], *named, *parts[1:]])


def group_name(group: Sequence[str]) -> str:
    """How a dataset and network are headed."""
    return " · ".join(group)


def tickets(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are no dense networks."""
    return frame[frame["family"] != DENSE]


def dense(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the dense networks."""
    return frame[frame["family"] == DENSE]


def is_random(runs: pd.DataFrame) -> set[str]:
    """Names of the criteria that draw blocks at random: by their recorded formula, or by name where there is none."""
    pairs = runs[["criterion", "criterion_settings"]].dropna(subset=["criterion"]).drop_duplicates()
    return {str(name) for name, settings in pairs.itertuples(index=False) if _formula(name, settings) == "random"}


def _formula(name: str, settings: str) -> str:
    try:
        return str(json.loads(settings)["function"])
    except (TypeError, ValueError, KeyError):
        return str(name)


def tolerance_name(settings: ReportSettings) -> str:
    """The text under which the summary table keeps the report's tolerance."""
    return "sd" if settings.xi == "sd" else f"{settings.xi:g}"


def at_tolerance(summary: pd.DataFrame, name: str) -> pd.DataFrame:
    """The summary rows of one tolerance. Raises when the statistics were not made for it."""
    rows = summary[summary["xi"] == name]
    if rows.empty and not summary.empty:
        known = ", ".join(dict.fromkeys(summary["xi"]))
        raise LayerLotteryError(f"report.xi: {name} is not among the tolerances of statistics.xi ({known})")
    return rows


def spread(values: Sequence[Value], most: int) -> list[Value]:
    """At most so many of the values, evenly spread, the first and last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(step * (len(values) - 1) / (most - 1))] for step in range(most)]
