"""The controls' verdict: random removal, fresh weights of the same architecture, the layers of the same criterion."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.tables import Tables, drawn_criteria, tickets
from layerlottery.report.texts import TEXTS
from layerlottery.words import at, counted, interval

MOST_NAMED = 4
CONTROLS = TEXTS["controls"]


def control_statements(runs: pd.DataFrame, comparisons: pd.DataFrame) -> list[tuple[str, str]]:
    """One statement per control that was trained, and one that names those that were not.

    Both tables hold one dataset and network.
    """
    rows = tickets(runs)
    if rows.empty:
        return []
    drawn = {name: set(rows["criterion"]) & drawn_criteria(runs, (name,)) for name in ("random", "random_spread")}
    others = {"fresh": (rows["rewind"] == FRESH).any(), "layers": (rows["structure"] == "layers").any()}
    trained = {name for name, held in (drawn | others).items() if held}
    # layers are a control of other structures alone
    asked = [name for name in CONTROLS if name != "layers" or set(rows["structure"]) - {"layers"}]
    wanted = {name: CONTROLS[name] for name in asked}
    said = [
        (one["term"], _against(one["words"], comparisons[comparisons["control"] == name]))
        for name, one in wanted.items()
        if name in trained
    ]
    missing = [
        f"{one['words']} was not trained, so we can't tell {one['untold']}"
        for name, one in wanted.items()
        if name not in trained
    ]
    return [*said, *([("Missing controls", _sentence(missing))] if missing else [])]


def _against(words: str, rows: pd.DataFrame) -> str:
    if rows.empty:
        return f"No other ticket shares seed and number of removed blocks with {words}."
    if rows["seeds"].max() < 2:
        return f"With one seed no ticket can be told from {words}."
    found = {outcome: rows[rows["outcome"] == outcome] for outcome in ("better", "worse")}
    none = [outcome for outcome, part in found.items() if part.empty]
    left = rows[~rows["outcome"].isin(found)]
    said = [f"clearly {outcome} than {words}: {_named(part)}" for outcome, part in found.items() if not part.empty]
    said += [f"no ticket is clearly {' or '.join(none)} than {words}"] if none else []
    total = counted(len(rows), "comparison", "comparisons")
    said.append(f"for {len(left)} of {total} we can't tell" if len(left) else "none is left open")
    lost = int(((left["low"] > 0) | (left["high"] < 0)).sum())
    only = f", and {counted(lost, 'interval', 'intervals')} apart from zero did not survive it" if lost else ""
    tested = counted(int(rows["compared"].max()), "comparison", "comparisons")
    return f"{_sentence(said)} Holm's correction counts {tested}{only}."


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _named(rows: pd.DataFrame) -> str:
    """The largest differences."""
    order = rows["difference"].abs().sort_values(ascending=False, kind="stable").index
    shown = rows.loc[order].head(MOST_NAMED).to_dict("records")
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return f"{', '.join(map(_ticket, shown))}{more}"


def _ticket(row: dict[Hashable, Any]) -> str:
    return f"{row['family']} at {at(row['removed'])} ({interval(row['difference'], row['low'], row['high'])})"


def control_grids(tables: Tables) -> list[Grid]:
    """Per network, every ticket against every control that was trained."""
    held = set(tables.comparisons["control"])
    shown = {name: one["term"].lower() for name, one in CONTROLS.items() if name in held}
    return per_network(tables, "controls", lambda own: _differences(own.comparisons, shown))


def _differences(rows: pd.DataFrame, shown: dict[str, str]) -> pd.DataFrame:
    cells = pivoted(rows, "control", interval_cells(rows, "difference"))
    return cells.reindex(columns=list(shown)).rename(columns=shown)
