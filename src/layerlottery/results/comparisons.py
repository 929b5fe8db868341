"""The table `comparisons`: what decides whether a ticket means anything, its difference to its controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from layerlottery.results.statistics import bootstrap, estimate, holm, outcome, p_zero, seed_means
from layerlottery.results.summary import by_ticket, grouped, identity
from layerlottery.settings import StatisticsSettings
from layerlottery.studies import FRESH

Row = dict[str, Any]


@dataclass(frozen=True)
class Control:
    """Which networks of the same dataset, network and density a ticket is measured against.

    `fits` takes a row of the ticket and one of another network; `paired` names the columns that pair the two.
    """

    fits: Callable[[Row, Row], bool]
    paired: tuple[str, ...]


def _equal(ticket: Row, other: Row, *names: str) -> bool:
    return all(ticket[name] == other[name] for name in names)


def _drawn_by(function: str) -> Callable[[Row, Row], bool]:
    def fits(ticket: Row, other: Row) -> bool:
        drawn = other["settings"]["function"] == function != ticket["settings"]["function"]
        return drawn and _equal(ticket, other, "structure", "rewind")

    return fits


def _fresh(ticket: Row, other: Row) -> bool:
    fresh = other["rewind"] == FRESH != ticket["rewind"]
    return fresh and _equal(ticket, other, "structure", "criterion", "scored_at")


def _layers(ticket: Row, other: Row) -> bool:
    criterion = ticket["settings"].get("budget") or ticket["criterion"]
    layers = other["structure"] == "layers" != ticket["structure"] and other["criterion"] == criterion
    return layers and _equal(ticket, other, "scored_at", "rewind")


# a fresh start and a layer ticket share the architecture or the budget of the same draw; random draws share nothing
CONTROLS = {
    "random": Control(_drawn_by("random"), paired=("seed",)),
    "random_spread": Control(_drawn_by("random_spread"), paired=("seed",)),
    "fresh": Control(_fresh, paired=("seed", "draw")),
    "layers": Control(_layers, paired=("seed", "draw")),
}


def comparison_rows(runs: Sequence[Row], settings: StatisticsSettings) -> list[Row]:
    """One row per ticket and control that shares a seed with it; draws are averaged within a seed first."""
    runs = [row | {"settings": json.loads(row["criterion_settings"])} for row in runs if row["density"]]
    places = grouped(runs, ["dataset", "network", "density"])
    compared = []
    for rows in by_ticket(runs).values():
        ticket = rows[0]
        others = places[ticket["dataset"], ticket["network"], ticket["density"]]
        for name, control in CONTROLS.items():
            if differences := paired_differences(rows, _controls(ticket, others, control), control.paired):
                compared.append(identity(ticket) | {"control": name} | _described(differences, settings))
    for family in grouped(compared, ["dataset", "network", "control"]).values():
        _correct(family, settings.confidence)
    return compared


def _controls(ticket: Row, others: Sequence[Row], control: Control) -> list[Row]:
    found = [other for other in others if control.fits(ticket, other)]
    # what is drawn at random looks at no weights, so one that was drawn for other weights serves as well
    return [other for other in found if other["scored_at"] == ticket["scored_at"]] or found


def paired_differences(rows: Sequence[Row], controls: Sequence[Row], paired: Sequence[str]) -> list[float]:
    """Accuracy minus the control's, percentage points: one value for every seed that has both."""
    ours, theirs = grouped(rows, paired), grouped(controls, paired)
    shared = ours.keys() & theirs.keys()
    means = [
        seed_means((row["seed"], row["accuracy"]) for key in sorted(shared) for row in side[key])
        for side in (ours, theirs)
    ]
    return [accuracy - means[1][seed] for seed, accuracy in means[0].items()]


def _described(differences: Sequence[float], settings: StatisticsSettings) -> Row:
    found = estimate(differences, confidence=settings.confidence)
    low, high = bootstrap(differences, confidence=settings.confidence, resamples=settings.resamples)
    return {
        "seeds": len(differences),
        "difference": found.mean,
        "sd": found.sd,
        "low": found.low,
        "high": found.high,
        "boot_low": low,
        "boot_high": high,
        "p_value": p_zero(differences),
    }


def _correct(family: Sequence[Row], confidence: float) -> None:
    corrected = holm([row["p_value"] for row in family])
    tested = sum(p is not None for p in corrected)
    for row, p in zip(family, corrected, strict=True):
        row["p_holm"] = p
        row["compared"] = None if p is None else tested
        row["outcome"] = outcome(row["difference"], p, confidence=confidence)
