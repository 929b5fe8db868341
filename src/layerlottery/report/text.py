"""The summary as plain text, for the end of a run on the command line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from layerlottery.config.results import ReportSettings
from layerlottery.report.tables import at_tolerance, group_name, read_tables, tolerance_name, within
from layerlottery.report.verdict import holm_mark, seeds_words, tolerance_words
from layerlottery.words import factor, interval, number

WIDTH = 100
HEADS = ("ticket", "p", "accuracy", "Δ [low, high]", "won", "verdict", "MACs", "speed")
SIZES = (29, 3, 8, 24, 5, 11, 7, 6)
LEFT = {"ticket", "verdict"}


def summary_text(tables: Path, settings: ReportSettings | None = None) -> str:
    """The summary table at the report's tolerance, one line per ticket, in at most 100 columns.

    Without settings it takes the default tolerance, or the first one that the table holds.
    """
    held = read_tables(tables)
    if held.summary.empty:
        return "No ticket was trained: there is nothing to summarize."
    xi = tolerance_name(settings or ReportSettings.model_validate({}))
    if settings is None and xi not in set(held.summary["xi"]):
        xi = str(held.summary["xi"].iloc[0])
    rows = at_tolerance(held.summary, xi)
    lines = [f"Tickets against dense networks, {tolerance_words(xi)}"]
    for group in held.by_group:
        own = within(rows, group)
        if not own.empty:
            heading = f"{group_name(group)}, {seeds_words(own)}"
            lines += ["", heading[:WIDTH], _line(HEADS), *map(_ticket, own.to_dict("records"))]
    return "\n".join([*lines, "", *_remarks(rows)])


def _ticket(values: dict[Hashable, Any]) -> str:
    won = "" if pd.isna(values["won"]) else f"{int(values['won'])}/{values['networks']}"
    return _line(
        (
            values["family"],
            f"{values['removed']}",
            number(values["accuracy"]),
            interval(values["delta_accuracy"], values["delta_low"], values["delta_high"]),
            won,
            values["verdict"] + holm_mark(values),
            f"{number(values['macs_reduction'], 1)} %",
            factor(values["train_speedup"]),
        )
    )


def _remarks(rows: pd.DataFrame) -> list[str]:
    if rows["seeds"].max() < 2:
        return ["One seed: nothing can be inferred."]
    starred = any(map(holm_mark, rows.to_dict("records")))
    return ["* stands after Holm's correction for all tickets of the network" if starred else NONE_STANDS]


NONE_STANDS = "No win or loss stands after Holm's correction for all tickets of the network."


def _line(cells: tuple[str, ...]) -> str:
    fitted = (_fit(cell, size) for cell, size in zip(cells, SIZES, strict=True))
    shown = (
        cell.ljust(size) if head in LEFT else cell.rjust(size)
        for head, cell, size in zip(HEADS, fitted, SIZES, strict=True)
    )
    return " ".join(shown).rstrip()


def _fit(text: str, size: int) -> str:
    """Cut in the middle: a name's end tells variants of one criterion apart."""
    end = 2 * size // 3
    return text if len(text) <= size else f"{text[: size - end - 1]}…{text[-end:]}"
