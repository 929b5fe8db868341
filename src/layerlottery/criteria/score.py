"""The stage `score`: a number for each removable block of a network, each group of filters or each weight."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerlottery.config.choices import Scored
from layerlottery.config.criteria import FORMULAS, CriterionSettings
from layerlottery.config.networks import MINIMUM_PER_STAGE, ResidualSettings
from layerlottery.config.provenance import config_hash
from layerlottery.criteria.batches import Batch, Batches, each
from layerlottery.criteria.ranking import (
    BlockRanking,
    check_differ,
    rank_deepest,
    rank_once,
    rank_one_by_one,
    rank_spans,
    spans_of,
)
from layerlottery.criteria.saliency import Numbers
from layerlottery.criteria.scoring import Loss, Scoring, evaluate, functions
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet, balanced_subset
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, remove_blocks, residual_blocks
from layerlottery.networks.filters import find_couplings
from layerlottery.networks.weights import load_network, network_settings
from layerlottery.store.artifacts import write_facts, write_tensors
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import derived_seed

log = logging.getLogger(__name__)
SAID = 5  # scores that the log names

# now: processes that are forked from one that holds this need not import them
functions()


def score_blocks(
    model: nn.Module,
    batches: Batches,
    settings: CriterionSettings,
    *,
    seed: int = 0,
    blocks: Sequence[Block] | None = None,
    loss: Loss | None = None,
) -> dict[str, float]:
    """The criterion's value of every removable block; a batch is images (N, C, H, W) and labels (N,).

    `blocks` are the network's, by default those that the paper may remove. `loss` takes the place of the cross-entropy
    of logits. The model is not changed, nor are random
    states. Raises when a value is not finite, naming the block, and when the function does not score blocks.
    """
    if not settings.fits("layers"):
        raise LayerLotteryError(
            f"function: {settings.function} scores no blocks; allowed: {', '.join(_functions('layers'))}"
        )
    known = blocks if blocks is not None else paper_blocks(model, batches)
    removable = [block for block in known if block.removable]
    return evaluate(Scoring(model, batches, settings, blocks=removable, seed=seed, loss=loss)) if removable else {}


def _functions(structure: str) -> list[str]:
    return [name for name, formula in FORMULAS.items() if structure in formula.scores]


def paper_blocks(model: nn.Module, batches: Batches) -> list[Block]:
    """All residual blocks; the first of each stage stays (Jordao et al. 2023, section 3)."""
    return residual_blocks(model, _example(next(each(batches))), keep_first=True)


def _example(batch: Batch) -> Any:
    # data-free criteria come with a batch of no images
    return batch[0] if len(batch[0]) else batch[0].new_zeros(2, *batch[0].shape[1:])


def rank_blocks(
    model: nn.Module,
    batches: Batches,
    settings: CriterionSettings,
    *,
    seed: int = 0,
    blocks: Sequence[Block] | None = None,
    minimum: int = MINIMUM_PER_STAGE,
    loss: Loss | None = None,
) -> BlockRanking:
    """Values of all removable blocks, and the order or the sets in which they go, as `select` says."""
    known = blocks if blocks is not None else paper_blocks(model, batches)
    if settings.select == "span":
        return _rank_spans(model, batches, settings, seed=seed, blocks=known, minimum=minimum)
    values = score_blocks(model, batches, settings, seed=seed, blocks=known, loss=loss)
    if settings.select == "deepest":
        return rank_deepest(known, values)
    check_differ(values.values(), settings.function, "blocks")
    if settings.select == "lowest":
        return rank_once(values, keep=settings.keep)
    removals = {block.name: block.removal for block in known}

    def evaluate(gone: list[str]) -> dict[str, float]:
        if settings.formula.needs == "nothing":
            # a draw looks at no network: removing a block does not change it
            return {}
        left = [block for block in known if block.name not in gone]
        smaller = remove_blocks(model, gone, removals)
        return score_blocks(smaller, batches, settings, seed=seed, blocks=left, loss=loss)

    return rank_one_by_one(known, values, evaluate, keep=settings.keep, minimum=minimum)


def _rank_spans(
    model: nn.Module,
    batches: Batches,
    settings: CriterionSettings,
    *,
    seed: int,
    blocks: Sequence[Block],
    minimum: int,
) -> BlockRanking:
    spans, removable = spans_of(blocks), [block for block in blocks if block.removable]
    if not spans:
        return BlockRanking({}, {}, [], {})
    values = evaluate(Scoring(model, batches, settings, blocks=removable, spans=spans, seed=seed))
    check_differ((values[block.name] for block in removable), settings.function, "blocks")
    return rank_spans(blocks, spans, values, keep=settings.keep, minimum=minimum)


def group_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> list[dict[str, Any]]:
    """{layer, index, filters, raw, score} of every group of filters that only go together, in network order.

    `layer` is the first convolution that a group takes a filter of, `filters` how many it takes in all; raw is
    the mean over these filters. `batch` is images (N, C, H, W) and labels (N,). The model is not changed.
    """
    couplings = find_couplings(model)
    values = evaluate(Scoring(model, batch, settings, couplings=couplings, structure="filters", seed=seed))
    check_differ(np.concatenate([*values.values()]), settings.function, "groups of filters")
    return [
        {"layer": one.layer, "index": index, "filters": len(one.layers), "raw": raw, "score": settings.sign * raw}
        for one in couplings
        for index, raw in enumerate(values[one.layer].tolist())
    ]


def weight_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> dict[str, Numbers]:
    """A score for each convolution weight, by parameter name and of its shape; the lowest goes first."""
    values = evaluate(Scoring(model, batch, settings, structure="weights", seed=seed))
    check_differ(np.concatenate([one.ravel() for one in values.values()]), settings.function, "weights")
    return {name: settings.sign * value for name, value in values.items()}


def scoring_batch(prepared: PreparedSet, per_class: int, *, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`per_class` training images of each class, normalised, not augmented; the seed chooses them."""
    train = prepared.split("train")
    wanted = per_class * len(prepared.classes)
    normalize = Normalizer(prepared.mean, prepared.std, device=device, channels_last=False)
    if wanted > len(train.labels):
        most = len(train.labels) // len(prepared.classes)
        raise LayerLotteryError(f"images_per_class: found {per_class}; this training set gives at most {most}")
    seed = derived_seed("scoring batch", seed)
    chosen = balanced_subset(train.labels, wanted, seed) if wanted else slice(0)
    return normalize(torch.from_numpy(train.images[chosen])), torch.from_numpy(train.labels[chosen]).to(device)


def score(
    weights: Path,
    data: Path,
    output: Path,
    settings: CriterionSettings,
    *,
    structure: Scored = "layers",
    seed: int,
    draw: int = 0,
    device: torch.device,
) -> None:
    """Score the blocks of the network in `weights`, its groups of filters or its convolution weights.

    `output` is a facts file or, of weights, a tensors file: one array by parameter name, of the weight's shape, lowest
    goes first; its facts name the layers in network order. Draws above 0 choose other images and make other random
    choices for the same network.
    """
    _check(settings, structure)
    prepared = PreparedSet.open(data)
    model, held = load_network(weights)
    chain = Chain()
    chain.add(data, prepared.content)
    chain.add(weights, held["content"], held["stamp"])
    network, model = network_settings(held["architecture"]), model.to(device)
    chosen_by = derived_seed("draw", seed, draw) if draw else seed
    per_class = 0 if settings.formula.data_free else settings.images_per_class
    batch = scoring_batch(prepared, per_class, seed=chosen_by, device=device)
    facts = {"settings": settings.model_dump(mode="json"), "images": len(batch[1])}
    inputs, other = [held["content"], prepared.content], {} if structure == "layers" else {"structure": structure}
    made_by = config_hash("score", settings, inputs, seed=seed, draw=draw, **other)
    if structure == "weights":
        scores = weight_scores(model, batch, settings, seed=chosen_by)
        write_tensors(output, scores, facts | {"layers": list(scores)}, config_hash=made_by, inputs=chain.inputs)
        told = f"{sum(map(np.size, scores.values()))} weights scored"
    elif structure == "filters":
        groups = group_scores(model, batch, settings, seed=chosen_by)
        write_facts(output, facts | {"groups": groups}, config_hash=made_by, inputs=chain.inputs)
        told = _lowest({f"{one['layer']} {one['index']}": one["score"] for one in groups})
    else:
        blocks = _block_facts(model, batch, settings, network, seed=chosen_by)
        write_facts(output, facts | blocks, config_hash=made_by, inputs=chain.inputs)
        told = _sets(blocks.get("sets")) or _lowest(
            {row["name"]: row["score"] for row in blocks["blocks"] if row["removable"]}
        )
    if told:
        log.info("%s: %s", settings.function, told)


def _lowest(scores: Mapping[str, float]) -> str:
    """The names that would go first, with their scores; "" where nothing can go."""
    lowest = sorted(scores, key=lambda name: scores[name])[:SAID]
    named = ", ".join(f"{name} ({scores[name]:.4g})" for name in lowest)
    return f"of {len(scores)} scores the lowest, which go first: {named}" if scores else ""


def _sets(sets: Mapping[str, Sequence[str]] | None) -> str:
    """The smallest sets of blocks that go together; "" where blocks go one after the other."""
    named = [f"{number}: {', '.join(names)}" for number, names in (sets or {}).items()][:SAID]
    return f"successive blocks that go together, by their number: {'; '.join(named)}" if named else ""


def _check(settings: CriterionSettings, structure: Scored) -> None:
    if structure == "layers":
        return
    if not settings.fits(structure):
        allowed = ", ".join(sorted(_functions(structure)))
        raise LayerLotteryError(f"function: {settings.function} can't score {structure}; allowed: {allowed}")
    if problem := settings.unfit(structure):
        raise LayerLotteryError(problem)


def _block_facts(
    model: nn.Module, batch: Batch, settings: CriterionSettings, network: ResidualSettings, *, seed: int
) -> dict[str, Any]:
    blocks = residual_blocks(model, _example(batch), keep_first=network.keep_first)
    batches = _in_batches(batch, settings)
    ranking = rank_blocks(model, batches, settings, seed=seed, blocks=blocks, minimum=network.minimum)
    if ranking.ties:
        log.info("%s: equal scores, ranked in network order: %s", settings.function, ", ".join(ranking.ties))
    facts: dict[str, Any] = {"blocks": [_row(block, ranking) for block in blocks], "ties": ranking.ties}
    facts |= {} if ranking.sets is None else {"sets": ranking.sets}
    return facts if network.minimum == MINIMUM_PER_STAGE else facts | {"minimum": network.minimum}


def _in_batches(batch: Batch, settings: CriterionSettings) -> Batches:
    """The same images, no more at a time than the settings allow."""
    if settings.batch_size is None or settings.batch_size >= len(batch[1]):
        return batch
    return list(zip(*(one.split(settings.batch_size) for one in batch), strict=True))


def _row(block: Block, ranking: BlockRanking) -> dict[str, object]:
    row: dict[str, object] = {"name": block.name, "stage": block.stage, "removable": block.removable}
    row |= {"raw": ranking.raw.get(block.name), "score": ranking.score.get(block.name)}
    return row if block.removal.trivial else row | {"removal": block.removal.facts()}
