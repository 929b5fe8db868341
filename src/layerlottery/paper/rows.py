"""One row of the paper's tables: a printed figure, what was measured, and the control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from layerlottery.config.studies import FRESH, Study, TabulateSettings, expand
from layerlottery.paper.match import NOT_MEASURED, agreement
from layerlottery.paper.measure import QUANTITIES, Quantity, Results, Row, Ticket, over_seeds, paired, ticket_of
from layerlottery.paper.printed import DATASET, EPOCHS, IMAGES, SEPARATOR
from layerlottery.tables.statistics import Estimate, average, outcome, p_zero

ACCURACY = QUANTITIES["accuracy"]
Group = tuple[str, str]  # dataset, network


@dataclass(frozen=True)
class Context:
    """The measured results and how they are judged."""

    results: Results
    settings: TabulateSettings

    @property
    def epochs(self) -> int:
        return self.settings.training.epochs

    @cached_property
    def _images(self) -> dict[str, int]:
        return {row["dataset"]: row["train_images"] for row in self.results.runs if row["train_images"]}

    def margin(self, quantity: Quantity) -> float:
        """Distance within which measured and printed figure agree, in the unit of the quantity."""
        return float(getattr(self.settings.margins, quantity.margin))

    def estimate(self, values: Mapping[int, float], quantity: Quantity | None = None) -> Estimate:
        """Mean and interval over seeds."""
        kind = {} if quantity is None else {"ratio": quantity.ratio, "exact": quantity.exact}
        return over_seeds(values, confidence=self.settings.statistics.confidence, **kind)

    def filling(self, table: str) -> list[Study]:
        """The studies that fill a table."""
        return [study for study in self.settings.studies if table in study.fills]

    def tickets(self, table: str) -> list[Ticket]:
        """The tickets that fill a table, each once."""
        return list(dict.fromkeys(ticket_of(run) for run in expand(self.filling(table)) if run.removed))

    def is_control(self, criterion: str) -> bool:
        """Whether a criterion looks at nothing."""
        return self.results.formula(criterion) in ("random", "random_spread")

    def scale(self, dataset: str, seeds: int) -> str | None:
        """How this comparison differs from the paper's in size; None where nothing was trained."""
        if not seeds or dataset not in self._images:
            return None
        images, counted = self._images[dataset], f"{seeds} seed{'' if seeds == 1 else 's'}"
        if dataset != DATASET:
            return f"{dataset} in place of CIFAR-10: {self.epochs} epochs, {images:,} images, {counted}"
        if (self.epochs, images) == (EPOCHS, IMAGES):
            return "the paper's"
        return f"reduced: {self.epochs} of {EPOCHS} epochs, {images:,} of {IMAGES:,} images, {counted}"


def row(
    group: Group,
    item: str,
    quantity: str,
    unit: str,
    verdict: str,
    *,
    seeds: int = 0,
    estimate: Estimate | None = None,
    notes: Iterable[str] = (),
    **cells: Any,
) -> Row:
    """A row of schemas.PAPER; columns that are not given are null."""
    measured = {} if estimate is None else {"measured": estimate.mean, "low": estimate.low, "high": estimate.high}
    named = {"dataset": group[0], "network": group[1], "item": item, "quantity": quantity, "unit": unit}
    told = {"seeds": seeds, "verdict": verdict, "note": SEPARATOR.join(filter(None, notes))}
    return named | measured | told | cells


def ticket_row(
    context: Context, ticket: Ticket, quantity: Quantity, *, paper: float | None, item: str, notes: Sequence[str] = ()
) -> Row:
    """What was measured of a ticket beside the figure printed for it."""
    values = context.results.per_seed(ticket, quantity)
    measured = context.estimate(values, quantity) if values else None
    margin = context.margin(quantity)
    verdict = NOT_MEASURED if measured is None else agreement(measured, paper, margin)
    return ticket._asdict() | row(
        ticket[:2],
        item,
        quantity.label,
        quantity.unit,
        verdict,
        seeds=len(values),
        estimate=measured,
        notes=notes,
        paper=paper,
        margin=None if paper is None else margin,
        scale=context.scale(ticket.dataset, len(values)),
        **_against_random(context, ticket, quantity),
    )


def _against_random(context: Context, ticket: Ticket, quantity: Quantity) -> Row:
    """Mean of random removal; accuracy takes the outcome that was corrected for the number of comparisons."""
    control = context.results.random_removal(ticket, quantity)
    if not control:
        return {}
    found = context.results.outcomes.get((ticket, "random")) if quantity == ACCURACY else None
    difference = paired(context.results.per_seed(ticket, quantity), control)
    if quantity != ACCURACY and not quantity.exact and difference:
        confidence, sample = context.settings.statistics.confidence, list(difference.values())
        found = str(outcome(average(sample), p_zero(sample), confidence=confidence))
    return {"random": context.estimate(control, quantity).mean, "against_random": found}


def named(ticket: Ticket, *, epochs: int) -> str:
    """A ticket as the tables call it: hrank, p = 1, scored trained, rewind 25 of 200."""
    parts = [ticket.criterion, *([ticket.structure] if ticket.structure != "layers" else []), f"p = {ticket.removed}"]
    if ticket.rewind == FRESH:
        parts.append("random re-initialization")
    elif ticket.rewind != "0" or ticket.scored_at == "trained":
        parts.append(f"rewind {ticket.rewind} of {epochs}")
    return ", ".join(parts)


def by_group(tickets: Iterable[Ticket]) -> dict[Group, list[Ticket]]:
    """Tickets by dataset and network, in the order of first appearance."""
    found: dict[Group, list[Ticket]] = {}
    for ticket in tickets:
        found.setdefault((ticket.dataset, ticket.network), []).append(ticket)
    return found
