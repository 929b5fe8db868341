"""The stage `prune`: start weights and scores in, the ticket's initial weights out.

Layers leave with all their tensors. Filters and weights leave until as many remain as in the layer ticket
with as many blocks removed, so that structures compare at equal budget. Only filters need torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerlottery.config.base import Settings
from layerlottery.config.criteria import Structure
from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.config.provenance import config_hash
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.selection import (
    Array,
    Keep,
    choose_filters,
    choose_weights,
    filter_count,
    parameter_count,
    select,
    tied,
    tied_filters,
)
from layerlottery.store.artifacts import read_stamped, read_stamped_tensors, read_weights, write_facts, write_tensors
from layerlottery.store.chain import Chain

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class _Pruned:
    """A ticket's state, what its architecture adds to the dense one's, and what ticket.json says about the choice."""

    tensors: Mapping[str, Array]
    changes: dict[str, Any]
    facts: dict[str, Any]
    inputs: list[str]


def prune(
    weights: Path,
    scores: Path,
    output: Path,
    output_facts: Path,
    *,
    removed: int,
    structure: Structure = "layers",
    budget: Path | None = None,
) -> dict[str, Any]:
    """Remove what scores lowest from the dense network in `weights`; what is kept stays bit for bit.

    layers: `removed` residual blocks go; `scores` is the facts file of their scores. filters, weights: as many
    go as bring the convolution filters or the parameters to those of the layer ticket that the block scores
    `budget` choose; `scores` are the facts file of filters or the tensors file of weights. Returns the facts.
    """
    tensors, dense = read_weights(weights)
    pruning = _Pruning(weights, tensors, scores, budget, removed)
    pruning.chain.add(weights, dense["content"], dense["stamp"])
    ticket = {"layers": pruning.layers, "filters": pruning.filters, "weights": pruning.weights}[structure]()
    made_by = config_hash("prune", Settings(), [dense["content"], *ticket.inputs], removed=removed, structure=structure)
    architecture = dense["architecture"] | ticket.changes
    chain, held = pruning.chain, {"architecture": architecture}
    chain.add(output, write_tensors(output, ticket.tensors, held, config_hash=made_by, inputs=chain.inputs))
    facts = {"structure": structure, "removed": removed, "architecture": architecture} | ticket.facts
    write_facts(output_facts, facts, config_hash=made_by, inputs=chain.inputs)
    return facts


@dataclass(frozen=True)
class _Pruning:
    """The dense network's file and state, the scores of what goes, and how much goes."""

    file: Path
    dense: Mapping[str, Array]
    scores: Path
    budget: Path | None
    removed: int
    chain: Chain = field(default_factory=Chain)

    def layers(self) -> _Pruned:
        scored = self._read_scores(self.scores, "blocks")
        blocks = scored["blocks"]
        gone = select(blocks, self.removed, minimum=scored.get("minimum", MINIMUM_PER_STAGE))
        removals = {row["name"]: row["removal"] for row in blocks if "removal" in row and row["name"] in gone}
        kept, ties = self._without(gone, self.scores, removals), tied(blocks, gone)
        facts = {
            "removed_blocks": gone,
            "kept": [block["name"] for block in blocks if block["name"] not in gone],
            "ties": ties,
            "tied": len(ties),
            "budget": None,
            "filters": filter_count(kept),
            "criterion_settings": scored["settings"],
        }
        changes = {"removed_blocks": gone} | ({"removals": removals} if removals else {})
        return _Pruned(kept, changes, facts, [scored["config_hash"]])

    def filters(self) -> _Pruned:
        scored, total = self._read_scores(self.scores, "groups"), filter_count(self.dense)
        held = sum(group["filters"] for group in scored["groups"])
        if held != total:
            raise LayerLotteryError(f"{self.scores}: scores {held} filters, {self.file} has {total}")
        blocks, layer_ticket = self._layer_ticket()
        gone = choose_filters(scored["groups"], total=total, budget=filter_count(layer_ticket))
        kept, shapes = _smaller(self.file, gone) if gone else (self.dense, {})
        facts = _equal_budget(scored, blocks, kept, filter_count(layer_ticket)) | {
            "tied": tied_filters(scored["groups"], gone),
            "layers": {name.removesuffix(".weight"): len(array) for name, array in kept.items() if array.ndim == 4},
        }
        changes = {"filters": shapes} if shapes else {}
        return _Pruned(kept, changes, facts, [scored["config_hash"], blocks["config_hash"]])

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

    def _layer_ticket(self) -> tuple[Facts, dict[str, Array]]:
        """The block scores that set the budget, and the state of the layer ticket that they choose."""
        if self.budget is None:
            raise LayerLotteryError("budget: found none; filters and weights need the block scores that set it")
        blocks = self._read_scores(self.budget, "blocks")
        return blocks, self._without(select(blocks["blocks"], self.removed), self.budget, {})

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


def _smaller(weights: Path, gone: Sequence[Facts]) -> tuple[dict[str, Array], dict[str, list[int]]]:
    from layerlottery.networks.filters import cut_shapes, remove_filters
    from layerlottery.networks.weights import load_network

    model, _ = load_network(weights)
    indices: dict[str, list[int]] = {}
    for group in gone:
        indices.setdefault(group["layer"], []).append(group["index"])
    small = remove_filters(model, indices)
    return {name: tensor.numpy() for name, tensor in small.state_dict().items()}, cut_shapes(model, small)


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


def _equal_budget(scored: Facts, blocks: Facts, kept: Mapping[str, Array], budget: int) -> dict[str, Any]:
    return {
        "removed_blocks": [],
        "kept": [block["name"] for block in blocks["blocks"]],
        "budget": budget,
        "filters": filter_count(kept),
        "criterion_settings": scored["settings"],
    }
