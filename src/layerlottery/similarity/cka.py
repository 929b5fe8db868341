"""Linear centred kernel alignment (CKA) of two representations of the same images.

Features are (N, …), flattened to (N, features); both may differ in width. 1 means equal up to rotation and scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layerlottery.config.evaluation import FEWEST_COMPARED
from layerlottery.errors import LayerLotteryError


def centred(features: Tensor) -> Tensor:
    """(N, features) in float64, each feature's mean over the images removed."""
    values = features.flatten(1).double()
    # less the first image first: a feature that never changes becomes an exact zero, not a rounding error
    values = values - values[0]
    return values.sub_(values.mean(0))


def gram(features: Tensor) -> Tensor:
    """Inner products (N, N) of the images' centred features, float64."""
    values = centred(features)
    return values @ values.T


def linear_cka(x: Tensor, y: Tensor) -> float:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of centred features (Kornblith et al. 2019, section 3), between 0 and 1.

    nan where one of the two does not change from image to image. Close to 1 for unrelated features once they are
    more than the images; `debiased_cka` is not.
    """
    x, y = centred(x), centred(y)
    if max(x.shape[1], y.shape[1]) > len(x):
        # the same numbers from inner products of images instead of features
        x, y = x @ x.T, y @ y.T
        return _ratio((x * y).sum(), x.square().sum(), y.square().sum())
    return _ratio((y.T @ x).square().sum(), (x.T @ x).square().sum(), (y.T @ y).square().sum())


def debiased_cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA from unbiased estimates of HSIC (Song et al. 2012, Nguyen et al. 2021), at most 1.

    Around 0, and below it by chance, for unrelated features of any width; nan where one of the two does not change
    from image to image. Raises LayerLotteryError for fewer than 4 images.
    """
    return cka_of(hsic(gram(x), gram(y)))


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """Unbiased HSIC of (k, m), (k, k) and (m, m) from two Gram matrices (N, N).

    Averages over disjoint batches of images estimate the same three numbers (Nguyen et al. 2021).
    """
    k, m = _u_centred(k), _u_centred(m)
    return torch.stack([(k * m).sum(), (k * k).sum(), (m * m).sum()]) / (len(k) * (len(k) - 3))


def cka_of(terms: Tensor) -> float:
    """CKA from what `hsic` gives, or from its average over batches."""
    return _ratio(*terms)


def _u_centred(k: Tensor) -> Tensor:
    """Without diagonal, and with rows and columns that add up to 0 (U-centring, Székely & Rizzo 2014)."""
    n = len(k)
    if n < FEWEST_COMPARED:
        raise LayerLotteryError(f"images: debiased CKA was given {n}; it takes {FEWEST_COMPARED} or more")
    k = k - torch.diag(k.diagonal())
    sums = k.sum(0)
    k = k - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return k.fill_diagonal_(0)


def _ratio(both: Tensor, left: Tensor, right: Tensor) -> float:
    # rooted apart: the product of two squares leaves float64's range sooner; 0 / 0 is the nan that is promised
    return (both / (left.sqrt() * right.sqrt())).clamp(max=1.0).item()
