"""The verdict of the tables, in words that claim no more than seeds, images and the number of tests allow."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.config.recipes import TRAINED
from layerlottery.config.studies import FRESH, TUNED_ON
from layerlottery.report.baselines import baseline_statements, baselines
from layerlottery.report.controls import control_statements
from layerlottery.report.tables import Tables, at_tolerance, drawn_criteria, group_name, is_share, sizes
from layerlottery.tables.statistics import UNDECIDED, VERDICTS
from layerlottery.words import counted, interval, number, percent

XI = "ξ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
MOST_NAMED = 8
NOT_LEARNED = "It is not shown that anything was learned"
Statements = list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """The verdict on one dataset and network: a sentence, what controls make of it, and (term, text) pairs."""

    group: str
    headline: str
    statements: Statements
    beside: str = ""


def findings(tables: Tables, xi: str) -> list[Finding]:
    """One finding per dataset and network, for the tolerance named `xi`."""
    drawn, named = drawn_criteria(tables.runs), baselines(tables.comparisons)
    found = []
    for group, own in tables.by_group.items():
        every = at_tolerance(own.summary, xi)
        rows = chosen(every)
        controls = control_statements(own.runs, own.comparisons)
        controls += baseline_statements(own.runs, own.comparisons, named)
        learned = not nothing_learned(rows)
        told = learned and not rows.empty and rows["seeds"].max() > 1
        won = _controls_won(every, drawn) if learned else []
        statements = [*_proven(rows), *_verdicts(rows), *_best(rows), *_power(rows)] if told else []
        beside = " ".join(f"{term}: {text.partition(': so ')[2]}" for term, text in won)
        found.append(Finding(group_name(group), headline(rows, xi), [*statements, *controls, *won], beside))
    return found


def overall(found: Sequence[Finding], tables: Tables, xi: str) -> str:
    """The first sentence of the page: the only network's headline, or how many tickets win in how many networks."""
    if len(found) == 1:
        return found[0].headline
    judged = {group: chosen(at_tolerance(own.summary, xi)) for group, own in tables.by_group.items()}
    every = {group: rows for group, rows in judged.items() if len(rows)}
    held = [rows for rows in every.values() if not nothing_learned(rows)]
    if every and not held:
        return f"{NOT_LEARNED}: no dense network is told from chance, so no ticket is judged against one."
    rows = pd.concat(held) if held else pd.DataFrame()
    if rows.empty:
        return found[0].headline
    if rows["seeds"].max() < 2:
        return "One seed, so nothing can be inferred."
    places = sum(bool(one["winning_holm"].eq(True).any()) for one in held)
    said = f"{_winners(rows)} proven to win, in {places} of {len(found)} networks" if places else "No win is proven"
    lost = [group_name(group) for group, rows in every.items() if nothing_learned(rows)]
    idle = f" {NOT_LEARNED} in {', '.join(_shortened(lost))}." if lost else ""
    return f"{said} ({tolerance_words(xi)}, {seeds_words(rows)}, corrected within each network).{idle}"


def _shortened(names: list[str]) -> list[str]:
    more = len(names) - MOST_NAMED
    return [*names[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """The tickets that criteria chose; where there is none, the controls."""
    tickets = rows[~rows["is_control"].astype(bool)]
    return rows if tickets.empty else tickets


def tolerance_words(xi: str, points: float | None = None) -> str:
    """The tolerance as a phrase."""
    if xi == "sd":
        size = "" if points is None or pd.isna(points) else f" ({number(points)} percentage points)"
        return f"{XI}one standard deviation of the dense networks{size}"
    return f"{XI}{xi} percentage {'point' if xi == '1' else 'points'}"


def headline(rows: pd.DataFrame, xi: str) -> str:
    """What the rows of one dataset, network and tolerance prove, corrected for the number of tests."""
    if rows.empty:
        return "Only dense networks were trained: there is no ticket to judge."
    if nothing_learned(rows):
        dense, chance = (rows["accuracy"] - rows["delta_accuracy"]).mean(), rows["chance"].iloc[0]
        reached = f"the dense network reaches {number(dense)} %, not told from chance, {number(chance)} %"
        return f"{NOT_LEARNED}: {reached}, by {seeds_words(rows)}, so no ticket is judged against it."
    tolerance = tolerance_words(xi, rows["xi_points"].iloc[0])
    total, judged = counted(len(rows), "ticket", "tickets"), rows["xi_points"].notna().any()
    if rows["seeds"].max() < 2:
        won = int((rows["won"] > 0).sum())
        which = f"{won} of {total} lost no" if len(rows) > 1 else f"the ticket lost{' no' if won else ''}"
        which = f"{which} more than {tolerance} against the dense network of that seed"
        said = f"As a mere count, {which}." if judged else f"{tolerance} can't be computed from one seed either."
        return f"One seed, so nothing can be inferred. {said}"
    if not judged:
        return f"{tolerance} can't be computed, so no ticket can be judged."
    count = rows["verdict_holm"].value_counts()
    known = [verdict for verdict in VERDICTS if verdict in count]
    against = ", ".join(verdict if len(rows) == 1 else f"{count[verdict]} {verdict}" for verdict in known)
    return f"{_wins(rows)} ({tolerance}, {seeds_words(rows)}). Against the dense network: {against}."


def nothing_learned(rows: pd.DataFrame) -> bool:
    """Whether the dense networks beside these tickets are at chance, as far as is known."""
    return bool(rows["learned"].eq(False).any())


def _wins(rows: pd.DataFrame) -> str:
    """Winning tickets before and after the correction."""
    kept, before = (int(rows[name].eq(True).sum()) for name in ("winning_holm", "winning"))
    number_of = int(rows["tickets"].max())
    tests = f"{number_of} tests"
    if not kept:
        return f"No win is proven{f'; {before} of {len(rows)} before correcting for {tests}' if before else ''}"
    corrected = f", corrected for {tests}" if number_of > 1 else ""
    more = f"; {before} before correcting for {tests}" if before > kept else corrected
    return f"{_winners(rows)} proven to win{more}"


def _winners(rows: pd.DataFrame) -> str:
    """So many of the tickets are, and how many of them no one could have chosen before training; one has its name."""
    if len(rows) == 1:
        only = rows.iloc[0]
        return f"{only['family']} with {only['gone']} is"
    won, late = rows["winning_holm"].eq(True), rows["scored_at"].eq(TRAINED)
    count, after = int(won.sum()), int((won & late).sum())
    which = "" if after == count else f"{after} "
    apart = f" ({which}chosen after training)" if after and not late.all() else ""
    return f"{count} of {counted(len(rows), 'ticket', 'tickets')}{apart} {'is' if count == 1 else 'are'}"


def seeds_words(rows: pd.DataFrame) -> str:
    """How many seeds the tickets have."""
    low, high = int(rows["seeds"].min()), int(rows["seeds"].max())
    return counted(low, "seed", "seeds") if low == high else f"{low} to {high} seeds"


def named(rows: pd.DataFrame) -> str:
    """Tickets as: grasp at p = 1, 2; snip at p = 1; so many at most."""
    held = [f"{family} with {sizes(one)}" for family, one in rows.groupby("family", sort=False)]
    more = int((~rows["family"].isin(rows["family"].unique()[:MOST_NAMED])).sum())
    rest = [f"and {counted(more, 'ticket', 'tickets')} more, listed under Every ticket"] if more else []
    return "; ".join([*held[:MOST_NAMED], *rest])


def _proven(rows: pd.DataFrame) -> Statements:
    """Winning tickets of the paper, for which not being worse by more than ξ is enough."""
    kept, won = rows["winning_holm"].eq(True), rows["winning"].eq(True)
    parts = {"Proven to win": rows[kept], "Win before correction only": rows[won & ~kept]}
    meaning = {"Proven to win": ": not worse than dense by more than ξ"}
    return [(term, f"{named(part)}{meaning.get(term, '')}.") for term, part in parts.items() if not part.empty]


def _verdicts(rows: pd.DataFrame) -> Statements:
    meaning = {
        "better": "more accurate than dense",
        "equivalent": "neither better nor worse than dense by ξ",
        "worse": "less accurate than dense",
        "undecided": "the interval allows more than one of these",
    }
    parts = {verdict: rows[rows["verdict_holm"] == verdict] for verdict in VERDICTS}
    return [(name.capitalize(), f"{named(part)}: {meaning[name]}.") for name, part in parts.items() if not part.empty]


def _best(rows: pd.DataFrame) -> Statements:
    known = rows.sort_values("mean")
    proven = known[known["winning_holm"].eq(True)].sort_values(["removed", "mean"])
    share = is_share(proven)
    terms = {"Highest mean": known, "Most blocks removed in a proven win": proven[~share]}
    terms["Most filters removed in a proven win"] = proven[share]
    # of two that say the same the stronger one stays
    said = {_described(row): term for term, own in terms.items() for row in _last(own)}
    return [(term, text) for text, term in said.items()]


def _power(rows: pd.DataFrame) -> Statements:
    """What this number of seeds and images can tell, and what would decide the rest."""
    known = rows["detectable"].dropna()
    if known.empty:
        return []
    ends = " to ".join(dict.fromkeys(number(one) for one in (known.min(), known.max())))
    said = f"True differences of {ends} percentage points are found with 80 % power, before correction."
    open_ = rows[rows["verdict_holm"] == UNDECIDED]
    more = open_["more_seeds"].dropna()
    if len(more):
        ends = " to ".join(dict.fromkeys(f"{one:.0f}" for one in (more.min(), more.max())))
        said += f" {ends} further seeds would probably decide {len(more)} of {len(open_)} undecided."
    return [("Power", said)]


def _last(rows: pd.DataFrame) -> list[dict[Hashable, Any]]:
    found: list[dict[Hashable, Any]] = rows.tail(1).to_dict("records")
    return found


def _described(row: dict[Hashable, Any]) -> str:
    change = interval(row["mean"], row["low"], row["high"])
    return (
        f"{row['family']} with {row['gone']}, {change} percentage points against dense, "
        f"with {percent(row['macs_reduction'])} fewer MACs."
    )


def _controls_won(rows: pd.DataFrame, drawn: set[str]) -> Statements:
    winners = rows[rows["winning_holm"].eq(True)] if len(rows) else rows
    fresh = winners["rewind"] == FRESH
    tuned = winners["structure"] == TUNED_ON
    random = winners["criterion"].isin(drawn) & ~fresh & ~tuned
    said = (
        ("Random won too", random, "so a win at this size needs no criterion"),
        ("Dense, fine-tuned as often, won too", tuned, "so a win of this training needs no removal"),
        ("Fresh weights won too", fresh, "so a win of this architecture needs no inherited weights"),
    )
    return [(term, f"{named(winners[part])}: {meaning}.") for term, part, meaning in said if part.any()]
