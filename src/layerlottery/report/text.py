"""The summary as plain text, for the end of a run on the command line."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd
from pydantic import ValidationError

from layerlottery.config.results import ReportSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.report.series import confidence_of
from layerlottery.report.tables import at_tolerance, group_name, read_tables, tolerance_name
from layerlottery.report.verdict import chosen, headline, seeds_words, tolerance_words
from layerlottery.store.artifacts import read_facts
from layerlottery.tables.statistics import UNDECIDED
from layerlottery.words import factor, interval, number, terminal

WIDTH = 80
# sizes of the columns; negative: aligned to the left
COLUMNS = {
    "ticket": -20,
    "removed": 2,
    "acc.": 5,
    "Δ [low, high]": 20,
    "win": -5,
    "verdict": -12,
    "MACs": 4,
    "speed": 5,
}

WINS = {True: "yes", False: "no"}
REMARK = """\
removed: residual blocks, or as much of other structures. acc.: accuracy, %.
Δ: to the dense network of the same seed, percentage points, with its interval
of {confidence} % for other seeds and other test images.
win: not worse than dense by more than ξ, as the paper defines winning tickets.
verdict: equivalent within ξ; otherwise better, worse or undecided.
(in brackets): only before Holm's correction, over tickets or over controls.
MACs: saved. speed: of the training, dense = 1."""


def summary_text(tables: Path, settings: ReportSettings | None = None) -> str:
    """The summary table at the report's tolerance, one line per ticket, in at most 80 columns.

    Without settings it takes the default tolerance, or the first one that the table holds.
    """
    held = read_tables(tables, only=("runs", "summary"))
    if held.summary.empty:
        return "No ticket was trained: there is nothing to summarize."
    xi = tolerance_name(settings or ReportSettings.model_validate({}))
    if settings is None and xi not in set(held.summary["xi"]):
        xi = str(held.summary["xi"].iloc[0])
    lines = [f"Tickets against dense networks, {tolerance_words(xi)}"]
    for group, own in held.by_group.items():
        rows = at_tolerance(own.summary, xi)
        if not rows.empty:
            heading = f"{group_name(group)}, {seeds_words(rows)}"
            lines += ["", heading[:WIDTH], _heads(), *map(_ticket, rows.to_dict("records"))]
            lines += ["", *wrap(headline(chosen(rows), xi), WIDTH)]
    return terminal("\n".join([*lines, "", _remark(at_tolerance(held.summary, xi))]))


def reported(results: Path) -> ReportSettings | None:
    """The settings of the report that a results folder holds; None where its manifest can't tell."""
    try:
        held = read_facts(results / "manifest.json")["configuration"]
        return ReportSettings.model_validate(held.get("report", {}))
    except (LayerLotteryError, LookupError, ValidationError):
        return None


def _ticket(values: dict[Hashable, Any]) -> str:
    return _line(
        (
            values["family"],
            f"{values['removed']}",
            number(values["accuracy"]),
            _interval(values["mean"], values["low"], values["high"]),
            _corrected(WINS.get(values["winning"], ""), WINS.get(values["winning_holm"], ""), WINS[False]),
            _corrected(values["verdict"], values["verdict_holm"], UNDECIDED),
            f"{number(values['macs_reduction'], 0)} %",
            factor(values["train_speedup"]),
        )
    )


def _interval(mean: float, low: float, high: float) -> str:
    """With two digits, or one where that is too wide."""
    fine = interval(mean, low, high)
    return fine if len(fine) <= COLUMNS["Δ [low, high]"] else interval(mean, low, high, 1)


def _corrected(before: str, after: str, open_: str) -> str:
    """What the correction leaves; in brackets what held before it, where it leaves nothing."""
    return f"({before})" if after == open_ != before else after


def _remark(rows: pd.DataFrame) -> str:
    if rows["seeds"].max() < 2:
        return "One seed: nothing can be inferred."
    return REMARK.format(confidence=f"{100 * confidence_of(rows):.3g}")


def _heads() -> str:
    """The heads of the columns; that of a narrow one begins above the names of tickets."""
    first, second, *others = COLUMNS
    whole = _line((first, "", *others))
    end = -COLUMNS[first] + 1 + COLUMNS[second]
    return first + second.rjust(end - len(first)) + whole[end:]


def _line(cells: Iterable[str]) -> str:
    # names are cut, and figures never
    sized = enumerate(zip(cells, COLUMNS.values(), strict=True))
    fitted = ((cell if place else _fit(cell, -size), size) for place, (cell, size) in sized)
    return " ".join(cell.ljust(-size) if size < 0 else cell.rjust(size) for cell, size in fitted).rstrip()


def _fit(text: str, size: int) -> str:
    """Cut in the middle: a name's end tells variants of one criterion apart."""
    end = 2 * size // 3
    return text if len(text) <= size else f"{text[: size - end - 1]}…{text[-end:]}"
