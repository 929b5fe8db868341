"""The verdict of the tables on winning tickets, in words that claim no more than the seeds allow."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.report.controls import control_statements
from layerlottery.report.tables import Tables, at_tolerance, drawn_criteria, group_name
from layerlottery.words import MINUS, at, counted, interval, number, percent, ranges

XI = "ξ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
MOST_NAMED = 8
Statements = list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """The verdict on one dataset and network: a sentence and (term, text) statements."""

    group: str
    headline: str
    statements: Statements


def findings(tables: Tables, xi: str) -> list[Finding]:
    """One finding per dataset and network, for the tolerance named `xi`."""
    drawn = drawn_criteria(tables.runs)
    found = []
    for group, own in tables.by_group.items():
        rows = at_tolerance(own.summary, xi)
        controls = control_statements(own.runs, own.comparisons)
        statements = [] if rows.empty else [*_outcomes(rows), *_holm(rows), *_extremes(rows)]
        found.append(
            Finding(group_name(group), _headline(rows, xi), [*statements, *controls, *_controls_won(rows, drawn)])
        )
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
    total, judged = counted(len(rows), "ticket", "tickets"), rows["xi_points"].notna().any()
    if rows["seeds"].max() < 2:
        stayed = f"As a mere count, {int((rows['won'] > 0).sum())} of {total} stayed within {tolerance} of the dense"
        said = f"{stayed} network of that seed." if judged else f"{tolerance} can't be computed from one seed either."
        return f"One seed, so nothing can be inferred. {said}"
    if not judged:
        return f"{tolerance} can't be computed, so no ticket can be judged."
    count = rows["verdict"].value_counts()
    won, lost = count.get("winning", 0), count.get("losing", 0)
    rest = len(rows) - won - lost
    return f"{won} of {total} won, {lost} lost, {rest} undecided, against {tolerance}, over {seeds_words(rows)}."


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
    more = int((~rows["family"].isin(rows["family"].unique()[:MOST_NAMED])).sum())
    rest = [f"and {counted(more, 'ticket', 'tickets')} more, listed under Every ticket"] if more else []
    return "; ".join([*held[:MOST_NAMED], *rest])


def _outcomes(rows: pd.DataFrame) -> Statements:
    if rows["seeds"].max() < 2:
        return []
    terms = {"winning": "Won", "losing": "Lost", "undecided": "Undecided", "single seed": "One seed only"}
    why = {"undecided": f" (the interval contains {MINUS}ξ: more seeds may decide)"}
    parts = {verdict: rows[rows["verdict"] == verdict] for verdict in terms}
    return [(terms[name], f"{named(part)}{why.get(name, '')}.") for name, part in parts.items() if not part.empty]


def _holm(rows: pd.DataFrame) -> Statements:
    said = []
    for verdict, singular, plural in (("winning", "win", "wins"), ("losing", "loss", "losses")):
        own = rows[rows["verdict"] == verdict]
        kept = own[own["verdict_holm"] == verdict]
        which = f" ({named(kept)})" if 0 < len(kept) < len(own) else ""
        remain = "remains" if len(kept) == 1 else "remain"
        if len(own):
            said.append(f"{len(kept)} of {counted(len(own), singular, plural)} {remain}{which}")
    tested = counted(int(rows["tickets"].max()), "ticket", "tickets") if said else ""
    return [("After Holm's correction", f"Of {tested} tested, {' and '.join(said)}.")] if said else []


def _extremes(rows: pd.DataFrame) -> Statements:
    by_mean, winners = rows.sort_values("mean"), rows[rows["verdict"] == "winning"]
    if winners.empty:
        term = "Highest in this seed" if rows["seeds"].max() < 2 else "Highest mean, not a clear win"
        return [(term, _described(row)) for row in _last(by_mean[by_mean["verdict"] != "losing"])]
    best = _described(*_last(winners.sort_values("mean")))
    deepest = _described(*_last(winners.sort_values(["removed", "mean"])))
    if best == deepest:
        return [("Best and deepest", best)]
    return [("Best ticket", best), ("Most blocks removed in a win", deepest)]


def _last(rows: pd.DataFrame) -> list[dict[Hashable, Any]]:
    found: list[dict[Hashable, Any]] = rows.tail(1).to_dict("records")
    return found


def _described(row: dict[Hashable, Any]) -> str:
    change = interval(row["mean"], row["low"], row["high"])
    return (
        f"{row['family']} at {at(row['removed'])}, {change} percentage points against dense, "
        f"with {percent(row['macs_reduction'])} fewer MACs."
    )


def _controls_won(rows: pd.DataFrame, drawn: set[str]) -> Statements:
    winners = rows[rows["verdict"] == "winning"]
    fresh = winners["rewind"] == FRESH
    random = winners["criterion"].isin(drawn) & ~fresh
    said = (
        ("Random won too", random, "so a win at this size needs no criterion"),
        ("Fresh weights won too", fresh, "so a win of this architecture needs no inherited weights"),
    )
    return [(term, f"{named(winners[part])}: {meaning}.") for term, part, meaning in said if part.any()]
