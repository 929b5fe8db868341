"""The summary as plain text, for the end of a run on the command line."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd
from pydantic import ValidationError

from layerlottery.config.naming import CALLED, family_name
from layerlottery.config.results import ReportSettings
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import AT_COST
from layerlottery.report.baselines import baseline_statements, baselines
from layerlottery.report.series import confidence_of
from layerlottery.report.tables import at_tolerance, group_name, is_share, read_tables, tolerance_name
from layerlottery.report.verdict import chosen, headline, seeds_words, tolerance_words
from layerlottery.store.artifacts import read_facts
from layerlottery.tables.statistics import UNDECIDED
from layerlottery.words import ABSENT, factor, interval, number, terminal

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

INDENTED: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "  "}
WINS = {True: "yes", False: "no"}
# variants whose usual names don't fit
SHORT = {CALLED["filters_at_macs"]: "filters @MACs", CALLED["dense_at_cost"]: "dense @cost"}
SHORT |= {CALLED[SHARE]: "filters", "fine-tuned": "tuned", "fresh weights": "fresh"}
SHORT |= {"rounds of ": "by ", "\N{NO-BREAK SPACE}%": "%"}
AT = "@MACs: with the MACs of the layer ticket. @cost: trained for its cost."
PERCENT_OF = "%: of the filters."
BY = "by 1, by 20%: removed in rounds of so much, each scored\nafter the training of the one before."
REMARK = """\
removed: residual blocks, or as much of other structures. acc.: accuracy, %.
Δ: to the dense network of the same seed, percentage points, with its interval
of {confidence} % for other seeds and other test images.
win: not worse than dense by more than ξ, as the paper defines winning tickets.
verdict: equivalent within ξ; otherwise better, worse or undecided.
(in brackets): only before Holm's correction, over tickets or over controls.
MACs: saved. speed: of all trainings that a ticket needs, dense = 1."""


def summary_text(tables: Path, settings: ReportSettings | None = None) -> str:
    """The summary table at the report's tolerance, one line per ticket, in at most 80 columns.

    Without settings it takes the default tolerance, or the first one that the table holds.
    """
    # who copies the summary alone has no baselines to read of
    compared = (tables / "comparisons.parquet").exists()
    held = read_tables(tables, only=("runs", "summary", *(["comparisons"] if compared else [])))
    if held.summary.empty:
        return "No ticket was trained: there is nothing to summarize."
    xi = tolerance_name(settings or ReportSettings.model_validate({}))
    if settings is None and xi not in set(held.summary["xi"]):
        xi = str(held.summary["xi"].iloc[0])
    named = baselines(held.comparisons)
    lines = [f"Tickets against dense networks, {tolerance_words(xi)}"]
    for group, own in held.by_group.items():
        rows = at_tolerance(own.summary, xi)
        if not rows.empty:
            heading = f"{group_name(group)}, {seeds_words(rows)}"
            lines += ["", heading[:WIDTH], _heads()]
            lines += _listed(rows)
            lines += ["", *wrap(headline(chosen(rows), xi), WIDTH)]
            for term, words in baseline_statements(own.runs, own.comparisons, named):
                lines += wrap(f"{term}: {words}", WIDTH)
    return terminal("\n".join([*lines, "", _remark(at_tolerance(held.summary, xi))]))


def reported(results: Path) -> ReportSettings | None:
    """The settings of the report that a results folder holds; None without a manifest, or where it can't tell.

    Raises LayerLotteryError for a damaged manifest.
    """
    manifest = results / "manifest.json"
    if not manifest.exists():
        return None
    held = read_facts(manifest)
    try:
        return ReportSettings.model_validate(held["configuration"].get("report", {}))
    except (LookupError, AttributeError, ValidationError):
        return None


def _listed(rows: pd.DataFrame) -> list[str]:
    """A line per ticket; names that don't fit stand above their tickets, whole, for a cut one may be that of others."""
    lines: list[str] = []
    above = ""
    for row in rows.to_dict("records"):
        name, size = _name(row["criterion"], row["variant"]), _removed(row)
        fits = len(name) <= _wide(size)
        lines += [] if fits or name == above else wrap(name, WIDTH)
        above = "" if fits else name
        lines.append(_ticket(row, name if fits else ""))
        lines += [] if pd.isna(row["same_as"]) else wrap(f"identical to {row['same_as']}", WIDTH, **INDENTED)
    return lines


def _removed(values: dict[Hashable, Any]) -> str:
    return f"{values['removed']}%" if values["structure"] == SHARE else f"{values['removed']}"


def _ticket(values: dict[Hashable, Any], name: str) -> str:
    win = _corrected(WINS.get(values["winning"], ""), WINS.get(values["winning_holm"], ""), WINS[False])
    verdict = _corrected(values["verdict"], values["verdict_holm"], UNDECIDED)
    change = values["mean"], values["low"], values["high"]
    return _line(
        (
            name,
            _removed(values),
            _digits(lambda digits: number(values["accuracy"], digits), COLUMNS["acc."]),
            _digits(lambda digits: interval(*change, digits), COLUMNS["Δ [low, high]"]),
            *((ABSENT, ABSENT) if values["learned"] is False else (win, verdict)),
            f"{number(values['macs_reduction'], 0)} %",
            factor(values["total_speedup"]),
        )
    )


def _name(criterion: str, variant: str) -> str:
    """As elsewhere, but with a variant's short name."""
    if "rounds of" in variant:
        # the sign of percent says it
        variant = variant.removeprefix("filters, ")
    for long, short in SHORT.items():
        variant = variant.replace(long, short)
    return family_name(criterion, variant)


def _digits(write: Callable[[int], str], size: int) -> str:
    """With two digits after the point, or as many of them as fit."""
    return next((text for digits in (2, 1) if len(text := write(digits)) <= size), write(0))


def _corrected(before: str, after: str, open_: str) -> str:
    """What the correction leaves; in brackets what held before it, where it leaves nothing."""
    return f"({before})" if after == open_ != before else after


def _remark(rows: pd.DataFrame) -> str:
    single = rows["seeds"].max() < 2
    said = (
        "One seed: nothing can be inferred." if single else REMARK.format(confidence=f"{100 * confidence_of(rows):.3g}")
    )
    parts = {AT: rows["structure"].isin(AT_COST).any(), PERCENT_OF: is_share(rows).any(), BY: (rows["step"] > 0).any()}
    return "\n".join([said, *(words for words, needed in parts.items() if needed)])


def _heads() -> str:
    """The heads of the columns; that of a narrow one begins above the names of tickets."""
    first, second, *others = COLUMNS
    whole = _line((first, "", *others))
    end = -COLUMNS[first] + 1 + COLUMNS[second]
    return first + second.rjust(end - len(first)) + whole[end:]


def _wide(removed: str) -> int:
    """How wide a name may be: a long number beside it takes some of its place."""
    return -COLUMNS["ticket"] - max(0, len(removed) - COLUMNS["removed"])


def _line(cells: Iterable[str]) -> str:
    first, second, *others = cells
    sizes = list(COLUMNS.values())[2:]
    head = f"{first.ljust(_wide(second))} {second.rjust(COLUMNS['removed'])}"
    rest = (cell.ljust(-size) if size < 0 else cell.rjust(size) for cell, size in zip(others, sizes, strict=True))
    return " ".join([head, *rest]).rstrip()
