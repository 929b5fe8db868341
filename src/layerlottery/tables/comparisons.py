"""The table `comparisons`: what decides whether a ticket means anything, its difference to its controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from layerlottery.config.results import StatisticsSettings
from layerlottery.config.studies import FRESH
from layerlottery.tables.statistics import Sample, averages, bootstraps, estimates, holm, outcome, p_zeros
from layerlottery.tables.summary import by_seed, by_ticket, grouped, identity, in_rows, nested

Row = dict[str, Any]

PLACE = ("dataset", "network", "removed")


@dataclass(frozen=True)
class Control:
    """Which tickets of the same dataset, network and number of removed blocks a ticket is measured against.

    `fits` takes a row of the ticket and one of another; `paired` names the columns that pair their networks.
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
    tickets = _tickets(runs)
    places = grouped(tickets, PLACE)
    compared, ours, theirs = [], [], []
    for ticket in tickets:
        others = places[tuple(ticket[name] for name in PLACE)]
        for name, control in CONTROLS.items():
            pairs = paired_accuracies(ticket["networks"], _controls(ticket, others, control), control.paired)
            if pairs[0]:
                compared.append(identity(ticket) | {"control": name})
                ours.append(pairs[0])
                theirs.append(pairs[1])
    means = zip(nested(averages, ours), nested(averages, theirs), strict=True)
    differences = [[one - other for one, other in zip(*pair, strict=True)] for pair in means]
    compared = [names | found for names, found in zip(compared, _described(differences, settings), strict=True)]
    for family in grouped(compared, ["dataset", "network", "control"]).values():
        _correct(family, settings.confidence)
    return compared


def _tickets(runs: Sequence[Row]) -> list[Row]:
    """One row per ticket: what names it, its criterion's settings, and its networks with their place in the table."""
    networks = (row | {"place": place} for place, row in enumerate(runs))
    return [
        rows[0] | {"settings": json.loads(rows[0]["criterion_settings"]), "networks": rows}
        for rows in by_ticket(networks).values()
    ]


def _controls(ticket: Row, others: Sequence[Row], control: Control) -> list[Row]:
    """The networks of the tickets that are its control, as they stand in the table."""
    found = [other for other in others if control.fits(ticket, other)]
    # what is drawn at random looks at no weights, so one that was drawn for other weights serves as well
    found = [other for other in found if other["scored_at"] == ticket["scored_at"]] or found
    return sorted(chain.from_iterable(other["networks"] for other in found), key=lambda row: int(row["place"]))


def paired_accuracies(
    rows: Sequence[Row], controls: Sequence[Row], paired: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    """Accuracies of a ticket and of its control: those of every draw, for every seed that has both."""
    ours, theirs = grouped(rows, paired), grouped(controls, paired)
    shared = sorted(ours.keys() & theirs.keys())

    def accuracies(side: dict[tuple[Any, ...], list[Row]]) -> list[Sample]:
        return [[row["accuracy"] for row in seed] for seed in by_seed(row for key in shared for row in side[key])]

    return accuracies(ours), accuracies(theirs)


def _described(differences: Sequence[Sample], settings: StatisticsSettings) -> list[Row]:
    found = estimates(differences, confidence=settings.confidence)
    ends = bootstraps(differences, confidence=settings.confidence, resamples=settings.resamples)
    columns: dict[str, Iterable[Any]] = {
        "seeds": map(len, differences),
        "difference": [one.mean for one in found],
        "sd": [one.sd for one in found],
        "low": [one.low for one in found],
        "high": [one.high for one in found],
        "boot_low": [low for low, _ in ends],
        "boot_high": [high for _, high in ends],
        "p_value": p_zeros(differences),
    }
    return in_rows(columns)


def _correct(family: Sequence[Row], confidence: float) -> None:
    corrected = holm([row["p_value"] for row in family])
    tested = sum(p is not None for p in corrected)
    for row, p in zip(family, corrected, strict=True):
        row["p_holm"] = p
        row["compared"] = None if p is None else tested
        row["outcome"] = outcome(row["difference"], p, confidence=confidence)
