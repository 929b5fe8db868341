"""The model card of a library ticket: what it is, what it costs, what is known of it (Mitchell et al. 2019)."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import torch

from layerlottery.errors import LayerLotteryError
from layerlottery.export.markdown import code, document, pairs, table
from layerlottery.networks.examples import unwrapped
from layerlottery.store.artifacts import array_digest
from layerlottery.store.hashing import digest
from layerlottery.tickets import Ticket
from layerlottery.version import __version__
from layerlottery.words import counted, number, percent, signed

Values = Mapping[str, object]

USE = """import layerlottery

ticket = layerlottery.load_ticket("{file}", model_factory)  # model_factory() makes the whole {model}
network = ticket.model.eval()"""
LIMITS = """- Figures that are not in this card were not measured.
- Blocks were chosen by `{criterion}`{ties}; whether they were better gone than others is no finding of this card.
- One network was measured: with other seeds these figures come out differently."""


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
    """A card in Markdown for a ticket of `find_ticket`; what is not given is not in it.

    Accuracies are in percent, on the test images of `dataset`. `robustness`, `training` and `provenance` are further
    rows by their names; numbers are shown with four digits. `file` is where save_ticket wrote it. Raises
    LayerLotteryError for an accuracy that is no percentage.
    """
    for key, value in (("accuracy", accuracy), ("dense_accuracy", dense_accuracy)):
        if value is not None and not 0 <= value <= 100:
            raise LayerLotteryError(f"{key}: found {value}; allowed are 0 to 100 percent")
    model = type(unwrapped(ticket.model)).__name__
    ties = f", among {counted(len(ticket.ties), 'kept one', 'kept ones')} of equal score" if ticket.ties else ""
    sections = [
        ("", _summary(ticket, model, accuracy, dataset)),
        ("Use", code(USE.format(file=file, model=model), "python")),
        ("Accuracy", _accuracy(accuracy, dense_accuracy)),
        ("Cost", cost_table(ticket)),
        ("Robustness", pairs(_shown(robustness))),
        ("Training", pairs(_shown(training))),
        ("Blocks", _blocks(ticket)),
        ("Provenance", pairs([*_provenance(ticket, license), *_shown(provenance)])),
        ("Limits", LIMITS.format(criterion=ticket.criterion, ties=ties)),
    ]
    return document(name, sections)


def cost_table(ticket: Ticket) -> str:
    """The whole network beside the ticket, and the share that is gone."""
    cost = ticket.cost
    rows = [
        ("parameters", cost.params_before, cost.params),
        ("multiply-accumulates, one image", cost.macs_before, cost.macs),
        (f"training memory, {counted(cost.batch_size, 'image', 'images')} (bytes)", cost.memory_before, cost.memory),
    ]
    shown = ((what, f"{before:,}", f"{now:,}", percent(100 * (1 - now / before))) for what, before, now in rows)
    return table(("", "whole network", "ticket", "saved"), shown, right=(1, 2, 3))


def weights_digest(ticket: Ticket) -> str:
    """SHA-256 of the ticket's tensors by name: their types, shapes and values."""
    state = unwrapped(ticket.model).state_dict()
    return digest({name: array_digest(one.detach().cpu().contiguous().numpy()) for name, one in state.items()})


def _summary(ticket: Ticket, model: str, accuracy: float | None, dataset: str) -> str:
    total = len(ticket.removed_blocks) + len(ticket.kept)
    gone = ", ".join(f"`{block}`" for block in ticket.removed_blocks) or "none"
    text = f"{model} without {len(ticket.removed_blocks)} of its {total} removable residual blocks ({gone}), chosen by"
    text += f" `{ticket.criterion}`."
    shape = " x ".join(map(str, ticket.image_shape))
    text += f" It takes images of {shape}." if shape else ""
    text += f" Data: {dataset}." if dataset else ""
    return text + (f" Test accuracy: {number(accuracy)} %." if accuracy is not None else "")


def _accuracy(accuracy: float | None, dense: float | None) -> str:
    rows: list[tuple[str, str]] = []
    if accuracy is not None:
        rows.append(("ticket", f"{number(accuracy)} %"))
    if dense is not None:
        rows.append(("whole network", f"{number(dense)} %"))
    if accuracy is not None and dense is not None:
        rows.append(("difference", f"{signed(accuracy - dense)} percentage points"))
    return pairs(rows)


def _blocks(ticket: Ticket) -> str:
    ranked = sorted(ticket.scores.items(), key=lambda item: item[1])

    def fate(name: str) -> str:
        return "removed" if name in ticket.removed_blocks else "kept in a tie" if name in ticket.ties else "kept"

    rows = ((f"`{name}`", f"{score:.6g}", fate(name)) for name, score in ranked)
    return table(("block", "score", ""), rows, right=(1,))


def _provenance(ticket: Ticket, license: str) -> Sequence[tuple[str, str]]:
    return [
        ("criterion", ticket.criterion),
        ("weights, SHA-256", weights_digest(ticket)),
        ("layerlottery", __version__),
        ("torch", str(torch.__version__)),
        ("Python", platform.python_version()),
        ("license", license),
    ]


def _shown(values: Values | None) -> list[tuple[str, object]]:
    return [(name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in (values or {}).items()]
