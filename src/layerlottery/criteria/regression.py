"""The PLS criterion: how much of a partial-least-squares fit from block outputs to labels rests on each block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from layerlottery.criteria.activations import reduced_outputs
from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.errors import LayerLotteryError

Matrix = npt.NDArray[np.float64]

# networks compute in float32: a column that varies less than this part of its size is constant
SMALLEST_SPREAD = float(np.finfo(np.float32).eps)
SMALLEST_COVARIANCE = 1e-12


def standardized(columns: Matrix) -> Matrix:
    """Columns with mean 0 and sample standard deviation 1; constant columns are 0."""
    spread = columns.std(axis=0, ddof=1)
    constant = spread <= SMALLEST_SPREAD * np.abs(columns).max(axis=0)
    scaled: Matrix = (columns - columns.mean(axis=0)) / np.where(constant, 1.0, spread)
    return np.where(constant, 0.0, scaled)


def variable_importance(features: Matrix, targets: Matrix, *, components: int) -> Matrix:
    """VIP (p,) of features (n, p) in a PLS regression of targets (n, q), both standardized; constant ones have 0.

    VIP² is p times the mean over components of the feature's squared weight, weighted by what the component
    explains of the targets (Wold et al. 2001); its mean over features is 1. Each component is the first
    singular vector of the deflated covariance, where NIPALS would iterate. There are fewer than `components`
    when nothing is left to explain. Raises when no feature varies with the targets.
    """
    x, y = standardized(features), standardized(targets)
    smallest = SMALLEST_COVARIANCE * float(np.linalg.norm(x) * np.linalg.norm(y))
    importance, total = np.zeros(x.shape[1]), 0.0
    for _ in range(components):
        left, strengths, _ = np.linalg.svd(x.T @ y, full_matrices=False)
        if strengths[0] <= smallest:
            break
        latent = x @ left[:, 0]
        size = float(latent @ latent)
        coefficient = y.T @ latent / size
        explained = float(coefficient @ coefficient) * size
        # deflating x is enough: what is left of it is orthogonal to what it has explained of y
        x = x - np.outer(latent, x.T @ latent / size)
        importance, total = importance + explained * left[:, 0] ** 2, total + explained
    if not total:
        raise LayerLotteryError("function: pls needs block outputs that vary with the class; found none that do")
    vip: Matrix = np.sqrt(len(importance) * importance / total)
    return vip


def _means(maps: Tensor) -> Tensor:
    """Means (N, C) over the positions of maps (N, C, …); an output (N, C) is that of a single position."""
    return maps.double().reshape(*maps.shape[:2], -1).mean(dim=2)


@criterion(names={"pls": {"batchnorm": "eval"}}, needs="forward", labels=True)
def pls(given: Scoring) -> dict[str, float]:
    """Mean VIP of a block's globally averaged channels (Jordao et al. 2020).

    All blocks stand in one fit: the mean of VIP² is 1 in every fit, so that separate ones could not be compared.
    """
    pooled = reduced_outputs(given, _means)
    labels = given.labels()
    one_hot = (labels[:, None] == labels.unique()).double().numpy()
    features = torch.cat(list(pooled.values()), dim=1).cpu().numpy()
    vip = variable_importance(features, one_hot, components=given.settings.components)
    ends = np.cumsum([channels.shape[1] for channels in pooled.values()])[:-1]
    return {name: float(part.mean()) for name, part in zip(pooled, np.split(vip, ends), strict=True)}
