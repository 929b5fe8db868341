"""The controls' verdict: random removal, fresh weights of the same architecture, the layers of the same criterion."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from layerlottery.config.criteria import DEEPEST, DRAWN, FORMULAS, OWN, SCORED_AS
from layerlottery.config.studies import AT_COST, FRESH, TUNED_ON
from layerlottery.report.grids import Grid, interval_cells, per_network, pivoted
from layerlottery.report.tables import Tables, formula_name, is_tuned, recorded, sizes, tickets, unchosen_criteria
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
    compared = {name: comparisons[comparisons["control"] == name] for name in CONTROLS}
    asked = _asked(rows)
    said = [
        (CONTROLS[name]["term"], against_words(CONTROLS[name]["words"], own))
        for name, own in compared.items()
        if len(own)
    ]
    missing = [
        f"nothing was compared with {CONTROLS[name]['words']}, so we can't tell {CONTROLS[name]['untold']}"
        for name, own in compared.items()
        if own.empty and asked[name]
    ]
    return [*said, *([("Missing controls", _sentence(missing))] if missing else [])]


def _asked(rows: pd.DataFrame) -> dict[str, bool]:
    """Of each control whether a study could have given it to any of these tickets, or to those of criteria at least."""
    rows = chosen_tickets(rows)
    functions = [formula_name(*pair) for pair in zip(rows["criterion"], rows["criterion_settings"], strict=True)]
    able = pd.Series(["filters" in FORMULAS.get(one, OWN).scores for one in functions], rows.index, dtype=bool)
    layers = rows["structure"] == "layers"
    # what is made in rounds has but the controls IN_ROUNDS
    whole = layers & (rows["step"] == 0)
    scored = rows["structure"].map(lambda one: SCORED_AS.get(one, one))
    kinds = {
        **{name: scored.isin(FORMULAS[name].scores) for name in DRAWN},
        DEEPEST: layers
        & pd.Series([recorded(one, "select") == "span" for one in rows["criterion_settings"]], rows.index, dtype=bool),
        "fresh": whole,
        "architecture": whole,
        "layers": rows["structure"].isin(("filters", "weights")),
        # those that were scored on the dense network cost its training too
        "dense_at_cost": whole & (rows["scored_at"] == "init") & (rows["rewind"] == "0"),
        TUNED_ON: layers & rows["rewind"].map(is_tuned),
        "filters_at_macs": whole & able,
    }
    return {name: bool(kind.any()) for name, kind in kinds.items()}


def chosen_tickets(rows: pd.DataFrame) -> pd.DataFrame:
    """The tickets that are no controls: a criterion chose what they lack, and they keep their weights."""
    rows = rows[~rows["criterion"].isin(unchosen_criteria(rows)) & (rows["rewind"] != FRESH)]
    return rows[~rows["structure"].isin((*AT_COST, TUNED_ON))]


def against_words(words: str, rows: pd.DataFrame) -> str:
    """What the comparisons with one control say, which `words` name."""
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
        said.append(f"null by construction, with the same blocks or architecture in every pair: {listed(null)}")
    tested = rows["compared"].max()
    correction = f" Corrected for {int(tested)} comparisons." if tested > 1 else ""
    return f"{_sentence(said)}{correction}"


def listed(rows: pd.DataFrame) -> str:
    """Tickets by family, and how much each of these removed."""
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
