"""The stage `score` where filters or single weights are removed: one number per filter, or per weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.complexity import layer_shares, removal_places
from layerlottery.criteria.products import PRODUCTS, convolution_weights, filter_scores, weight_products
from layerlottery.criteria.score import begin
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.filters import Coupling, find_couplings
from layerlottery.store.artifacts import write_facts, write_tensors
from layerlottery.store.hashing import derived_seed

Batch = tuple[Tensor, Tensor]
Numbers = npt.NDArray[Any]


def score_filters(
    weights: Path,
    data: Path,
    output: Path,
    settings: CriterionSettings,
    *,
    seed: int,
    draw: int = 0,
    device: torch.device,
) -> None:
    """Score every removable group of filters of the network in `weights` and write the facts file `output`.

    Draws above 0 choose other images and make other random choices for the same network.
    """
    _check(settings, "filters")
    given = begin(weights, data, settings, seed=seed, draw=draw, device=device, structure="filters")
    groups = group_scores(given.model, given.batch, settings, seed=given.seed)
    write_facts(output, given.facts | {"groups": groups}, config_hash=given.made_by)


def score_weights(
    weights: Path,
    data: Path,
    output: Path,
    settings: CriterionSettings,
    *,
    seed: int,
    draw: int = 0,
    device: torch.device,
) -> None:
    """Score every convolution weight of the network in `weights` and write the tensors file `output`.

    It holds one array by parameter name, of the weight's shape, lowest goes first; its facts name the layers
    in network order. Draws are those of score_filters.
    """
    _check(settings, "weights")
    given = begin(weights, data, settings, seed=seed, draw=draw, device=device, structure="weights")
    scores = weight_scores(given.model, given.batch, settings, seed=given.seed)
    write_tensors(output, scores, given.facts | {"layers": list(scores)}, config_hash=given.made_by)


def group_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> list[dict[str, Any]]:
    """{layer, index, filters, raw, score} of every group of filters that only go together, in network order.

    `layer` is the first convolution that a group takes a filter of, `filters` how many it takes in all; raw is
    the mean over these filters. `batch` is images (N, C, H, W) and labels (N,). The model is not changed.
    """
    couplings = find_couplings(model)
    values = _group_values(model, couplings, batch, settings, seed)
    return [
        {
            "layer": coupling.layer,
            "index": index,
            "filters": len(coupling.layers),
            "raw": raw,
            "score": _sign(settings) * raw,
        }
        for coupling, numbers in zip(couplings, values, strict=True)
        for index, raw in enumerate(numbers.tolist())
    ]


def weight_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> dict[str, Numbers]:
    """A score for each convolution weight, by parameter name and of its shape; the lowest goes first."""
    if settings.function == "random":
        shapes = {name: tuple(weight.shape) for name, weight in convolution_weights(model).items()}
        drawn = _drawn("weights", [int(np.prod(shape)) for shape in shapes.values()], seed)
        values = {name: one.reshape(shape) for (name, shape), one in zip(shapes.items(), drawn, strict=True)}
    else:
        values = {name: product.cpu().numpy() for name, product in weight_products(model, batch, settings).items()}
    return {name: _sign(settings) * value for name, value in values.items()}


def _group_values(
    model: nn.Module, couplings: Sequence[Coupling], batch: Batch, settings: CriterionSettings, seed: int
) -> list[Numbers]:
    sizes = [coupling.filters for coupling in couplings]
    if settings.function == "random":
        return _drawn("filters", sizes, seed)
    if settings.function == "complexity":
        shares = layer_shares(model, couplings, tuple(batch[0].shape[1:]), share=settings.share)
        return list(removal_places(sizes, shares, seed=seed))
    products = weight_products(model, batch, settings)
    scores = {name: filter_scores(product, settings).cpu().numpy() for name, product in products.items()}
    return [np.mean([scores[f"{layer}.weight"] for layer in coupling.layers], axis=0) for coupling in couplings]


def _drawn(structure: str, sizes: Sequence[int], seed: int) -> list[Numbers]:
    """Uniform numbers in [0, 1): the control that every criterion must beat."""
    generator = np.random.default_rng(derived_seed("random criterion", structure, seed))
    return [generator.random(size) for size in sizes]


def _sign(settings: CriterionSettings) -> int:
    return 1 if settings.keep == "high" else -1


def _check(settings: CriterionSettings, structure: str) -> None:
    if not settings.fits(structure):
        drawn = {"random", "complexity"} if structure == "filters" else {"random"}
        allowed = ", ".join(sorted(PRODUCTS.keys() | drawn))
        raise LayerLotteryError(f"function: {settings.function} can't score {structure}; allowed are {allowed}")
    if settings.parameters == "all":
        raise LayerLotteryError(f"parameters: found all; {structure} are scored by convolutions alone")
    if settings.batch_size is not None:
        raise LayerLotteryError(f"batch_size: found {settings.batch_size}; {structure} are scored in one batch: null")
    if settings.iterative:
        raise LayerLotteryError(f"iterative: found true; {structure} are scored once, only layers one by one")
