"""What the tables say about winning tickets, in words that claim no more than the seeds allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.report.series import against_random, confidence_of
from layerlottery.report.tables import Tables, at_tolerance, group_name, is_random
from layerlottery.report.words import MINUS, at, counted, densities, interval, number, percent

XI = "ξ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Finding:
    """The verdict on one dataset and network: a sentence and (term, text) statements."""

    group: str
    headline: str
    statements: tuple[tuple[str, str], ...]


def findings(tables: Tables, xi: str) -> list[Finding]:
    """One finding per dataset and network, for the tolerance named `xi`."""
    confidence = confidence_of(tables.summary)
    summary = at_tolerance(tables.summary, xi)
    compared = against_random(tables.runs, confidence)
    found = []
    for group in tables.groups():
        rows, own = (
            frame[(frame["dataset"] == group[0]) & (frame["network"] == group[1])] for frame in (summary, compared)
        )
        drawn = rows["criterion"].isin(is_random(tables.runs))
        control = _control(own, bool(drawn.any()), confidence)
        itself = _random_won(rows[drawn])
        found.append(
            Finding(group_name(group), _headline(rows, xi), (*_outcomes(rows), *_extremes(rows), *control, *itself))
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
    total = counted(len(rows), "ticket", "tickets")
    if rows["seeds"].max() < 2:
        return f"One seed, so nothing can be inferred. {_single(rows, total, tolerance)}"
    if rows["xi_points"].isna().all():
        return f"{tolerance} can't be computed, so no ticket can be judged."
    count = rows["verdict"].value_counts()
    won, lost = count.get("winning", 0), count.get("losing", 0)
    rest = len(rows) - won - lost
    seeds = _seeds(rows)
    return f"{won} of {total} won, {lost} lost, {rest} undecided, against {tolerance}, over {seeds}."


def _single(rows: pd.DataFrame, total: str, tolerance: str) -> str:
    if rows["xi_points"].isna().all():
        return f"{tolerance} can't be computed from one seed either."
    won = int((rows["won"] > 0).sum())
    return f"As a mere count, {won} of {total} stayed within {tolerance} of the dense network of that seed."


def _seeds(rows: pd.DataFrame) -> str:
    low, high = int(rows["seeds"].min()), int(rows["seeds"].max())
    return counted(low, "seed", "seeds") if low == high else f"{low} to {high} seeds"


def named(rows: pd.DataFrame) -> str:
    """Tickets as: grasp at p = 1, 2; snip at p = 1."""
    return "; ".join(
        f"{family} at {at(densities(one['density']))}" for family, one in rows.groupby("family", sort=False)
    )


def _outcomes(rows: pd.DataFrame) -> list[tuple[str, str]]:
    terms = {"winning": "Won", "losing": "Lost", "undecided": "Undecided", "single seed": "One seed only"}
    why = {"undecided": f" (the interval contains {MINUS}ξ: more seeds may decide)"}
    parts = ((verdict, rows[rows["verdict"] == verdict]) for verdict in terms)
    if not rows.empty and rows["seeds"].max() < 2:
        return []
    return [(terms[verdict], f"{named(part)}{why.get(verdict, '')}.") for verdict, part in parts if not part.empty]


def _extremes(rows: pd.DataFrame) -> list[tuple[str, str]]:
    if rows.empty:
        return []
    winners = rows[rows["verdict"] == "winning"]
    if winners.empty:
        term = "Highest in this seed" if rows["seeds"].max() < 2 else "Highest mean, not a clear win"
        pool = rows[rows["verdict"] != "losing"]
        return [(term, _described(_last(pool, ["delta_accuracy"])))] if not pool.empty else []
    best = _last(winners, ["delta_accuracy"])
    deepest = _last(winners, ["density", "delta_accuracy"])
    if (best["family"], best["density"]) == (deepest["family"], deepest["density"]):
        return [("Best and deepest", _described(best))]
    return [
        ("Best ticket", _described(best)),
        ("Deepest winning density", _described(deepest)),
    ]


def _last(rows: pd.DataFrame, by: list[str]) -> dict[str, Any]:
    return {str(name): value for name, value in rows.sort_values(by).iloc[-1].items()}


def _described(row: dict[str, Any]) -> str:
    change = interval(row["delta_accuracy"], row["delta_low"], row["delta_high"])
    return (
        f"{row['family']} at {at(row['density'])}, {change} percentage points against dense, "
        f"with {percent(row['macs_reduction'])} fewer MACs."
    )


def _control(compared: pd.DataFrame, drawn: bool, confidence: float) -> list[tuple[str, str]]:
    term = "Against random"
    if not drawn:
        return [(term, "No random removal was trained, so whether a criterion matters at all can't be told.")]
    if compared.empty:
        return [(term, "No other ticket shares a density and seed with random removal.")]
    if compared["seeds"].max() < 2:
        return [(term, "With one seed no criterion can be told from random removal.")]
    better, worse = (compared[compared["outcome"] == outcome] for outcome in ("better", "worse"))
    chance = len(compared) * (1 - confidence) / 2
    text = f"{_clear('better', better)}; {_clear('worse', worse)}; {_rest(compared)}. "
    text += f"Of {len(compared)} comparisons, about {chance:.1f} would look better by chance alone."
    return [(term, text[0].upper() + text[1:])]


def _random_won(rows: pd.DataFrame) -> list[tuple[str, str]]:
    winners = rows[rows["verdict"] == "winning"]
    text = f"{named(winners)}: there a ticket wins whichever blocks go."
    return [] if winners.empty else [("Random won too", text)]


def _clear(outcome: str, rows: pd.DataFrame) -> str:
    if rows.empty:
        return f"no criterion is clearly {outcome} than random at the same density"
    shown = [
        f"{row['family']} at {at(row['density'])} ({interval(row['difference'], row['low'], row['high'])})"
        for row in rows.sort_values("difference", ascending=outcome == "worse").head(4).to_dict("records")
    ]
    more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
    return f"clearly {outcome} than random: {', '.join(shown)}{more}"


def _rest(compared: pd.DataFrame) -> str:
    open_rows = compared[compared["outcome"] == "can't tell"]
    if open_rows.empty:
        return "no comparison is left open"
    return f"for {len(open_rows)} of {len(compared)} comparisons we can't tell"
