"""The rows of tables 1 to 5, of figure 3 and of the connected papers' tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from layerlottery.config.evaluation import MAIN_CORRUPTIONS
from layerlottery.config.studies import expand_scorings
from layerlottery.paper.match import NO_FIGURE, NOT_MEASURED, equivalent_epoch, find
from layerlottery.paper.measure import CIFAR_10_2, QUANTITIES, Quantity, Row, TicketKey, averaged, grouped, plain
from layerlottery.paper.printed import DATASET, EPOCHS, HOMES, PRINTED, Printed
from layerlottery.paper.rows import ACCURACY, Context, Words, named, row, seed_row, ticket_row

# what is compared where it is not accuracy alone
COMPARED = {
    "table4": ("flops", "memory", "co2", "speedup"),
    "pons": ("flops", "accuracy"),
    "consensus": ("flops", "accuracy"),
    "complexity": ("flops", "memory", "accuracy"),
}
KERNELS = "mean absolute kernel sum"
# beside random removal, which has columns of its own
CONTROLS = {"fresh": "fresh weights in the same architecture", "layers": "the layer ticket of the same budget"}


def table_rows(table: str, context: Context) -> list[Row]:
    """One row per ticket and quantity of a table of tickets, then the printed figures without a ticket."""
    rows, found, context = [], set(), context.of(table)
    for ticket in context.tickets(table):
        control = context.is_control(ticket.criterion)
        if control and table in HOMES:
            continue  # those papers print none, and random removal has columns of its own
        for key, quantity in _quantities(table, ticket, context):
            printed = find(table, ticket, key, epochs=context.epochs(ticket.network), control=control)
            if printed is None and not context.results.per_seed(ticket, quantity):
                continue
            found.add(printed)
            rows.append(_measured(table, context, ticket, quantity, printed))
    groups = {group for study in context.filling(table) for group in product(study.datasets, study.networks)}
    missing = [one for one in PRINTED[table] if (one.dataset, one.network) in groups and one not in found]
    rows += [_unmeasured(context, one) for one in missing]
    together = grouped(rows, lambda one: (one["dataset"], one["network"]))
    return [one for own in together.values() for one in own]


def _quantities(table: str, ticket: TicketKey, context: Context) -> Iterator[tuple[str, Quantity]]:
    if table == "table5":
        yield from _test_sets(ticket, context)
    else:
        yield from ((key, QUANTITIES[key]) for key in COMPARED.get(table, ("accuracy",)))


def _test_sets(ticket: TicketKey, context: Context) -> Iterator[tuple[str, Quantity]]:
    """CIFAR-10-C and CIFAR-10.2, or what stands in for them, then every other shifted set."""
    home = ticket.dataset == DATASET
    if home:
        yield from ((key, QUANTITIES[key]) for key in ("cifar10c", "cifar10.2"))
    else:
        yield "corrupted", Quantity("corrupted test set", "pp", "robustness", kind="corruption")
    shifted = [one["name"] for one in context.results.conditions.get(ticket, []) if one["kind"] == "shift"]
    for name in dict.fromkeys(shifted):
        if not (home and plain(name) == CIFAR_10_2):
            yield name, Quantity(name, "pp", "robustness", kind="shift", name=plain(name))


def _measured(table: str, context: Context, ticket: TicketKey, quantity: Quantity, printed: Printed | None) -> Row:
    notes = [] if printed is None else [printed.note]
    if quantity.kind == "corruption":
        notes.append(_corruptions(context, ticket))
    if table in ("table3", "complexity"):
        notes.append(_budget(context, ticket))
    if quantity == ACCURACY:
        notes += [
            f"against {words}: {context.results.outcomes[ticket, control]}"
            for control, words in CONTROLS.items()
            if (ticket, control) in context.results.outcomes
        ]
    paper = None if printed is None else printed.value
    return ticket_row(context, ticket, quantity, paper, named(ticket, epochs=context.epochs(ticket.network)), notes)


def _unmeasured(context: Context, printed: Printed) -> Row:
    ticket = TicketKey(
        printed.dataset,
        printed.network,
        printed.structure,
        printed.criterion or "any criterion",
        printed.scored_at,
        printed.removed,
        context.settings.start(printed.network, printed.rewind),
        printed.step,
    )
    quantity = QUANTITIES[printed.quantity]
    words = Words(named(ticket, epochs=EPOCHS), quantity.label, quantity.unit)
    facts: Row = {"notes": [printed.note], "paper": printed.value, "margin": context.margin(quantity)}
    identity: Row = {"criterion": printed.criterion}
    if isinstance(printed.rewind, int):
        identity["rewind"] = equivalent_epoch(printed.rewind, epochs=context.epochs(printed.network))
    return ticket._asdict() | identity | row(ticket[:2], words, NOT_MEASURED, **facts)


def _corruptions(context: Context, ticket: TicketKey) -> str:
    """Which corrupted images these are: the files that the paper took, or others with their constants."""
    rows = context.results.conditions.get(ticket, [])
    held = [one for one in rows if one["kind"] == "corruption" and one["name"] in MAIN_CORRUPTIONS]
    if not held:
        return ""
    names = list(dict.fromkeys(one["name"] for one in held))
    named = "the 15 corruptions" if set(names) == set(MAIN_CORRUPTIONS) else ", ".join(names)
    severities = ", ".join(f"{level:g}" for level in sorted({one["level"] for one in held}))
    official = {one["origin"] for one in held} == {"official"}
    made = "the official files" if official else "corrupted here with the constants of CIFAR-10-C"
    return f"{made}: {named}, at severity {severities}, on {_span(held, 'images')} images"


def _budget(context: Context, ticket: TicketKey) -> str:
    """The size of the network that is left, and that of the layer ticket."""
    held = context.results.networks.get(ticket, [])
    what = "params" if ticket.structure == "weights" else "filters"
    left, budget = _span(held, what), _span(held, "budget")
    kept = f"{left} {'parameters' if what == 'params' else 'filters'} left" if left else ""
    return f"{kept}, budget {budget}" if kept and budget else kept


def _span(rows: Sequence[Row], column: str) -> str:
    """Least and greatest of a column of counts, as text; empty where there is none."""
    values = [one[column] for one in rows if one[column] is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def figure3_rows(context: Context) -> list[Row]:
    """The l1 score of every removable block, in network order."""
    chosen = {
        (one.dataset, one.network, str(one.criterion), str(one.scored_at))
        for one in expand_scorings(context.filling("figure3"), context.settings)
        if one.structure == "layers"
    }
    held = context.results.l1_scores("block")
    return [_block(context, key, rows) for key, rows in held.items() if key[:4] in chosen]


def _block(context: Context, key: tuple[str, ...], rows: Sequence[Row]) -> Row:
    dataset, network, criterion, scored_at, block = key
    words = Words(f"{block}, {criterion} at {scored_at}", "l1 score", KERNELS)
    identity: Row = {"structure": "layers", "criterion": criterion, "scored_at": scored_at}
    return seed_row(context, (dataset, network), words, averaged(rows, "raw"), lambda _: NO_FIGURE, **identity)
