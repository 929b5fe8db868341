"""What the paper's text claims: one row per claim and per dataset and network where it can be tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from layerlottery.config.studies import FRESH
from layerlottery.paper import printed
from layerlottery.paper.match import AGREES, CANT_TELL, DISAGREES, NO_FIGURE, NOT_MEASURED, agreement
from layerlottery.paper.measure import QUANTITIES, Row, Ticket, ticket_of
from layerlottery.paper.orders import grasp_closer, l1_lowest, layers_closer, signed_snip
from layerlottery.paper.rows import Context, Group, by_group, named, row, ticket_row
from layerlottery.tables.statistics import SINGLE, Estimate

HOME = (printed.DATASET, printed.RESNET32)


def claim_rows(context: Context) -> list[Row]:
    """All claims, in the order of the tables that they belong to; an untested one is a row too."""
    return [one for claim in CLAIMS for one in claim(context)]


def reinitialized(context: Context) -> list[Row]:
    """Table 1's last row: tickets that start from a fresh draw, at best."""
    tickets = [ticket for ticket in context.tickets("table1") if ticket.rewind == FRESH]
    item = f"random re-initialization of a ticket gains up to {printed.REINITIALIZED:+} pp"
    return _greatest(context, tickets, "accuracy", item, (printed.RESNET32, 1, printed.REINITIALIZED))


def faster(context: Context) -> list[Row]:
    """Beside table 4: tickets train up to twice as fast."""
    return _greatest(context, _savers(context), "speedup", "training is up to 2 times faster", printed.FASTER)


def less_co2(context: Context) -> list[Row]:
    """Beside table 4: tickets emit up to half as much."""
    return _greatest(context, _savers(context), "co2", "tickets emit up to 51 % less CO2", printed.LESS_CO2)


def _savers(context: Context) -> list[Ticket]:
    plain = [ticket for ticket in context.tickets("table4") if ticket.structure == "layers" and ticket.rewind == "0"]
    return [ticket for ticket in plain if not context.is_control(ticket.criterion)]


def _greatest(
    context: Context, tickets: Iterable[Ticket], key: str, item: str, figure: tuple[str, int, float]
) -> list[Row]:
    """The ticket with the greatest mean; `figure` is the network, blocks removed and value that the paper prints."""
    quantity, (network, removed, paper), rows = QUANTITIES[key], figure, []
    place = (printed.DATASET, network)
    for group, own in by_group(tickets).items():
        held = {ticket: context.results.per_seed(ticket, quantity) for ticket in own}
        pool = {
            ticket: context.estimate(values, quantity).mean
            for ticket, values in held.items()
            if values and (group != place or ticket.removed == removed)
        }
        if pool:
            best = max(pool, key=lambda ticket: pool[ticket])
            note = f"{named(best, epochs=context.epochs)}, the greatest of {len(pool)} means and chosen after the fact"
            value = paper if group == place else None
            rows.append(ticket_row(context, best, quantity, paper=value, item=item, notes=[note]))
    return _completed(rows, {place: paper}, (item, quantity.label, quantity.unit))


def _completed(rows: Sequence[Row], places: Mapping[Group, float | None], words: tuple[str, str, str]) -> list[Row]:
    """The rows, and an unmeasured one for each place of the paper that has none; `words`: item, quantity, unit."""
    measured = {(one["dataset"], one["network"]) for one in rows}
    missing = [
        row(place, *words, NOT_MEASURED, paper=paper) for place, paper in places.items() if place not in measured
    ]
    return [*rows, *missing]


def all_win(context: Context) -> list[Row]:
    """The title, tested on table 1's tickets: the share that is not inferior to the dense network, for each ξ."""
    chosen = {ticket for ticket in context.tickets("table1") if ticket.rewind != FRESH}
    held: dict[tuple[Group, str], list[Row]] = {}
    for one in context.results.summary:
        if ticket_of(one) in chosen and one["xi_points"] is not None:
            held.setdefault(((one["dataset"], one["network"]), one["xi"]), []).append(one)
    rows = [_share(context, group, xi, tickets) for (group, xi), tickets in held.items()]
    return _completed(rows, {HOME: 100.0}, ("every ticket of table 1 wins", "tickets not inferior", "%"))


def _share(context: Context, group: Group, xi: str, tickets: Sequence[Row]) -> Row:
    inferior = [one for one in tickets if one["verdict_holm"] == "losing"]
    won = sum(one["verdict"] == "winning" for one in tickets)
    seeds = min(one["seeds"] for one in tickets)
    told = all(one["verdict"] != SINGLE for one in tickets)
    # each ticket must be shown to win, so that needs no correction; one loser among many does
    verdict = DISAGREES if inferior else AGREES if won == len(tickets) else CANT_TELL
    note = f"{won} of {len(tickets)} tickets shown not inferior, {len(inferior)} inferior after Holm's correction"
    return row(
        group,
        f"every ticket of table 1 wins (ξ = {xi if xi == 'sd' else f'{xi} pp'})",
        "tickets not inferior",
        "%",
        verdict,
        seeds=seeds,
        estimate=Estimate(100 * won / len(tickets), None, None, None) if told else None,
        notes=[note] if told else ["one seed shows of no ticket that it is not inferior"],
        paper=100.0,
        scored_at="trained",
        scale=context.scale(group[0], seeds),
    )


def flops_per_block(context: Context) -> list[Row]:
    """A block costs the same in every stage, so the reduction depends on their number alone."""
    words = ("each removed block saves the same FLOPs, whatever its stage", "FLOPs saved", "% a block")
    places = {(printed.DATASET, name): value for name, value in printed.FLOPS_PER_BLOCK.items()}
    tickets = [ticket for ticket in context.results.networks if ticket.structure == "layers"]
    rows = [_per_block(context, group, own, places.get(group), words) for group, own in by_group(tickets).items()]
    return _completed(rows, places, words)


def _per_block(
    context: Context, group: Group, tickets: Sequence[Ticket], paper: float | None, words: tuple[str, str, str]
) -> Row:
    networks = [one for ticket in tickets for one in context.results.networks[ticket]]
    values = [one["macs_reduction"] / one["removed"] for one in networks]
    seeds = len({one["seed"] for one in networks})
    found = Estimate(sum(values) / len(values), None, min(values), max(values))
    margin = context.settings.margins.flops
    return row(
        group,
        *words,
        NO_FIGURE if paper is None else agreement(found, paper, margin),
        seeds=seeds,
        estimate=found,
        notes=[f"least and greatest of {len(values)} networks stand in for the interval"],
        paper=paper,
        margin=None if paper is None else margin,
        structure="layers",
        scale=context.scale(group[0], seeds),
    )


def _or_untested(test: Callable[[Context], list[Row]], words: tuple[str, str, str]) -> Callable[[Context], list[Row]]:
    return lambda context: test(context) or _completed([], {HOME: None}, words)


CLAIMS: tuple[Callable[[Context], list[Row]], ...] = (
    reinitialized,
    all_win,
    faster,
    less_co2,
    flops_per_block,
    *(_or_untested(order.test, order.words) for order in (l1_lowest, grasp_closer, layers_closer, signed_snip)),
)
