"""How networks are called wherever people read of them: a criterion, and what sets a ticket apart from a plain one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerlottery.config.criteria import DEPTHS
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import FRESH
from layerlottery.paths import TUNED
from layerlottery.words import one_line

CALLED = {
    "filters_at_macs": "filters, equal MACs",
    "filters_by_share": "share of filters",
    "dense_at_cost": "dense, equal cost",
    "dense_tuned": "dense",
}


def is_depths(criterion: str) -> bool:
    """Whether tickets have given depths, so that their weights are always fresh and their names say all."""
    return criterion.startswith(f"{DEPTHS}_")


def family_name(criterion: str, variant: str) -> str:
    """How a criterion's tickets of one variant are called; a control's depths_1_1_0 reads as numbers, and no more."""
    if is_depths(criterion):
        return f"{DEPTHS} {criterion.removeprefix(f'{DEPTHS}_').replace('_', '-')}"
    return f"{criterion} ({variant})" if variant else criterion


def variant_name(structure: str, scored_at: str | None, rewind: str = "0", step: int = 0) -> str:
    """The difference of a ticket from blocks that were scored, removed and trained at θ0: as filters, rewind 25.

    `step` is what goes in each of its rounds, 0 of one that has none. Rounds always score trained networks, and those
    of filters remove a share of them: neither is said.
    """
    words = [CALLED.get(structure, structure)] if structure != "layers" else []
    words = ["filters"] if step and structure == SHARE else words
    words += ["trained"] if scored_at == "trained" and not step else []
    words += [start_name(rewind)] if rewind != "0" else []
    words += [f"rounds of {gone_name(structure, step)}"] if step else []
    return ", ".join(words)


def start_name(rewind: str) -> str:
    """What a ticket's training starts from, in a word or two; as fresh weights, rewind 25, fine-tuned."""
    if TUNED.fullmatch(rewind):
        return "fine-tuned"
    return "fresh weights" if rewind == FRESH else f"rewind {rewind}"


def gone_name(structure: str, removed: object) -> str:
    """How much is gone of a ticket, or goes in a round, a number or several: blocks, or a share of the filters."""
    return f"{removed}\N{NO-BREAK SPACE}%" if structure == SHARE else str(removed)


def ticket_name(values: Mapping[str, Any]) -> str:
    """A ticket of any seed in words, as snip (fresh weights), 2 removed; a dense network is dense."""
    criterion, rewind = values.get("criterion"), str(values.get("rewind", "0"))
    structure = values.get("structure", "layers") if criterion else "layers"
    variant = variant_name(structure, values.get("scored_at"), rewind, int(values.get("step") or 0))
    gone = int(values.get("removed") or 0)
    return family_name(criterion or "dense", variant) + (f", {gone_name(structure, gone)} removed" if gone else "")


def network_name(values: Mapping[str, Any], *, several: bool = True) -> str:
    """A network in words, as snip (fresh weights), 2 removed, seed 1, resnet20 on digits; from its folder's parts.

    Scores, starts of tickets and image sets have fewer parts, and these are named. Where a benchmark does not have
    `several`, data set and architecture are named only of what has no seed.
    """
    words = [ticket_name(values)] if "network" in values else []
    words += [f"draw {values['draw']}"] if str(values.get("draw", "0")) != "0" else []
    words += [f"seed {values['seed']}"] if "seed" in values else []
    if several or "seed" not in values:
        words += [f"{values['network']} on {values['dataset']}" if "network" in values else values.get("dataset", "")]
    return one_line(", ".join(filter(None, words)))
