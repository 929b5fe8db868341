"""How well a network's outputs tell test images from images of no class (out-of-distribution detection)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

Real = npt.NDArray[np.float64]
Logits = npt.NDArray[np.floating[Any]]

FOUND = 0.95  # share of the positive class at which the false positives are counted


@dataclass(frozen=True)
class Detection:
    """From 0 to 1, meaning as in the table detection; all None where a score is not finite."""

    auroc: float | None = None
    aupr_in: float | None = None
    aupr_out: float | None = None
    fpr95: float | None = None
    fpr95_in: float | None = None


SCORES: dict[str, Callable[[Logits], Real]] = {
    # largest softmax probability (Hendrycks & Gimpel 2017)
    "msp": lambda logits: softmax(logits.astype(np.float64), axis=1).max(axis=1),
    # Hendrycks et al. 2022
    "max_logit": lambda logits: logits.astype(np.float64).max(axis=1),
    # negative energy at temperature 1 (Liu et al. 2020, equation 4)
    "energy": lambda logits: logsumexp(logits.astype(np.float64), axis=1),
}


def detection(inside: Real, outside: Real) -> Detection:
    """Scores (n,) of test images and (m,) of outliers, high for the former, to measures of their separation.

    auroc is the probability that a test image scores higher than an outlier, ties by half. aupr_in (test images
    are positive) and aupr_out (outliers are) join the points of the precision-recall curve by straight lines; both
    grow with the share of their positives. fpr95 takes outliers as positive: the share of test images at or below
    the lowest threshold that has 95 % of the outliers at or below it; fpr95_in is the reverse, test images being
    positive. auroc, aupr_in, aupr_out and fpr95 are those of pytorch-ood's OODMetrics.
    """
    if not (len(inside) and len(outside) and np.isfinite(inside).all() and np.isfinite(outside).all()):
        return Detection()
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([inside, outside])
    known = np.arange(len(scores)) < len(inside)
    (aupr_in, fpr95_in), (aupr_out, fpr95) = _curves(known, scores), _curves(~known, -scores)
    return Detection(float(roc_auc_score(known, scores)), aupr_in, aupr_out, fpr95, fpr95_in)


def _curves(positive: npt.NDArray[np.bool_], scores: Real) -> tuple[float, float]:
    """Area under the precision-recall curve, and the share of false positives where 95 % are found."""
    from sklearn.metrics import auc, precision_recall_curve, roc_curve

    precision, recall, _ = precision_recall_curve(positive, scores)
    # all thresholds: those that sklearn drops by default may be the one that is sought
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    return float(auc(recall, precision)), float(false[np.searchsorted(true, FOUND)])
