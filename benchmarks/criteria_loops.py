"""Criteria in the loops of published code, the plain side of criteria_speed.py.

They follow `criteria_layer.py` of the method's authors (github.com/arturjordao/DeepPruning), in PyTorch instead of
Keras: images go through the network 32 at a time, as `predict` lets them; every block is scored by a pass of its own;
HRank and expectABS then take every filter and every image's map by itself. The KL divergence is that of
docs/method.md, its expectation taken over the predictions without the block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from layerlottery.networks.resnet import CifarResNet

BATCH = 32


def children(model: CifarResNet) -> Iterator[tuple[str, nn.Module]]:
    """Stem and blocks in the order in which they run."""
    yield "stem", model.stem
    for stage in ("stage1", "stage2", "stage3"):
        for name, block in getattr(model, stage).named_children():
            yield f"{stage}.{name}", block


def up_to(model: CifarResNet, name: str, images: Tensor) -> Tensor:
    """What the block puts out; nothing behind it runs."""
    for other, module in children(model):
        images = module(images)
        if other == name:
            break
    return images


def each_map(model: CifarResNet, name: str, images: Tensor) -> Iterator[Tensor]:
    """Every map of every filter of the block's output, by itself."""
    for batch in images.split(BATCH):
        features = up_to(model, name, batch)
        for channel in range(features.shape[1]):
            for feature in features:
                yield feature[channel]


def expectabs(model: CifarResNet, names: list[str], images: Tensor) -> dict[str, float]:
    scores = {}
    for name in names:
        total, count = 0.0, 0
        for values in each_map(model, name, images):
            total += float(np.sum(np.abs(values.numpy())))
            count += values.numel()
        scores[name] = total / count
    return scores


def hrank(model: CifarResNet, names: list[str], images: Tensor) -> dict[str, float]:
    scores = {}
    for name in names:
        total, count, side = 0, 0, 1
        for values in each_map(model, name, images):
            total += int(torch.linalg.matrix_rank(values))
            count, side = count + 1, max(values.shape)
        scores[name] = total / count / side
    return scores


def outputs(model: CifarResNet, images: Tensor, *, without: str | None = None, logits: bool = True) -> Tensor:
    """Logits or penultimate features of all images, without one block."""
    found = []
    for batch in images.split(BATCH):
        x = batch
        for name, module in children(model):
            x = x if name == without else module(x)
        x = x.mean(dim=(2, 3))
        found.append(model.classifier(x) if logits else x)
    return torch.cat(found)


def kl(model: CifarResNet, names: list[str], images: Tensor) -> dict[str, float]:
    full = outputs(model, images).double().softmax(1).tolist()
    scores = {}
    for name in names:
        less = outputs(model, images, without=name).double().softmax(1).tolist()
        total = 0.0
        for p, q in zip(full, less, strict=True):
            total += sum(other * (math.log(other) - math.log(one)) for one, other in zip(p, q, strict=True))
        scores[name] = total / len(images)
    return scores


def cka(model: CifarResNet, names: list[str], images: Tensor) -> dict[str, float]:
    full = outputs(model, images, logits=False).double().numpy()
    return {
        name: 1 - linear_cka(full, outputs(model, images, without=name, logits=False).double().numpy())
        for name in names
    }


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)
