"""How far a network's probabilities can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from layerlottery.data.prepared import Labels

Real = npt.NDArray[np.float64]

COLDEST, HOTTEST = 0.05, 100.0


@dataclass(frozen=True)
class Calibration:
    """Means over images: nll in nats, brier from 0 to 2, ece from 0 to 1."""

    nll: float
    brier: float
    ece: float


def calibration(logits: npt.NDArray[np.floating[Any]], labels: Labels, bins: int) -> Calibration:
    """Calibration of logits (N, classes) against labels (N,), in float64; not finite logits give NaN.

    nll is the mean of -log p(label). brier is the mean over images of the sum over classes of (p - onehot)²
    (Brier 1950). ece is that of Guo et al. (2017), equation 3, with `bins` equal-width bins of the largest
    probability; bin m of M is ((m-1)/M, m/M], closed at its upper edge.
    """
    logarithms = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    own = logarithms[np.arange(len(labels)), labels]
    probabilities = np.exp(logarithms)
    # sum of (p - onehot)² without building onehot
    brier = np.mean((probabilities**2).sum(axis=1) - 2 * np.exp(own) + 1)
    correct = probabilities.argmax(axis=1) == labels
    ece = expected_calibration_error(probabilities.max(axis=1), correct, bins)
    return Calibration(nll=float(-own.mean()), brier=float(brier), ece=ece)


def expected_calibration_error(confidences: Real, correct: npt.NDArray[np.bool_], bins: int) -> float:
    """Sum over bins of |correct - confidence| summed inside the bin, divided by the number of images."""
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    places = np.digitize(confidences, inner_edges, right=True)
    gaps = np.bincount(places, weights=correct - confidences, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))


def fit_temperature(logits: npt.NDArray[np.floating[Any]], labels: Labels) -> float | None:
    """The temperature T that gives logits (N, classes) / T the least nll (Guo et al. 2017, section 4.2).

    T is from 0.05 to 100. The nll is convex in 1 / T, so the least one found is the least there is; 1 where no other
    T has less. None if there are no images or some logit is not finite.
    """
    if not len(labels) or not np.isfinite(logits).all():
        return None
    exact = np.asarray(logits, dtype=np.float64)
    margins = exact - exact[np.arange(len(labels)), labels][:, None]

    def nll(temperature: float) -> float:
        return float(logsumexp(margins / temperature, axis=1).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    search = minimize_scalar(lambda log: nll(np.exp(log)), bounds=bounds, method="bounded", options={"xatol": 1e-8})
    # the search comes near to its bounds, and never reaches them
    return min((1.0, float(np.exp(search.x)), COLDEST, HOTTEST), key=nll)
