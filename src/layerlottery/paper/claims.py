"""Claims of the paper's text: one row per claim and per dataset and network where it can be tested.

Some claims come with a figure. Others say that one thing exceeds another, or equals it: they are tested by paired
differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.paper import printed
from layerlottery.paper.match import AGREES, CANT_TELL, DISAGREES, NOT_MEASURED, agreement, direction
from layerlottery.paper.measure import (
    QUANTITIES,
    PerSeed,
    Row,
    TicketKey,
    averaged,
    grouped,
    mean_of,
    paired,
    ticket_of,
)
from layerlottery.paper.rows import ACCURACY, Context, Group, Words, by_group, named, row, seed_row, ticket_row
from layerlottery.paper.tables import KERNELS
from layerlottery.tables.statistics import NULL, ROUNDING, SINGLE, Estimate, holm, p_below
from layerlottery.words import signed

HOME = (printed.DATASET, printed.RESNET32)
ZERO_SUM = {"function": "snip", "products": "signed", "batchnorm": "train", "parameters": "convolutions"}


Test = Callable[[Context, Words], list[Row]]
PER_BLOCK = {(printed.DATASET, network): value for network, value in printed.FLOPS_PER_BLOCK.items()}


@dataclass(frozen=True)
class Claim:
    """A claim, its test, and the figures that the paper prints for it by dataset and network."""

    words: Words
    test: Test
    figures: Mapping[Group, float]

    def rows(self, context: Context) -> list[Row]:
        """The measured rows; where the paper prints a figure, or if there are none, a row that says what is missing."""
        found = self.test(context, self.words)
        measured = {(one["dataset"], one["network"]) for one in found}
        absent: dict[Group, float | None] = {
            place: figure for place, figure in self.figures.items() if place not in measured
        }
        if not found and not absent:
            absent = {HOME: None}
        return found + [row(place, self.words, NOT_MEASURED, paper=figure) for place, figure in absent.items()]


CLAIMS: list[Claim] = []


def claim(item: str, quantity: str, unit: str, figures: Mapping[Group, float] | None = None) -> Callable[[Test], Test]:
    """Adds a test to CLAIMS, which keep the order of the tables that they belong to."""

    def add(test: Test) -> Test:
        CLAIMS.append(Claim(Words(item, quantity, unit), test, figures or {}))
        return test

    return add


def _at(figure: tuple[str, int, float]) -> dict[Group, float]:
    network, _, value = figure
    return {(printed.DATASET, network): value}


def claim_rows(context: Context) -> list[Row]:
    """All claims; an untested one is a row too."""
    return [one for claim in CLAIMS for one in claim.rows(context)]


@claim("fresh weights for a ticket gain up to +0.85 pp", "Δ accuracy", "pp", _at(printed.REINITIALIZED))
def reinitialized(context: Context, words: Words) -> list[Row]:
    """Table 1's last row: tickets that start from fresh weights, at best."""
    tickets = [ticket for ticket in context.tickets("table1") if ticket.rewind == FRESH]
    return _greatest(context, words, tickets, "accuracy", printed.REINITIALIZED)


@claim("every ticket of table 1 wins", "tickets not inferior", "%", {HOME: 100.0})
def all_win(context: Context, words: Words) -> list[Row]:
    """The title, tested on table 1's tickets: the share that is not inferior to the dense network, for each ξ."""
    chosen = {ticket for ticket in context.tickets("table1") if ticket.rewind != FRESH}
    rows = [one for one in context.results.summary if ticket_of(one) in chosen and one["xi_points"] is not None]
    held = grouped(rows, lambda one: ((one["dataset"], one["network"]), one["xi"]))
    return [_share(context, words, group, xi, tickets) for (group, xi), tickets in held.items()]


@claim("training is up to 2 times faster", "training speed-up", "factor", _at(printed.FASTER))
def faster(context: Context, words: Words) -> list[Row]:
    """Beside table 4: tickets train up to twice as fast."""
    return _greatest(context, words, _savers(context), "speedup", printed.FASTER)


@claim("tickets emit up to 51 % less CO2", "CO2 saved", "%", _at(printed.LESS_CO2))
def less_co2(context: Context, words: Words) -> list[Row]:
    """Beside table 4: tickets emit up to half as much."""
    return _greatest(context, words, _savers(context), "co2", printed.LESS_CO2)


def _savers(context: Context) -> list[TicketKey]:
    plain = [ticket for ticket in context.tickets("table4") if ticket.structure == "layers" and ticket.rewind == "0"]
    return [ticket for ticket in plain if not context.is_control(ticket.criterion)]


def _greatest(
    context: Context, words: Words, tickets: Iterable[TicketKey], key: str, figure: tuple[str, int, float]
) -> list[Row]:
    """The ticket with the greatest mean; `figure` is the network, blocks removed and value that the paper prints."""
    quantity, (network, removed, paper), rows = QUANTITIES[key], figure, []
    for group, own in by_group(tickets).items():
        home = group == (printed.DATASET, network)
        held = {ticket: context.results.per_seed(ticket, quantity) for ticket in own}
        pool = {
            ticket: context.estimate(values, quantity).mean
            for ticket, values in held.items()
            if values and (not home or ticket.removed == removed)
        }
        if pool:
            best = max(pool, key=lambda ticket: pool[ticket])
            name = named(best, epochs=context.epochs(best.network))
            note = f"{name}, the greatest of {len(pool)} means and chosen after the fact"
            value = paper if home else None
            rows.append(ticket_row(context, best, quantity, value, words.item, [note]))
    return rows


def _share(context: Context, words: Words, group: Group, xi: str, tickets: Sequence[Row]) -> Row:
    inferior, won = _inferior(tickets), sum(one["winning"] is True for one in tickets)
    seeds = min(one["seeds"] for one in tickets)
    told = all(one["verdict"] != SINGLE for one in tickets)
    # each ticket must be shown to win, so that needs no correction; one loser among many does
    verdict = DISAGREES if inferior else AGREES if won == len(tickets) else CANT_TELL
    note = f"{won} of {len(tickets)} tickets shown not inferior, {inferior} inferior after Holm's correction"
    return row(
        group,
        words._replace(item=f"{words.item} (ξ = {xi if xi == 'sd' else f'{xi} pp'})"),
        verdict,
        seeds=seeds,
        estimate=Estimate(100 * won / len(tickets), None, None, None) if told else None,
        notes=[note] if told else ["one seed can't show that a ticket is not inferior"],
        paper=100.0,
        scored_at="trained",
        scale=context.scale(group, seeds),
    )


def _inferior(tickets: Sequence[Row]) -> int:
    """How many tickets are proven to lose more than ξ, after Holm's correction."""
    names = {"delta_accuracy": "mean", "delta_se": "se", "delta_df": "df"}
    rows = pd.DataFrame(tickets).rename(columns=names).astype(dict.fromkeys(names.values(), float))
    p = holm(p_below(rows, -rows["xi_points"].astype(float) - ROUNDING))
    return int((p <= (1 - rows["confidence"].astype(float)) / 2).sum())


@claim("each removed block saves the same FLOPs, whatever its stage", "FLOPs saved", "% a block", PER_BLOCK)
def flops_per_block(context: Context, words: Words) -> list[Row]:
    """A block costs the same in every stage, so the reduction depends on their number alone."""
    tickets = [ticket for ticket in context.results.networks if ticket.structure == "layers"]
    held = {group: _profiled(context, own) for group, own in by_group(tickets).items()}
    return [_per_block(context, words, group, networks) for group, networks in held.items() if networks]


def _profiled(context: Context, tickets: Iterable[TicketKey]) -> list[Row]:
    """The networks whose cost is known: before its end a benchmark may lack profiles."""
    networks = (one for ticket in tickets for one in context.results.networks[ticket])
    return [one for one in networks if one["macs_reduction"] is not None]


def _per_block(context: Context, words: Words, group: Group, networks: Sequence[Row]) -> Row:
    values = [one["macs_reduction"] / one["removed"] for one in networks]
    seeds = len({one["seed"] for one in networks})
    found = Estimate(sum(values) / len(values), None, min(values), max(values))
    paper, margin = PER_BLOCK.get(group), context.settings.margins.flops
    return row(
        group,
        words,
        agreement(found, paper, margin),
        seeds=seeds,
        estimate=found,
        notes=[f"least and greatest of {len(values)} networks stand in for the interval"],
        paper=paper,
        margin=None if paper is None else margin,
        structure="layers",
        scale=context.scale(group, seeds),
    )


@claim("l1 scores the first stage lowest, so it always empties it", "last stage minus first", KERNELS)
def l1_lowest(context: Context, words: Words) -> list[Row]:
    return [_stages(context, words, key, rows) for key, rows in context.results.l1_scores().items()]


def _stages(context: Context, words: Words, key: tuple[str, ...], rows: Sequence[Row]) -> Row:
    dataset, network, criterion, scored_at = key
    stages = grouped(rows, lambda one: one["stage"])
    first, *others = (averaged(own, "raw") for own in stages.values())
    lowest = sum(all(first[seed] < mean[seed] for mean in others) for seed in first)
    emptied = sum(_first_goes(own, next(iter(stages))) for own in grouped(rows, lambda one: one["seed"]).values())
    note = (
        f"{criterion} scored at {scored_at}: the first stage has the lowest mean in {lowest} of {len(first)} seeds, "
        f"each of its blocks scores below all others in {emptied}"
    )
    values = paired([first, *others][-1], first)
    identity: Row = {"structure": "layers", "criterion": criterion, "scored_at": scored_at}
    return seed_row(context, (dataset, network), words, values, direction, notes=[note], **identity)


def _first_goes(rows: Sequence[Row], first: str) -> bool:
    inside, outside = ([one["raw"] for one in rows if (one["stage"] == first) is side] for side in (True, False))
    return bool(outside) and max(inside) < min(outside)


@claim(
    "GraSP tickets stay closer to the dense network than SNIP tickets as p grows",
    "penultimate features, GraSP minus SNIP",
    "CKA",
)
def grasp_closer(context: Context, words: Words) -> list[Row]:
    def other(ticket: TicketKey) -> TicketKey | None:
        return ticket._replace(criterion="snip") if _is_plain(ticket) and ticket.criterion == "grasp" else None

    return _closer(context, words, other, structure="layers", scored_at="init", rewind="0")


@claim(
    "layer tickets stay closer to the dense network than filter tickets",
    "penultimate features, layers minus filters",
    "CKA",
)
def layers_closer(context: Context, words: Words) -> list[Row]:
    def other(ticket: TicketKey) -> TicketKey | None:
        plain = ticket.structure == "layers" and ticket.rewind != FRESH and not context.is_control(ticket.criterion)
        return ticket._replace(structure="filters") if plain else None

    return _closer(context, words, other)


def _is_plain(ticket: TicketKey) -> bool:
    return (ticket.structure, ticket.scored_at, ticket.rewind) == ("layers", "init", "0")


def _closer(context: Context, words: Words, other: Callable[[TicketKey], TicketKey | None], **cells: Any) -> list[Row]:
    """Differences in CKA between each ticket and its `other`, averaged over the pairs within a seed."""
    measured, rows = context.results.penultimate, []
    for group, tickets in by_group(measured).items():
        pairs = [(ticket, other(ticket)) for ticket in tickets]
        differences = {
            ticket: paired(measured[ticket], measured[rival]) for ticket, rival in pairs if rival in measured
        }
        if values := mean_of(list(differences.values())):
            alike = all(_alike(context, ticket, rival) for ticket, rival in pairs if ticket in differences)
            notes = [_by_removed(differences, digits=3), *(["one architecture in every seed"] if alike else [])]
            judge = (lambda _: NULL) if alike else direction
            rows.append(seed_row(context, group, words, values, judge, notes=notes, **cells))
    return rows


def _alike(context: Context, ticket: TicketKey, rival: TicketKey | None) -> bool:
    """Whether both lack as many blocks of each stage in every seed and draw: one architecture, equally drawn."""
    ours, theirs = (
        {(row["seed"], row["draw"]): Counter(name.split(".")[0] for name in row["removed_blocks"]) for row in rows}
        for rows in (context.results.networks.get(one, []) for one in (ticket, rival) if one is not None)
    )
    return bool(ours) and ours.keys() == theirs.keys() and all(ours[key] and ours[key] == theirs[key] for key in ours)


def _by_removed(differences: Mapping[TicketKey, PerSeed], *, digits: int) -> str:
    sizes = grouped(sorted(differences, key=lambda ticket: ticket.removed), lambda ticket: ticket.removed)
    means = {removed: mean_of([differences[ticket] for ticket in tickets]) for removed, tickets in sizes.items()}
    shown = [f"p = {removed}: {signed(sum(one.values()) / len(one), digits)}" for removed, one in means.items() if one]
    return f"mean difference by blocks removed, {', '.join(shown)}"


@claim("signed SNIP over convolutions is no more than a random pick", "Δ accuracy, signed SNIP minus random", "pp")
def signed_snip(context: Context, words: Words) -> list[Row]:
    margin, rows, results = context.margin(ACCURACY), [], context.results
    chosen = [
        ticket
        for ticket in results.networks
        if _is_plain(ticket) and ZERO_SUM.items() <= results.criterion(ticket.criterion).items()
    ]
    for group, tickets in by_group(chosen).items():
        differences = {
            ticket: paired(results.per_seed(ticket, ACCURACY), results.random_removal(ticket, ACCURACY))
            for ticket in tickets
        }
        if values := mean_of([one for one in differences.values() if one]):
            notes = [_by_removed(differences, digits=2), "agrees where the interval lies within the margin around 0"]
            cells: Row = {"structure": "layers", "scored_at": "init", "rewind": "0", "margin": margin, "notes": notes}
            rows.append(seed_row(context, group, words, values, lambda found: agreement(found, 0.0, margin), **cells))
    return rows
