"""Which printed figure belongs to which ticket, and what an interval says about it."""

from __future__ import annotations

from fractions import Fraction

from layerlottery import paths
from layerlottery.config.recipes import TRAINED
from layerlottery.paper.measure import TicketKey
from layerlottery.paper.printed import EPOCHS, PRINTED, Printed
from layerlottery.tables.statistics import ROUNDING, Estimate

AGREES, DISAGREES, CANT_TELL = "agrees", "disagrees", "can't tell at this scale"
NOT_MEASURED, NO_FIGURE = "not measured", "no printed figure"
# energy of which only the time was measured
MODELLED = "modelled from time"


def find(table: str, ticket: TicketKey, quantity: str, *, epochs: int, control: bool) -> Printed | None:
    """The figure printed for a ticket; rewinds are compared as shares of the training.

    `control` says that the ticket was drawn at random, which answers no figure of an unnamed criterion.
    """
    for printed in PRINTED[table]:
        if printed.quantity == quantity and _answers(ticket, printed, epochs=epochs, control=control):
            return printed
    return None


def _answers(ticket: TicketKey, printed: Printed, *, epochs: int, control: bool) -> bool:
    named = printed.criterion == ticket.criterion or (printed.criterion is None and not control)
    wanted = (printed.dataset, printed.network, printed.structure, printed.scored_at, printed.removed, printed.step)
    found = (ticket.dataset, ticket.network, ticket.structure, ticket.scored_at, ticket.removed, ticket.step)
    return named and wanted == found and same_rewind(ticket.rewind, printed.rewind, epochs=epochs)


def same_rewind(rewind: str, printed: int | str, *, epochs: int) -> bool:
    """Whether epoch `rewind` of `epochs` is the same share of a training as `printed` of 200, or both are tuned."""
    if isinstance(printed, str):
        return printed == TRAINED and paths.TUNED.fullmatch(rewind) is not None
    return rewind.isdigit() and Fraction(int(rewind), epochs) == Fraction(printed, EPOCHS)


def equivalent_epoch(printed: int, *, epochs: int) -> str | None:
    """The epoch of a training of `epochs` that corresponds to one of the paper's 200, if there is one."""
    share = Fraction(printed * epochs, EPOCHS)
    return str(share) if share.denominator == 1 else None


def agreement(measured: Estimate, paper: float | None, margin: float) -> str:
    """Agrees if the whole interval lies within paper ± margin, disagrees if it lies outside altogether."""
    if paper is None:
        return NO_FIGURE
    if measured.low is None or measured.high is None:
        return CANT_TELL
    reach = margin + ROUNDING
    if measured.low >= paper - reach and measured.high <= paper + reach:
        return AGREES
    return DISAGREES if measured.low > paper + reach or measured.high < paper - reach else CANT_TELL


def direction(measured: Estimate) -> str:
    """The verdict on a claim that something is above 0."""
    if measured.low is None or measured.high is None:
        return CANT_TELL
    if measured.low > 0:
        return AGREES
    return DISAGREES if measured.high < 0 else CANT_TELL
