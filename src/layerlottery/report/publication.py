"""A table for a publication: a cell for each ticket that two keys tell apart, its mean over seeds and its spread.

Any other key holds one value, or the table is refused in one line: a cell is the mean over seeds of one ticket, whose
draws are averaged within each seed first. Docs: report.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from layerlottery.config.naming import CALLED, family_name, gone_name
from layerlottery.config.rounds import SHARE
from layerlottery.errors import LayerLotteryError
from layerlottery.report.bold import BEST, DIFFERS, SIDES, best, unbeaten
from layerlottery.report.series import confidence_of
from layerlottery.report.tables import (
    GROUP,
    STRUCTURES,
    Tables,
    dense,
    is_tuned,
    read_tables,
    start_rank,
    unchosen_criteria,
    within,
)
from layerlottery.store.schemas import TICKET
from layerlottery.tables.statistics import described, interval_ends
from layerlottery.words import gone, number, one_line, ranges, signed, start

Bold = Literal["none", "best", "holm"]
Spread = Literal["sd", "interval"]
KEYS = ("criterion", "removed", "network", "dataset", "structure", "scored_at", "rewind", "step", "control")
NAMES = [column.name for column in TICKET]
STARTS = {"fresh": "fresh weights", "trained": "trained weights"}


class Value(NamedTuple):
    """What cells hold: the column that it is the mean of, its words, whether it is a difference, tested, a ratio."""

    column: str
    words: str
    signed: bool = False
    tested: bool = False
    ratio: bool = False


VALUES = {
    "accuracy": Value("accuracy", "Test accuracy, %", tested=True),
    "delta": Value("delta_accuracy", "Accuracy minus the dense network's, percentage points", signed=True, tested=True),
    "difference": Value("difference", "Accuracy minus the control's, percentage points", signed=True, tested=True),
    "macs": Value("macs_reduction", "Multiply-accumulates saved, %"),
    "params": Value("params_reduction", "Parameters saved, %"),
    "memory": Value("memory_reduction", "Training memory saved, %"),
    "energy": Value("energy_reduction", "Energy of the training saved, %"),
    "train_speedup": Value("train_speedup", "Speed-up of the training", ratio=True),
    "total_speedup": Value("total_speedup", "Speed-up of all trainings that a ticket rests on", ratio=True),
    "latency_speedup": Value("latency_speedup", "Speed-up of a forward pass", ratio=True),
}


@dataclass(frozen=True)
class Asked:
    """What a table is to hold; `where` names the values of a key that it is about."""

    rows: str
    columns: str
    value: str = "accuracy"
    bold: Bold = "none"
    spread: Spread = "sd"
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Publication:
    """`cells` has a row for each: row, column, mean, sd, low, high, seeds, bold and text, in the order of the table."""

    head: str
    caption: str
    cells: pd.DataFrame


def publication(folder: Path, asked: Asked) -> Publication:
    """The table of a folder of result tables; raises LayerLotteryError where it would mix what is not alike."""
    _check(asked)
    compared, tested = asked.value == "difference", asked.bold == "holm"
    tables = _read(folder, compared=compared, tested=tested)
    source = tables.comparisons if compared else tables.runs[tables.runs["removed"] > 0]
    if source.empty:
        raise LayerLotteryError(f"{folder}: no ticket was {'compared with a control' if compared else 'trained'}")
    held = _only(_keyed(source), asked.where)
    _require_one(held, asked)
    sides = zip(SIDES, (asked.rows, asked.columns), strict=True)
    held = held.assign(**{side: _labels(held, key) for side, key in sides})
    cells = _compared(held) if compared else _means(held, tables.summary, asked)
    if cells["mean"].isna().all():
        raise LayerLotteryError(f"--value {asked.value}: not measured in {folder}; allowed: {', '.join(VALUES)}")
    if tested and cells["seeds"].max() < 2:
        raise LayerLotteryError("--bold holm: found one seed, with which nothing is tested; allowed: best, none")
    marked, words = _bold(tables, held, cells, asked)
    cells = cells.assign(bold=marked).reset_index()
    cells["text"] = [_text(row, asked) for row in cells.to_dict("records")]
    said = [_first(cells, asked, tables), _constant(held, asked), _dense(tables.runs, held, asked), words]
    caption = " ".join(filter(None, said))
    return Publication(asked.rows.replace("_", " "), caption, _ordered(cells, held, asked, tables))


def _read(folder: Path, *, compared: bool, tested: bool) -> Tables:
    """What the table needs; without kept answers tests know the seeds alone."""
    answers = [name for name in ("robustness", "answers") if tested and (folder / f"{name}.parquet").exists()]
    return read_tables(folder, only=["runs", "summary", *(["comparisons"] if compared else answers)])


def _check(asked: Asked) -> None:
    """Raise LayerLotteryError for a table that can't be, whatever the results hold."""
    compared, keys = asked.value == "difference", (asked.rows, asked.columns)
    if asked.rows == asked.columns:
        raise LayerLotteryError(f"--rows, --columns: found {asked.rows} twice; allowed: two of {', '.join(KEYS)}")
    if not compared and "control" in (*keys, *asked.where):
        raise LayerLotteryError(f"control: found with --value {asked.value}; allowed: with --value difference")
    if asked.bold == "holm" and not VALUES[asked.value].tested:
        tested = ", ".join(name for name, one in VALUES.items() if one.tested)
        raise LayerLotteryError(
            f"--bold holm: found --value {asked.value}, which is not tested; allowed: {tested}, or --bold best"
        )


def _keyed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column `key_…` for each key: its value as the command line names it."""
    share = rows["structure"] == SHARE
    found = {f"key_{key}": rows[key].astype(str) for key in KEYS if key in rows}
    found["key_removed"] += share.map({True: "%", False: ""})
    found["key_rewind"] = pd.Series(["trained" if is_tuned(one) else one for one in rows["rewind"]], rows.index)
    return rows.assign(**found)


def _only(held: pd.DataFrame, where: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows that hold one of the values of every key; raises LayerLotteryError for a value that none has."""
    for key, values in where.items():
        known = list(dict.fromkeys(held[f"key_{key}"]))
        if unknown := [one for one in values if one not in known]:
            raise LayerLotteryError(f"--where {key}: found {unknown[0]}; allowed: {', '.join(map(one_line, known))}")
        held = held[held[f"key_{key}"].isin(values)]
    return held


def _require_one(held: pd.DataFrame, asked: Asked) -> None:
    """Raise LayerLotteryError if a key that is no side of the table has several values.

    It may where --where names them, as long as no cell has two of them.
    """
    cells = [held[f"key_{side}"] for side in (asked.rows, asked.columns)]
    mixed = []
    for key in KEYS:
        name = f"key_{key}"
        if key in (asked.rows, asked.columns) or name not in held or held[name].nunique() < 2:
            continue
        if key not in asked.where or held.groupby(cells)[name].nunique().max() > 1:
            mixed.append(key)
    if mixed:
        names = [f"key_{key}" for key in mixed]
        found = "; ".join(f"{key}: found {', '.join(map(one_line, sorted(set(held[f'key_{key}']))))}" for key in mixed)
        common = held[names].value_counts().index[0]
        options = " ".join(f"--where {key}={one_line(one)}" for key, one in zip(mixed, common, strict=True))
        raise LayerLotteryError(f"{found}; allowed in one table: one value of each, such as {options}")


def _labels(held: pd.DataFrame, key: str) -> pd.Series:
    """How the rows' values of a key are called in the table."""
    named: dict[str, Callable[[Any], str]] = {
        "criterion": lambda row: family_name(str(row.criterion), ""),
        "removed": lambda row: gone(gone_name(row.structure, row.removed)),
        "structure": lambda row: CALLED.get(row.structure, row.structure),
        "scored_at": lambda row: "scored at initialization" if row.scored_at == "init" else "scored after training",
        "rewind": lambda row: STARTS.get(start(row.rewind), start(row.rewind)),
        "step": lambda row: f"rounds of {gone_name(row.structure, row.step)}" if row.step else "at once",
    }
    label: Callable[[Any], str] = named.get(key, lambda row: str(getattr(row, key)))
    return pd.Series([label(row) for row in held.itertuples()], held.index)


def _rank(row: Any, key: str, unchosen: set[str]) -> Any:
    """What a side of the table is sorted by."""
    ranks: dict[str, Callable[[], Any]] = {
        "criterion": lambda: (row.criterion in unchosen, row.criterion),
        "removed": lambda: (row.structure == SHARE, row.removed),
        "structure": lambda: STRUCTURES.index(row.structure),
        "rewind": lambda: start_rank(row.rewind),
        "step": lambda: row.step,
    }
    return ranks.get(key, lambda: getattr(row, key))()


def _ordered(cells: pd.DataFrame, held: pd.DataFrame, asked: Asked, tables: Tables) -> pd.DataFrame:
    """The cells in the order of the table: numbers ascend, criteria go by name, and controls are last."""
    firsts = list(held.drop_duplicates(SIDES).itertuples())
    unchosen = unchosen_criteria(tables.runs)
    for side, key in zip(SIDES, (asked.rows, asked.columns), strict=True):
        ranked = sorted({(_rank(row, key, unchosen), getattr(row, side)) for row in firsts})
        cells[side] = pd.Categorical(cells[side], list(dict.fromkeys(name for _, name in ranked)), ordered=True)
    return cells.sort_values(SIDES, ignore_index=True)


def _means(held: pd.DataFrame, summary: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Mean, sd, interval and seeds of every cell, by its sides; of ratios the geometric mean, which has no sd."""
    value, confidence = VALUES[asked.value], confidence_of(summary)
    numbers = held[value.column].astype(float)
    seeds = held.assign(own=np.log(numbers) if value.ratio else numbers).groupby([*SIDES, "seed"])["own"].mean()
    samples = seeds.unstack("seed")
    found = described(samples.to_numpy()).set_axis(samples.index)
    low, high = interval_ends(found, 1 - confidence)
    found = found.assign(low=low, high=high)[["mean", "sd", "low", "high", "seeds"]]
    if value.ratio:
        return found.assign(**np.exp(found[["mean", "low", "high"]]), sd=np.nan)
    if asked.value == "delta":
        # for other seeds and test images, as in every other table
        first = summary.drop_duplicates(NAMES).set_index(NAMES)[["delta_low", "delta_high"]]
        tickets = pd.MultiIndex.from_frame(held.drop_duplicates(SIDES).set_index(SIDES).loc[found.index, NAMES])
        found[["low", "high"]] = first.reindex(tickets).to_numpy()
    return found


def _compared(held: pd.DataFrame) -> pd.DataFrame:
    """The same of differences to controls, as the table comparisons has them."""
    return held.rename(columns={"difference": "mean"}).set_index(SIDES)[["mean", "sd", "low", "high", "seeds"]]


def _bold(tables: Tables, held: pd.DataFrame, cells: pd.DataFrame, asked: Asked) -> tuple[pd.Series, str]:
    """Which cells are bold, and the sentence that says why."""
    if asked.bold == "none":
        return pd.Series(False, cells.index), ""
    if asked.bold == "best":
        return best(cells), BEST
    if asked.value == "difference":
        return held.set_index(SIDES)["outcome"].isin(("better", "worse")), DIFFERS
    return unbeaten(tables, held, cells, asked.value)


def _text(row: Mapping[Any, Any], asked: Asked) -> str:
    write = signed if VALUES[asked.value].signed else number
    mean, sd, low, high = (float(row[name]) for name in ("mean", "sd", "low", "high"))
    if asked.spread == "interval":
        return write(mean) + ("" if np.isnan(low) else f" [{write(low)}, {write(high)}]")
    return write(mean) + ("" if np.isnan(sd) else f" ± {number(sd)}")


def _first(cells: pd.DataFrame, asked: Asked, tables: Tables) -> str:
    """What the cells hold, of how many seeds."""
    value = VALUES[asked.value]
    counts = ranges(cells["seeds"])
    spread = ""
    if asked.spread == "interval":
        known = "for other seeds and test images" if value.signed else "by Student's t over seeds"
        spread = f" [{100 * confidence_of(tables.summary):g} % interval {known}]"
    elif not value.ratio:
        spread = " ± standard deviation"
    mean = "geometric mean" if value.ratio else "mean"
    return f"{value.words}: {mean}{spread} over {counts} {'seed' if counts == '1' else 'seeds'}."


def _dense(runs: pd.DataFrame, held: pd.DataFrame, asked: Asked) -> str:
    """The accuracy of the dense networks of the table's seeds, where all is about one architecture on one data set."""
    if asked.value not in ("accuracy", "delta") or len(held[GROUP].drop_duplicates()) > 1:
        return ""
    dataset, network = held[GROUP].iloc[0]
    rows = dense(within(runs, (dataset, network)))
    own = rows[rows["seed"].isin(held["seed"])]["accuracy"]
    return f"Dense networks: {number(own.mean())}{'' if len(own) < 2 else f' ± {number(own.std())}'} %."


def _constant(held: pd.DataFrame, asked: Asked) -> str:
    """The values of the keys that are no side of the table."""
    said = {
        key: ", ".join(dict.fromkeys(_labels(held, key)))
        for key in KEYS
        if key not in (asked.rows, asked.columns) and f"key_{key}" in held
    }
    if said.get("step") == "at once":
        del said["step"]
    said |= {key: f"{word}{said[key]}" for key, word in (("rewind", "from "), ("control", "control: ")) if key in said}
    return f"{', '.join(map(one_line, said.values()))}."
