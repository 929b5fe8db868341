"""Scores of filters and of single weights; those of blocks are in score.py."""

from __future__ import annotations

from typing import Any

from torch import nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.batches import Batch
from layerlottery.criteria.saliency import Numbers
from layerlottery.criteria.scoring import Scoring, evaluate
from layerlottery.networks.filters import find_couplings


def group_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> list[dict[str, Any]]:
    """{layer, index, filters, raw, score} of every group of filters that only go together, in network order.

    `layer` is the first convolution that a group takes a filter of, `filters` how many it takes in all; raw is
    the mean over these filters. `batch` is images (N, C, H, W) and labels (N,). The model is not changed.
    """
    couplings = find_couplings(model)
    values = evaluate(Scoring(model, batch, settings, couplings=couplings, structure="filters", seed=seed))
    return [
        {"layer": one.layer, "index": index, "filters": len(one.layers), "raw": raw, "score": settings.sign * raw}
        for one in couplings
        for index, raw in enumerate(values[one.layer].tolist())
    ]


def weight_scores(model: nn.Module, batch: Batch, settings: CriterionSettings, *, seed: int = 0) -> dict[str, Numbers]:
    """A score for each convolution weight, by parameter name and of its shape; the lowest goes first."""
    values = evaluate(Scoring(model, batch, settings, structure="weights", seed=seed))
    return {name: settings.sign * value for name, value in values.items()}
