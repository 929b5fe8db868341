"""What the controls say: random removal, fresh weights of the same architecture, the layers of the same criterion."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.tables import Tables, drawn_criteria, tickets
from layerlottery.words import at, counted, interval

MOST_NAMED = 4


@dataclass(frozen=True)
class ControlWords:
    """A control as the comparisons table names it, and what can't be told without it."""

    name: str
    term: str
    words: str
    untold: str


CONTROLS = (
    ControlWords("random", "Against random", "random removal", "whether a criterion matters at all"),
    ControlWords(
        "random_spread",
        "Against random spread",
        "random removal spread over the stages",
        "whether a criterion does more than spread its removals",
    ),
    ControlWords(
        "fresh",
        "Against fresh weights",
        "the same architecture with fresh weights",
        "whether it matters which weights are kept",
    ),
    ControlWords("layers", "Against layers", "the layer ticket of the same budget", "which structure is better"),
)


def control_statements(runs: pd.DataFrame, comparisons: pd.DataFrame) -> list[tuple[str, str]]:
    """One statement per control that was trained, and one that names those that were not.

    Both tables hold one dataset and network.
    """
    if tickets(runs).empty:
        return []
    trained = _trained(runs)
    wanted = [control for control in CONTROLS if control.name != "layers" or _has_other_structures(runs)]
    missing = [control for control in wanted if control.name not in trained]
    statements = [(control.term, _against(control, comparisons)) for control in wanted if control.name in trained]
    return [*statements, *_missing(missing)]


def _trained(runs: pd.DataFrame) -> set[str]:
    rows = tickets(runs)
    held = {name for name in ("random", "random_spread") if set(rows["criterion"]) & drawn_criteria(runs, (name,))}
    held |= {"fresh"} if (rows["rewind"] == FRESH).any() else set()
    return held | ({"layers"} if (rows["structure"] == "layers").any() else set())


def _has_other_structures(runs: pd.DataFrame) -> bool:
    return bool(runs["structure"].isin(("filters", "weights")).any())


def _missing(controls: list[ControlWords]) -> list[tuple[str, str]]:
    said = [f"{control.words} was not trained, so {control.untold} can't be told" for control in controls]
    return [("Missing controls", f"{_sentence('; '.join(said))}.")] if said else []


def _against(control: ControlWords, comparisons: pd.DataFrame) -> str:
    rows = comparisons[comparisons["control"] == control.name]
    if rows.empty:
        return f"No other ticket shares seed and number of removed blocks with {control.words}."
    if rows["seeds"].max() < 2:
        return f"With one seed no ticket can be told from {control.words}."
    return f"{_sentence('; '.join([*_clear(rows, control.words), _rest(rows)]))}. {_corrected(rows)}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _clear(rows: pd.DataFrame, words: str) -> list[str]:
    found = {outcome: rows[rows["outcome"] == outcome] for outcome in ("better", "worse")}
    none = [outcome for outcome, part in found.items() if part.empty]
    said = [f"clearly {outcome} than {words}: {_named(part)}" for outcome, part in found.items() if not part.empty]
    return [*said, *([f"no ticket is clearly {' or '.join(none)} than {words}"] if none else [])]


def _named(rows: pd.DataFrame) -> str:
    """The largest differences."""
    order = rows["difference"].abs().sort_values(ascending=False, kind="stable").index
    shown = rows.loc[order].head(MOST_NAMED).to_dict("records")
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return f"{', '.join(map(_ticket, shown))}{more}"


def _ticket(row: dict[Hashable, Any]) -> str:
    return f"{row['family']} at {at(row['removed'])} ({interval(row['difference'], row['low'], row['high'])})"


def _rest(rows: pd.DataFrame) -> str:
    left = int((~rows["outcome"].isin(("better", "worse"))).sum())
    return (
        f"for {left} of {counted(len(rows), 'comparison', 'comparisons')} we can't tell"
        if left
        else "none is left open"
    )


def _corrected(rows: pd.DataFrame) -> str:
    apart = (rows["low"] > 0) | (rows["high"] < 0)
    lost = int((apart & ~rows["outcome"].isin(("better", "worse"))).sum())
    only = f", and {counted(lost, 'interval', 'intervals')} apart from zero did not survive it" if lost else ""
    return f"Holm's correction counts {counted(int(rows['compared'].max()), 'comparison', 'comparisons')}{only}."


def control_grids(tables: Tables) -> list[Grid]:
    """Per network, every ticket against every control that was trained."""
    held = set(tables.comparisons["control"])
    shown = {control.name: control.term.lower() for control in CONTROLS if control.name in held}
    return per_network(tables, "controls", lambda own: _differences(own.comparisons, shown))


def _differences(rows: pd.DataFrame, shown: dict[str, str]) -> pd.DataFrame:
    cells = pivoted(rows, "control", interval_cells(rows, "difference"))
    return cells.reindex(columns=list(shown)).rename(columns=shown)
