"""The controls' verdict: random removal, fresh weights of the same architecture, the layers of the same criterion."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.tables import Tables, sizes, tickets
from layerlottery.report.texts import TEXTS
from layerlottery.tables.statistics import NULL
from layerlottery.words import counted, interval

MOST_NAMED = 4
CONTROLS = TEXTS["controls"]


def control_statements(runs: pd.DataFrame, comparisons: pd.DataFrame) -> list[tuple[str, str]]:
    """One statement per control that tickets were compared with, and one that names the others.

    Both tables hold one dataset and network.
    """
    rows = tickets(runs)
    if rows.empty:
        return []
    # layers are a control of filters and weights alone
    asked = [name for name in CONTROLS if name != "layers" or {"filters", "weights"} & {*rows["structure"]}]
    compared = {name: comparisons[comparisons["control"] == name] for name in asked}
    said = [
        (CONTROLS[name]["term"], _against(CONTROLS[name]["words"], own)) for name, own in compared.items() if len(own)
    ]
    missing = [
        f"nothing was compared with {CONTROLS[name]['words']}, so we can't tell {CONTROLS[name]['untold']}"
        for name, own in compared.items()
        if own.empty
    ]
    return [*said, *([("Missing controls", _sentence(missing))] if missing else [])]


def _against(words: str, rows: pd.DataFrame) -> str:
    if rows["seeds"].max() < 2:
        return f"With one seed no ticket can be told from {words}."
    found = {outcome: rows[rows["outcome"] == outcome] for outcome in ("better", "worse", "undecided", NULL)}
    none = [outcome for outcome in ("better", "worse") if found[outcome].empty]
    said = [
        f"{outcome} than {words}: {_named(found[outcome])}" for outcome in ("better", "worse") if len(found[outcome])
    ]
    said += [f"no ticket is proven {' or '.join(none)} than {words}"] if none else []
    total = counted(len(rows), "comparison", "comparisons")
    said += [f"{len(found['undecided'])} of {total} undecided"] if len(found["undecided"]) else []
    if len(null := found[NULL]):
        said.append(f"null by construction, with the same blocks or architecture in every pair: {_listed(null)}")
    tested = rows["compared"].max()
    correction = f" Corrected for {int(tested)} comparisons." if tested > 1 else ""
    return f"{_sentence(said)}{correction}"


def _listed(rows: pd.DataFrame) -> str:
    held = [f"{family} with {sizes(one)}" for family, one in rows.groupby("family", sort=False)]
    return "; ".join([*held[:MOST_NAMED], *([f"and {len(held) - MOST_NAMED} more"] if len(held) > MOST_NAMED else [])])


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
    return f"{row['family']} with {row['gone']} ({interval(row['difference'], row['low'], row['high'])})"


def control_grids(tables: Tables) -> list[Grid]:
    """Per network, every ticket against every control that was trained."""
    held = set(tables.comparisons["control"])
    shown = {name: one["term"][0].lower() + one["term"][1:] for name, one in CONTROLS.items() if name in held}
    return per_network(tables, "controls", lambda own: _differences(own.comparisons, shown))


def _differences(rows: pd.DataFrame, shown: dict[str, str]) -> pd.DataFrame:
    cells = pivoted(rows, "control", interval_cells(rows, "difference"))
    return cells.reindex(columns=list(shown)).rename(columns=shown)
