"""The stage `prune`: start weights and scores in, the ticket's initial weights out.

Layers leave with all their tensors. Filters and weights leave until as many remain as in the layer ticket
with as many blocks removed, or until the multiply-accumulates do, so that structures compare at equal budget. The
control `dense_at_cost` loses nothing: its training is shortened to the cost of the layer ticket's. Only filters and
costs need torch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layerlottery.config.base import Settings
from layerlottery.config.choices import Structure
from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.config.provenance import config_hash
from layerlottery.config.rounds import PERCENT
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.selection import (
    Array,
    Keep,
    choose_filters,
    choose_weights,
    closest,
    filter_count,
    parameter_count,
    removal_order_of_filters,
    select,
    tied,
    tied_filters,
)
from layerlottery.store.artifacts import read_stamped, read_stamped_tensors, read_weights, write_facts, write_tensors
from layerlottery.store.chain import Chain

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class _Pruned:
    """A ticket's state, what its architecture adds to the dense one's, and what ticket.json says about the choice."""

    tensors: Mapping[str, Array]
    changes: dict[str, Any]
    facts: dict[str, Any]
    inputs: list[str]
    # in both files
    metadata: dict[str, Any] = field(default_factory=dict)


def prune(
    weights: Path,
    scores: Path,
    output: Path,
    output_facts: Path,
    *,
    removed: int,
    structure: Structure = "layers",
    budget: Path | None = None,
    macs: Callable[[nn.Module], int] | None = None,
) -> dict[str, Any]:
    """Remove what scores lowest from the dense network in `weights`; what is kept stays bit for bit.

    The network may be a ticket, which loses more in a further round. layers: `removed` residual blocks go; `scores` is
    the facts file of their scores. filters, weights: as many go as bring the convolution filters or the parameters to
    those of the layer ticket that the block scores `budget` choose; `scores` are the facts file of filters or the
    tensors file of weights. filters_at_macs: filters go until `macs` of the network come closest to the layer
    ticket's. filters_by_share: `removed` percent of its filters go. dense_at_cost: all stays, and `training_share` in
    both files says which share of the dense training costs as many of them. dense_tuned: all stays. Returns the facts.
    """
    tensors, dense = read_weights(weights)
    pruning = _Pruning(weights, tensors, scores, budget, removed, dense["architecture"], macs)
    pruning.chain.add(weights, dense["content"], dense["stamp"])
    ticket: _Pruned = getattr(pruning, structure)()
    made_by = config_hash("prune", Settings(), [dense["content"], *ticket.inputs], removed=removed, structure=structure)
    architecture = dense["architecture"] | ticket.changes
    chain, held = pruning.chain, {"architecture": architecture} | ticket.metadata
    chain.add(output, write_tensors(output, ticket.tensors, held, config_hash=made_by, inputs=chain.inputs))
    facts = {"structure": structure, "removed": removed, "architecture": architecture} | ticket.facts | ticket.metadata
    write_facts(output_facts, facts, config_hash=made_by, inputs=chain.inputs)
    log.info("%s", _told(facts, tensors, ticket.tensors))
    return facts


def _told(facts: Facts, dense: Mapping[str, Array], kept: Mapping[str, Array]) -> str:
    """What was removed, and which share of the parameters went with it."""
    if facts["structure"] == "dense_at_cost":
        return f"nothing removed; to be trained for {100 * facts['training_share']:.0f} % of the dense training"
    if facts["structure"] == "dense_tuned":
        return "nothing removed; to be fine-tuned as the ticket is"
    before, masked = parameter_count(dense), facts["architecture"].get("masked")
    after = before - _masked_away(kept, masked) if masked else parameter_count(kept)
    elements = facts["structure"].removesuffix("_at_macs").removesuffix("_by_share") if after < before else "nothing"
    gone = ", ".join(facts["removed_blocks"]) or elements
    return f"removed {gone}; {100 * (1 - after / before):.0f} % fewer parameters"


def _natural(name: str) -> list[tuple[int, int | str]]:
    """What sorts names as a network's order has them: stage1.2 before stage1.10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def _masked_away(kept: Mapping[str, Array], masked: Mapping[str, int]) -> int:
    return sum(kept[f"{layer}.parametrizations.weight.original"].size - left for layer, left in masked.items())


@dataclass(frozen=True)
class _Pruning:
    """The dense network's file and state, the scores of what goes, and how much goes."""

    file: Path
    dense: Mapping[str, Array]
    scores: Path
    budget: Path | None
    removed: int
    architecture: Facts
    macs: Callable[[nn.Module], int] | None
    chain: Chain = field(default_factory=Chain)

    def layers(self) -> _Pruned:
        scored = self._read_scores(self.scores, "blocks")
        blocks = scored["blocks"]
        gone = self._selected(scored)
        removals = {row["name"]: row["removal"] for row in blocks if "removal" in row and row["name"] in gone}
        kept, ties = self._without(gone, self.scores, removals), tied(blocks, gone, sets=scored.get("sets"))
        # those of earlier rounds first
        all_gone = sorted([*self.architecture["removed_blocks"], *gone], key=_natural)
        removals = {**self.architecture.get("removals", {}), **removals}
        facts = {
            "removed_blocks": all_gone,
            "kept": [block["name"] for block in blocks if block["name"] not in gone],
            "ties": ties,
            "tied": len(ties),
            "budget": None,
            "filters": filter_count(kept),
            "criterion_settings": scored["settings"],
        }
        changes = {"removed_blocks": all_gone} | ({"removals": removals} if removals else {})
        return _Pruned(kept, changes, facts, [scored["config_hash"]])

    def filters(self) -> _Pruned:
        scored = self._filter_scores()
        blocks, layer_ticket = self._layer_ticket()
        budget = filter_count(layer_ticket)
        gone = choose_filters(scored["groups"], total=filter_count(self.dense), budget=budget)
        return self._without_filters(scored, blocks, gone, budget)

    def filters_at_macs(self) -> _Pruned:
        scored = self._filter_scores()
        blocks, target, count = self._layer_ticket_macs()
        order = removal_order_of_filters(scored["groups"])
        model = self._network()
        size = closest(target, len(order), lambda size: count(_without_groups(model, order[:size])))
        return self._without_filters(scored, blocks, order[:size], target)

    def filters_by_share(self) -> _Pruned:
        scored, total = self._filter_scores(), filter_count(self.dense)
        budget = total - round(total * self.removed / PERCENT)
        gone = choose_filters(scored["groups"], total=total, budget=budget)
        return self._without_filters(scored, None, gone, budget)

    def dense_at_cost(self) -> _Pruned:
        blocks, target, count = self._layer_ticket_macs()
        facts = _equal_budget(blocks, blocks, self.dense, target) | {"tied": 0}
        share = target / count(self._network())
        return _Pruned(self.dense, {}, facts, [blocks["config_hash"]], {"training_share": share})

    def dense_tuned(self) -> _Pruned:
        scored = self._read_scores(self.scores, "blocks")
        facts = _equal_budget(scored, scored, self.dense, None) | {"tied": 0}
        return _Pruned(self.dense, {}, facts, [scored["config_hash"]])

    def _filter_scores(self) -> Facts:
        scored, total = self._read_scores(self.scores, "groups"), filter_count(self.dense)
        held = sum(group["filters"] for group in scored["groups"])
        if held != total:
            raise LayerLotteryError(f"{self.scores}: scores {held} filters, {self.file} has {total}")
        return scored

    def _without_filters(self, scored: Facts, blocks: Facts | None, gone: Sequence[Facts], budget: int) -> _Pruned:
        kept, shapes = _smaller(self._network(), gone) if gone else (self.dense, {})
        shapes = {**self.architecture.get("filters", {}), **shapes}
        facts = _equal_budget(scored, blocks, kept, budget) | {
            "tied": tied_filters(scored["groups"], gone),
            "layers": {name.removesuffix(".weight"): len(array) for name, array in kept.items() if array.ndim == 4},
        }
        changes = {"filters": shapes} if shapes else {}
        budget_of = [blocks["config_hash"]] if blocks else []
        return _Pruned(kept, changes, facts, [scored["config_hash"], *budget_of])

    def weights(self) -> _Pruned:
        held, scored, stamp = read_stamped_tensors(self.scores)
        if "layers" not in scored:
            raise LayerLotteryError(f"{self.scores}: holds no scores of weights")
        for name in scored["layers"]:
            if name not in self.dense or self.dense[name].shape != held[name].shape:
                layer = name.removesuffix(".weight")
                raise LayerLotteryError(f"{self.scores}: its layer {layer} does not fit {self.file}")
        self.chain.add(self.scores, stamp.content, stamp)
        blocks, layer_ticket = self._layer_ticket()
        allowed = parameter_count(layer_ticket)
        ordered = {name: held[name] for name in scored["layers"]}
        masks, ties = choose_weights(ordered, total=parameter_count(self.dense), budget=allowed)
        facts = _equal_budget(scored, blocks, self.dense, allowed) | {"tied": ties}
        inputs = [stamp.content, blocks["config_hash"]]
        if all(mask.all() for mask in masks.values()):
            return _Pruned(self.dense, {}, facts, inputs)
        left = {name.removesuffix(".weight"): int(mask.sum()) for name, mask in masks.items()}
        return _Pruned(_masked(self.dense, masks), {"masked": left}, facts, inputs)

    def _network(self) -> nn.Module:
        from layerlottery.networks.weights import load_network

        return load_network(self.file)[0]

    def _layer_ticket_macs(self) -> tuple[Facts, int, Callable[[nn.Module], int]]:
        """The block scores that set the budget, the layer ticket's multiply-accumulates, and what counts them."""
        from layerlottery.networks.weights import build

        if self.budget is None or self.macs is None:
            raise LayerLotteryError("budget, data: found none; costs are matched to block scores and images of a set")
        blocks = self._read_scores(self.budget, "blocks")
        layers = replace(self, scores=self.budget, chain=Chain()).layers()
        return blocks, self.macs(build({**self.architecture, **layers.changes})), self.macs

    def _layer_ticket(self) -> tuple[Facts, dict[str, Array]]:
        """The block scores that set the budget, and the state of the layer ticket that they choose."""
        if self.budget is None:
            raise LayerLotteryError("budget: found none; filters and weights need the block scores that set it")
        blocks = self._read_scores(self.budget, "blocks")
        return blocks, self._without(self._selected(blocks), self.budget, {})

    def _selected(self, scored: Facts) -> list[str]:
        minimum = scored.get("minimum", MINIMUM_PER_STAGE)
        return select(scored["blocks"], self.removed, minimum=minimum, sets=scored.get("sets"))

    def _read_scores(self, path: Path, kind: str) -> Facts:
        scored, stamp = read_stamped(path)
        if kind not in scored:
            raise LayerLotteryError(f"{path}: holds no scores of {kind}")
        self.chain.add(path, stamp.content, stamp)
        return scored | {"config_hash": stamp.config_hash}

    def _without(self, gone: Sequence[str], scores: Path, removals: Mapping[str, Any]) -> dict[str, Array]:
        """The dense state but for blocks that are gone; a norm behind a block's addition may stay."""
        for name in gone:
            if not any(tensor.startswith(f"{name}.") for tensor in self.dense):
                raise LayerLotteryError(f"{scores}: its block {name} is not in {self.file}")
        prefixes = tuple(f"{name}." for name in gone)
        stays = tuple(f"{name}.{stay}." for name, removal in removals.items() for stay in removal["stays"])
        return {
            name: array for name, array in self.dense.items() if name.startswith(stays) or not name.startswith(prefixes)
        }


def _smaller(model: nn.Module, gone: Sequence[Facts]) -> tuple[dict[str, Array], dict[str, list[int]]]:
    from layerlottery.networks.filters import cut_shapes

    small = _without_groups(model, gone)
    return {name: tensor.numpy() for name, tensor in small.state_dict().items()}, cut_shapes(model, small)


def _without_groups(model: nn.Module, gone: Sequence[Facts]) -> nn.Module:
    from layerlottery.networks.filters import remove_filters

    indices: dict[str, list[int]] = {}
    for group in gone:
        indices.setdefault(group["layer"], []).append(group["index"])
    return remove_filters(model, indices)


def _masked(tensors: Mapping[str, Array], masks: Mapping[str, Keep]) -> dict[str, Array]:
    """The state of convolutions with masks: names are those that torch gives parametrized weights."""
    state: dict[str, Array] = {}
    for name, array in tensors.items():
        if name in masks:
            layer = name.removesuffix(".weight")
            # zeros also in the file: weight decay and momentum then have nothing to move
            state[f"{layer}.parametrizations.weight.original"] = np.where(masks[name], array, array.dtype.type(0))
            state[f"{layer}.parametrizations.weight.0.mask"] = masks[name]
        else:
            state[name] = array
    return state


def _equal_budget(scored: Facts, blocks: Facts | None, kept: Mapping[str, Array], budget: int | None) -> dict[str, Any]:
    return {
        "removed_blocks": [],
        "kept": [block["name"] for block in blocks["blocks"]] if blocks else [],
        "budget": budget,
        "filters": filter_count(kept),
        "criterion_settings": scored["settings"],
    }
