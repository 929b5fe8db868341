"""Criteria that compare the network with itself less one block: loss, KL, CKA and the consensus of eight metrics."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.criteria.ablation import answers
from layerlottery.criteria.batches import each
from layerlottery.criteria.scoring import Loss, Scoring, criterion, own_loss
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.features import PENULTIMATE, captured
from layerlottery.networks.inputs import count, rows
from layerlottery.similarity import metrics

DECIMALS = 8  # distances that differ by less than rounding errors count as equal
NO_LABELS = torch.empty(0)


def _log_probabilities(logits: Any) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LayerLotteryError(f"forward: gives {found}; this criterion needs logits, a tensor (N, classes)")
    return F.log_softmax(logits.double(), dim=1)


@criterion(
    names={"loss": {"batchnorm": "eval"}, "sleb": {"batchnorm": "eval", "select": "one_by_one"}},
    needs="forward",
    labels=True,
)
def loss(given: Scoring) -> dict[str, float]:
    """Mean cross-entropy, in nats, of the network without the block: the blocks whose loss is lowest go.

    One at a time, with all that are left scored again after each, this is the third metric of SLEB (Song et al. 2024),
    which takes it of a language model's next tokens, here of the images' classes. Or the mean of the user's own loss.
    """
    sums, seen = dict.fromkeys((block.name for block in given.blocks), 0.0), 0
    for inputs, targets in given.labelled_parts():
        _, without = answers(given.model, given.blocks, [inputs], partial(_summed, given.loss, inputs, targets))
        for name, found in without.items():
            sums[name] += found.item()
        seen += count(inputs)
    return {name: value / seen for name, value in sums.items()}


def _summed(own: Loss | None, inputs: Any, targets: Any, answer: Any) -> Tensor:
    """The loss (1,) times the number of images."""
    if own is not None:
        return own_loss(own, answer, targets).double().reshape(1) * count(inputs)
    if isinstance(answer, Tensor) and answer.dim() > 2:
        # of each image the mean over its positions
        places = answer.shape[2:].numel()
        return F.nll_loss(F.log_softmax(answer.double(), dim=1), targets, reduction="sum").reshape(1) / places
    return F.nll_loss(_log_probabilities(answer), targets, reduction="sum").reshape(1)


@criterion(names={"kl": {"batchnorm": "eval"}}, needs="forward")
def kl(given: Scoring) -> dict[str, float]:
    """KL(q ‖ p) in nats, mean over images, as the code of CURL (Luo & Wu 2020) computes it; or KL(p ‖ q).

    p is the softmax output of the full network, q that without the block; `divergence` says which way.
    """
    from_full = given.settings.divergence == "from_full"
    sums, seen = {block.name: 0.0 for block in given.blocks}, 0
    for inputs in given.parts():
        full, without = answers(given.model, given.blocks, inputs, _log_probabilities)
        for name, found in without.items():
            # torch's second argument is the distribution that the expectation is taken over
            pair = (found, full) if from_full else (full, found)
            sums[name] += F.kl_div(*pair, reduction="sum", log_target=True).item()
        seen += len(full)
    return {name: value / seen for name, value in sums.items()}


def with_and_without(given: Scoring) -> tuple[Tensor, dict[str, Tensor]]:
    """Penultimate features (N, features) of the network, and of the network less each block, float64.

    Raises when they are not finite, naming the block.
    """
    parts = itertools.chain.from_iterable(given.parts())
    with captured(given.model, [PENULTIMATE], example=rows(next(each(given.batches))[0], slice(2))) as held:
        whole, without = answers(
            given.model, given.blocks, parts, lambda _: held[PENULTIMATE].flatten(1).double().cpu()
        )
    called = {"the network": whole} | {f"the network without block {name}": one for name, one in without.items()}
    for name, features in called.items():
        if not features.isfinite().all():
            raise LayerLotteryError(f"{name}: found penultimate features that are not finite; scores need finite ones")
    return whole, without


@criterion(
    names={"cka": {"batchnorm": "eval"}, "cka_iterative": {"batchnorm": "eval", "select": "one_by_one"}},
    needs="forward",
)
def cka(given: Scoring) -> dict[str, float]:
    """1 − linear CKA of the features with and without the block (Pons et al. 2024); the lowest go.

    1 where the block's removal leaves features that no longer depend on the image.
    """
    whole, without = with_and_without(given)
    return {name: metrics.cka(whole, found, NO_LABELS) for name, found in without.items()}


@criterion(names={"consensus": {"batchnorm": "eval"}}, needs="forward", labels=True)
def consensus(given: Scoring) -> dict[str, float]:
    """Sum of a block's ranks by eight dissimilarities of the features with and without it (Mugnaini et al. 2024).

    Rank 1 is the smallest dissimilarity; equal ones share their mean rank. The lowest sums go.
    """
    from scipy.stats import rankdata  # every scoring imports this module, few rank

    (whole, without), labels = with_and_without(given), given.labels()
    distances = [[metric(whole, found, labels) for found in without.values()] for metric in metrics.METRICS.values()]
    totals = rankdata(np.round(distances, DECIMALS), axis=1).sum(axis=0)
    return dict(zip(without, totals.tolist(), strict=True))
