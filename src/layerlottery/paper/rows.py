"""One row of the paper's tables: a printed figure, what was measured, and the control."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from layerlottery.config.naming import gone_name, start_name
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import Study, TabulateSettings, expand
from layerlottery.paper.match import MODELLED, NOT_MEASURED, agreement
from layerlottery.paper.measure import (
    QUANTITIES,
    PerSeed,
    Quantity,
    Results,
    Row,
    TicketKey,
    grouped,
    over_seeds,
    paired,
    ticket_of,
)
from layerlottery.paper.printed import HOMES, LOTTERY, SEPARATOR, Home
from layerlottery.tables.statistics import Estimate, outcome_of

ACCURACY = QUANTITIES["accuracy"]
Group = tuple[str, str]  # dataset, network


@dataclass(frozen=True)
class Context:
    """The measured results and how they are judged."""

    results: Results
    settings: TabulateSettings
    home: Home | None = LOTTERY

    def of(self, table: str) -> Context:
        """The same, with the scale of the paper that a table is from."""
        return replace(self, home=HOMES.get(table, LOTTERY))

    def epochs(self, network: str) -> int:
        """Epochs of a network's training from its first weights."""
        return self.settings.recipe(network).epochs

    @cached_property
    def _images(self) -> dict[str, int]:
        return {row["dataset"]: row["train_images"] for row in self.results.runs if row["train_images"]}

    def margin(self, quantity: Quantity) -> float:
        """Distance within which measured and printed figure agree, in the unit of the quantity."""
        return float(getattr(self.settings.margins, quantity.margin))

    def estimate(self, values: Mapping[int, float], quantity: Quantity) -> Estimate:
        """Mean and interval over seeds."""
        confidence = self.settings.statistics.confidence
        return over_seeds(values, confidence=confidence, ratio=quantity.ratio, exact=quantity.exact)

    def filling(self, table: str) -> list[Study]:
        """The studies that fill a table."""
        return [study for study in self.settings.studies if table in study.fills]

    def tickets(self, table: str) -> list[TicketKey]:
        """The tickets that fill a table, each once."""
        return list(dict.fromkeys(ticket_of(run) for run in expand(self.filling(table), self.settings) if run.removed))

    def is_control(self, criterion: str) -> bool:
        """Whether a criterion looks at nothing."""
        return self.results.formula(criterion) in ("random", "random_spread")

    def scale(self, group: Group, seeds: int) -> str | None:
        """How this comparison differs from the paper's in size; None where nothing was trained."""
        (dataset, network), home = group, self.home
        if not seeds or dataset not in self._images:
            return None
        images, counted = self._images[dataset], f"{seeds} seed{'' if seeds == 1 else 's'}"
        epochs, tuned = self.epochs(network), self.settings.tuning(network).epochs
        size = f"{epochs} epochs, {images:,} images, {counted}"
        if home is None:
            return f"{dataset}: {size}; the paper's is not known here"
        if dataset not in home.images:
            return f"{dataset} in place of {home.sets}: {size}"
        whole = home.images[dataset]
        if (epochs, images) == (home.epochs, whole) and home.tuned in (None, tuned):
            return "the paper's"
        retuned = f"{tuned} of {home.tuned} to fine-tune, " if home.tuned else ""
        return f"reduced: {epochs} of {home.epochs} epochs, {retuned}{images:,} of {whole:,} images, {counted}"


class Words(NamedTuple):
    """A row's subject, its measurement and its unit."""

    item: str
    quantity: str
    unit: str


def row(
    group: Group,
    words: Words,
    verdict: str,
    *,
    seeds: int = 0,
    estimate: Estimate | None = None,
    notes: Iterable[str] = (),
    **cells: Any,
) -> Row:
    """A row of schemas.PAPER; columns that are not given are null."""
    measured = {} if estimate is None else {"measured": estimate.mean, "low": estimate.low, "high": estimate.high}
    told = {"seeds": seeds, "verdict": verdict, "note": SEPARATOR.join(filter(None, notes))}
    return {"dataset": group[0], "network": group[1]} | words._asdict() | measured | told | cells


def seed_row(
    context: Context,
    group: Group,
    words: Words,
    values: PerSeed,
    judge: Callable[[Estimate], str],
    quantity: Quantity = ACCURACY,
    inferred: Estimate | None = None,
    **cells: Any,
) -> Row:
    """The row of a value for each seed; `judge` says what mean and interval mean, from seeds alone or as inferred."""
    found = inferred or (context.estimate(values, quantity) if values else None)
    verdict, scale = judge(found) if found else NOT_MEASURED, context.scale(group, len(values))
    return row(group, words, verdict, seeds=len(values), estimate=found, scale=scale, **cells)


def ticket_row(
    context: Context, ticket: TicketKey, quantity: Quantity, paper: float | None, item: str, notes: Sequence[str]
) -> Row:
    """A ticket's measurement beside the figure printed for it."""
    margin, values = context.margin(quantity), context.results.per_seed(ticket, quantity)
    words = Words(item, quantity.label, quantity.unit)
    modelled = quantity == QUANTITIES["co2"] and not context.results.power_measured(ticket)

    def judge(found: Estimate) -> str:
        return MODELLED if modelled else agreement(found, paper, margin)

    inferred = context.results.inferred(ticket, quantity)
    judged = seed_row(context, ticket[:2], words, values, judge, quantity, inferred, notes=notes)
    printed = {"paper": paper, "margin": None if paper is None else margin}
    control = _against_random(context, ticket, quantity)
    return ticket._asdict() | judged | printed | control | ({"against_random": None} if modelled else {})


def _against_random(context: Context, ticket: TicketKey, quantity: Quantity) -> Row:
    """Mean of random removal; accuracy takes the outcome that was corrected for the number of comparisons."""
    control = context.results.random_removal(ticket, quantity)
    if not control:
        return {}
    found = context.results.outcomes.get((ticket, "random")) if quantity == ACCURACY else None
    difference = paired(context.results.per_seed(ticket, quantity), control)
    if quantity != ACCURACY and not quantity.exact and difference:
        found = outcome_of(list(difference.values()), confidence=context.settings.statistics.confidence)
    return {"random": context.estimate(control, quantity).mean, "against_random": found}


def named(ticket: TicketKey, *, epochs: int) -> str:
    """A ticket as the tables call it: hrank, p = 1, rewind 25 of 200; cka, p = 3, fine-tuned, rounds of 1."""
    gone = gone_name(ticket.structure, ticket.removed)
    what = [] if ticket.structure in ("layers", SHARE) else [ticket.structure]
    parts = [ticket.criterion, *what, f"{gone} of the filters" if ticket.structure == SHARE else f"p = {gone}"]
    if ticket.rewind != "0" or ticket.scored_at == "trained":
        parts.append(start_name(ticket.rewind) + (f" of {epochs}" if ticket.rewind.isdigit() else ""))
    if ticket.step:
        parts.append(f"rounds of {gone_name(ticket.structure, ticket.step)}")
    return ", ".join(parts)


def by_group(tickets: Iterable[TicketKey]) -> dict[Group, list[TicketKey]]:
    """Tickets by dataset and network."""
    return grouped(tickets, lambda ticket: ticket[:2])
