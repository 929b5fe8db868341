"""The model card of a library ticket: what it is, what it costs, what is known of it (Mitchell et al. 2019)."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch
from markupsafe import Markup

from layerlottery.errors import LayerLotteryError
from layerlottery.export.markdown import code, render
from layerlottery.networks.copies import public
from layerlottery.networks.examples import unwrapped
from layerlottery.networks.weights import state_arrays
from layerlottery.store.artifacts import array_digest
from layerlottery.store.hashing import digest
from layerlottery.tickets import Ticket
from layerlottery.tickets.ticket import BY_HAND
from layerlottery.version import __version__

Values = Mapping[str, object]


@public
def model_card(
    ticket: Ticket,
    *,
    name: str,
    accuracy: float | None = None,
    dense_accuracy: float | None = None,
    dataset: str = "",
    robustness: Values | None = None,
    training: Values | None = None,
    provenance: Values | None = None,
    file: str = "ticket.safetensors",
    license: str = "",
) -> str:
    """A card in Markdown for a ticket of `find_ticket` or `prune`; what is not given is not in it.

    Accuracies are in percent, on the test images of `dataset`. `robustness`, `training` and `provenance` are further
    rows by their names; numbers are shown with four digits. `file` is where save_ticket wrote it. Raises
    LayerLotteryError for an accuracy that is no percentage.
    """
    for key, value in (("accuracy", accuracy), ("dense_accuracy", dense_accuracy)):
        if value is not None and not 0 <= value <= 100:
            raise LayerLotteryError(f"{key}: found {value}; allowed: 0 to 100 percent")
    by_hand = ticket.criterion == BY_HAND
    chosen = ticket.criterion if by_hand else Markup("chosen by {}").format(code(ticket.criterion))
    listed = [*ticket.removed_blocks, *ticket.kept]
    facts = {
        "criterion": ticket.criterion,
        "weights, SHA-256": weights_digest(ticket),
        "layerlottery": __version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "license": license,
    }
    return render(
        "ticket.md.j2",
        name=name,
        ticket=ticket,
        scores=dict(sorted(ticket.scores.items(), key=lambda one: one[1])) or dict.fromkeys(listed),
        chosen=chosen,
        model=type(unwrapped(ticket.model)).__name__,
        accuracy=accuracy,
        dense_accuracy=dense_accuracy,
        dataset=dataset,
        file=file,
        robustness=_shown(robustness),
        training=_shown(training),
        facts=facts,
        provenance=_shown(provenance),
    )


def weights_digest(ticket: Ticket) -> str:
    """SHA-256 of the ticket's tensors by name: their types, shapes and values."""
    arrays, rest = state_arrays(unwrapped(ticket.model).state_dict())
    return digest({name: array_digest(one) for name, one in arrays.items()} | rest)


def _shown(values: Values | None) -> dict[str, object]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in (values or {}).items()}
