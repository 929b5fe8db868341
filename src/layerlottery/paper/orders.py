"""Claims that one thing exceeds another, or equals it: tested by paired differences, with no printed figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layerlottery.config.studies import FRESH
from layerlottery.paper.match import agreement, direction
from layerlottery.paper.measure import PerSeed, Row, Ticket, averaged, mean_of, paired
from layerlottery.paper.rows import ACCURACY, Context, Group, by_group, row
from layerlottery.paper.tables import KERNELS
from layerlottery.tables.statistics import Estimate
from layerlottery.words import signed

Judge = Callable[[Estimate], str]


@dataclass(frozen=True)
class Order:
    """A claim and its test; `words` are item, quantity and unit."""

    words: tuple[str, str, str]
    test: Callable[[Context], list[Row]]


def _row(
    context: Context,
    group: Group,
    words: tuple[str, str, str],
    values: PerSeed,
    *,
    notes: Sequence[str],
    judge: Judge = direction,
    **cells: Any,
) -> Row:
    found = context.estimate(values)
    scale = context.scale(group[0], len(values))
    return row(group, *words, judge(found), seeds=len(values), estimate=found, notes=notes, scale=scale, **cells)


L1 = ("l1 scores the first stage lowest, so it always empties it", "last stage minus first", KERNELS)


def _l1_lowest(context: Context) -> list[Row]:
    held: dict[tuple[str, str, str, str], list[Row]] = {}
    for one in context.results.scores:
        layers = one["structure"] == "layers" and context.results.formula(one["criterion"]) == "l1"
        if layers and one["removable"]:
            key = (one["dataset"], one["network"], one["criterion"], one["scored_at"])
            held.setdefault(key, []).append(one)
    return [_stages(context, key, rows) for key, rows in held.items()]


def _stages(context: Context, key: tuple[str, str, str, str], rows: Sequence[Row]) -> Row:
    dataset, network, criterion, scored_at = key
    names = list(dict.fromkeys(one["stage"] for one in rows))
    means = [averaged([one for one in rows if one["stage"] == name], "raw") for name in names]
    seeds = means[0].keys()
    lowest = sum(all(means[0][seed] < mean[seed] for mean in means[1:]) for seed in seeds)
    emptied = sum(_first_goes([one for one in rows if one["seed"] == seed], names[0]) for seed in seeds)
    notes = [
        f"{criterion} scored at {scored_at}: the first stage has the lowest mean in {lowest} of {len(seeds)} seeds, "
        f"each of its blocks scores below all others in {emptied}"
    ]
    cells: Row = {"structure": "layers", "criterion": criterion, "scored_at": scored_at}
    return _row(context, (dataset, network), L1, paired(means[-1], means[0]), notes=notes, **cells)


def _first_goes(rows: Sequence[Row], first: str) -> bool:
    inside, outside = ([one["raw"] for one in rows if (one["stage"] == first) is side] for side in (True, False))
    return bool(outside) and max(inside) < min(outside)


GRASP = (
    "GraSP tickets stay closer to the dense network than SNIP tickets as p grows",
    "penultimate features, GraSP minus SNIP",
    "CKA",
)
LAYERS = (
    "layer tickets stay closer to the dense network than filter tickets",
    "penultimate features, layers minus filters",
    "CKA",
)


def _grasp_closer(context: Context) -> list[Row]:
    def other(ticket: Ticket) -> Ticket | None:
        plain = (ticket.structure, ticket.scored_at, ticket.rewind) == ("layers", "init", "0")
        return ticket._replace(criterion="snip") if plain and ticket.criterion == "grasp" else None

    return _closer(context, GRASP, other, structure="layers", scored_at="init", rewind="0")


def _layers_closer(context: Context) -> list[Row]:
    def other(ticket: Ticket) -> Ticket | None:
        plain = ticket.structure == "layers" and ticket.rewind != FRESH and not context.is_control(ticket.criterion)
        return ticket._replace(structure="filters") if plain else None

    return _closer(context, LAYERS, other)


def _closer(
    context: Context, words: tuple[str, str, str], other: Callable[[Ticket], Ticket | None], **cells: Any
) -> list[Row]:
    """Differences in CKA between each ticket and its `other`, averaged over the pairs within a seed."""
    measured, rows = context.results.penultimate, []
    for group, tickets in by_group(measured).items():
        pairs = {ticket: other(ticket) for ticket in tickets}
        differences = {
            ticket: paired(measured[ticket], measured[rival])
            for ticket, rival in pairs.items()
            if rival is not None and rival in measured
        }
        if values := mean_of(list(differences.values())):
            rows.append(_row(context, group, words, values, notes=[_by_removed(differences, digits=3)], **cells))
    return rows


def _by_removed(differences: Mapping[Ticket, PerSeed], *, digits: int) -> str:
    counts = sorted({ticket.removed for ticket in differences})
    means = {
        removed: mean_of([values for ticket, values in differences.items() if ticket.removed == removed])
        for removed in counts
    }
    shown = [f"p = {removed}: {signed(sum(one.values()) / len(one), digits)}" for removed, one in means.items() if one]
    return f"mean difference by blocks removed, {', '.join(shown)}"


SIGNED = ("signed SNIP over convolutions is no more than a random pick", "Δ accuracy, signed SNIP minus random", "pp")
ZERO_SUM = {"function": "snip", "products": "signed", "batchnorm": "train", "parameters": "convolutions"}


def _signed_snip(context: Context) -> list[Row]:
    margin, rows = context.margin(ACCURACY), []
    chosen = [
        ticket
        for ticket in context.results.networks
        if (ticket.structure, ticket.scored_at, ticket.rewind) == ("layers", "init", "0")
        and ZERO_SUM.items() <= context.results.criterion(ticket.criterion).items()
    ]
    for group, tickets in by_group(chosen).items():
        differences = {
            ticket: paired(context.results.per_seed(ticket, ACCURACY), context.results.random_removal(ticket, ACCURACY))
            for ticket in tickets
        }
        if values := mean_of([one for one in differences.values() if one]):
            notes = [_by_removed(differences, digits=2), "agrees where the interval lies within the margin around 0"]
            cells: Row = {"structure": "layers", "scored_at": "init", "rewind": "0", "margin": margin}
            rows.append(
                _row(
                    context,
                    group,
                    SIGNED,
                    values,
                    notes=notes,
                    judge=lambda found: agreement(found, 0.0, margin),
                    **cells,
                )
            )
    return rows


l1_lowest = Order(L1, _l1_lowest)
grasp_closer = Order(GRASP, _grasp_closer)
layers_closer = Order(LAYERS, _layers_closer)
signed_snip = Order(SIGNED, _signed_snip)
