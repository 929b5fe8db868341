"""What the tables say about winning tickets, in words that claim no more than the seeds allow."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.report.controls import control_statements
from layerlottery.report.tables import Tables, at_tolerance, drawn_criteria, group_name, within
from layerlottery.words import MINUS, at, counted, interval, number, percent, ranges

XI = "ξ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
MOST_NAMED = 8


@dataclass(frozen=True)
class Finding:
    """The verdict on one dataset and network: a sentence and (term, text) statements."""

    group: str
    headline: str
    statements: tuple[tuple[str, str], ...]


def findings(tables: Tables, xi: str) -> list[Finding]:
    """One finding per dataset and network, for the tolerance named `xi`."""
    summary = at_tolerance(tables.summary, xi)
    drawn = drawn_criteria(tables.runs)
    found = []
    for group, own in tables.by_group.items():
        rows = within(summary, group)
        statements = (
            *_outcomes(rows),
            *_holm(rows),
            *_extremes(rows),
            *control_statements(own.runs, own.comparisons),
            *_controls_won(rows, drawn),
        )
        found.append(Finding(group_name(group), _headline(rows, xi), statements))
    return found


def tolerance_words(xi: str, points: float | None = None) -> str:
    """The tolerance as a phrase."""
    if xi == "sd":
        size = "" if points is None or pd.isna(points) else f" ({number(points)} percentage points)"
        return f"{XI}one standard deviation of the dense networks{size}"
    return f"{XI}{xi} percentage {'point' if xi == '1' else 'points'}"


def _headline(rows: pd.DataFrame, xi: str) -> str:
    if rows.empty:
        return "Only dense networks were trained: there is no ticket to judge."
    tolerance = tolerance_words(xi, rows["xi_points"].iloc[0])
    total = counted(len(rows), "ticket", "tickets")
    if rows["seeds"].max() < 2:
        return f"One seed, so nothing can be inferred. {_single(rows, total, tolerance)}"
    if rows["xi_points"].isna().all():
        return f"{tolerance} can't be computed, so no ticket can be judged."
    count = rows["verdict"].value_counts()
    won, lost = count.get("winning", 0), count.get("losing", 0)
    rest = len(rows) - won - lost
    return f"{won} of {total} won, {lost} lost, {rest} undecided, against {tolerance}, over {seeds_words(rows)}."


def _single(rows: pd.DataFrame, total: str, tolerance: str) -> str:
    if rows["xi_points"].isna().all():
        return f"{tolerance} can't be computed from one seed either."
    won = int((rows["won"] > 0).sum())
    return f"As a mere count, {won} of {total} stayed within {tolerance} of the dense network of that seed."


def holm_mark(row: dict[Hashable, Any]) -> str:
    """A star where a clear verdict stands after Holm's correction."""
    return "*" if row["verdict"] in ("winning", "losing") and row["verdict_holm"] == row["verdict"] else ""


def seeds_words(rows: pd.DataFrame) -> str:
    """How many seeds the tickets have."""
    low, high = int(rows["seeds"].min()), int(rows["seeds"].max())
    return counted(low, "seed", "seeds") if low == high else f"{low} to {high} seeds"


def named(rows: pd.DataFrame) -> str:
    """Tickets as: grasp at p = 1, 2; snip at p = 1; so many at most."""
    held = [f"{family} at {at(ranges(one['removed']))}" for family, one in rows.groupby("family", sort=False)]
    more = len(rows) - int(rows["family"].isin(list(dict.fromkeys(rows["family"]))[:MOST_NAMED]).sum())
    rest = [f"and {counted(more, 'ticket', 'tickets')} more, listed under Every ticket"] if more else []
    return "; ".join([*held[:MOST_NAMED], *rest])


def _outcomes(rows: pd.DataFrame) -> list[tuple[str, str]]:
    terms = {"winning": "Won", "losing": "Lost", "undecided": "Undecided", "single seed": "One seed only"}
    why = {"undecided": f" (the interval contains {MINUS}ξ: more seeds may decide)"}
    parts = ((verdict, rows[rows["verdict"] == verdict]) for verdict in terms)
    if rows.empty or rows["seeds"].max() < 2:
        return []
    return [(terms[verdict], f"{named(part)}{why.get(verdict, '')}.") for verdict, part in parts if not part.empty]


def _holm(rows: pd.DataFrame) -> list[tuple[str, str]]:
    words = {"winning": ("win", "wins"), "losing": ("loss", "losses")}
    said = [_survived(rows[rows["verdict"] == verdict], *words[verdict]) for verdict in words]
    text = " and ".join(filter(None, said))
    if not text:
        return []
    return [
        ("After Holm's correction", f"Of {counted(int(rows['tickets'].max()), 'ticket', 'tickets')} tested, {text}.")
    ]


def _survived(rows: pd.DataFrame, singular: str, plural: str) -> str:
    if rows.empty:
        return ""
    kept = rows[rows["verdict_holm"] == rows["verdict"]]
    which = f" ({named(kept)})" if 0 < len(kept) < len(rows) else ""
    return f"{len(kept)} of {counted(len(rows), singular, plural)} {'remains' if len(kept) == 1 else 'remain'}{which}"


def _extremes(rows: pd.DataFrame) -> list[tuple[str, str]]:
    if rows.empty:
        return []
    winners = rows[rows["verdict"] == "winning"]
    if winners.empty:
        term = "Highest in this seed" if rows["seeds"].max() < 2 else "Highest mean, not a clear win"
        pool = rows[rows["verdict"] != "losing"]
        return [(term, _described(_last(pool, ["delta_accuracy"])))] if not pool.empty else []
    best = _last(winners, ["delta_accuracy"])
    deepest = _last(winners, ["removed", "delta_accuracy"])
    if (best["family"], best["removed"]) == (deepest["family"], deepest["removed"]):
        return [("Best and deepest", _described(best))]
    return [
        ("Best ticket", _described(best)),
        ("Most blocks removed in a win", _described(deepest)),
    ]


def _last(rows: pd.DataFrame, by: list[str]) -> dict[str, Any]:
    return {str(name): value for name, value in rows.sort_values(by).iloc[-1].items()}


def _described(row: dict[str, Any]) -> str:
    change = interval(row["delta_accuracy"], row["delta_low"], row["delta_high"])
    return (
        f"{row['family']} at {at(row['removed'])}, {change} percentage points against dense, "
        f"with {percent(row['macs_reduction'])} fewer MACs."
    )


def _controls_won(rows: pd.DataFrame, drawn: set[str]) -> list[tuple[str, str]]:
    winners = rows[rows["verdict"] == "winning"]
    fresh = winners[winners["rewind"] == FRESH]
    random = winners[winners["criterion"].isin(drawn) & (winners["rewind"] != FRESH)]
    said = (
        ("Random won too", random, "there a ticket wins whichever blocks go"),
        ("Fresh weights won too", fresh, "there the smaller architecture wins whichever weights it starts from"),
    )
    return [(term, f"{named(part)}: {meaning}.") for term, part, meaning in said if not part.empty]
