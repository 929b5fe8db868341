"""Eight ways to say how far two representations of the same images are apart.

They are those that the consensus criterion ranks blocks by (Mugnaini et al. 2024). Each takes finite features
(N, features) of two networks, equally wide, and labels (N,); 0 means equal up to what the metric does not see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from layerlottery.similarity.cka import centred, linear_cka

Metric = Callable[[Tensor, Tensor, Tensor], float]

ITERATIONS = 200
TOLERANCE = 1e-6  # relative gain of an iteration below which the alignment has settled


def cka(x: Tensor, y: Tensor, labels: Tensor) -> float:
    """1 − linear CKA; 1 where one of the two does not change from image to image: nothing is left to compare."""
    similarity = linear_cka(x, y)
    return 1.0 if math.isnan(similarity) else 1.0 - similarity


def permutation(x: Tensor, y: Tensor, labels: Tensor) -> float:
    """Smallest angle between x and y over all orders of y's features (Williams et al. 2021), in radians."""
    from scipy.optimize import linear_sum_assignment  # every scoring imports this module, few compare

    x, y = centred(x), centred(y)
    _, order = linear_sum_assignment((x.T @ y).cpu().numpy(), maximize=True)
    return _angle(x, y[:, torch.from_numpy(order).to(y.device)])


def linear(x: Tensor, y: Tensor, labels: Tensor, *, alpha: float) -> float:
    """Smallest angle between partially whitened x and y over all rotations (Williams et al. 2021).

    In radians. alpha = 1 whitens nothing (Procrustes), alpha = 0 wholly: the metric then sees no invertible linear
    map (canonical correlations), and is 0 for any two networks unless images outnumber the features.
    """
    x, y = _whitened(x, alpha), _whitened(y, alpha)
    return _angle(x, y @ _rotation(y, x))


def stochastic(x: Tensor, y: Tensor, labels: Tensor, *, alpha: float) -> float:
    """Distance of class-conditional Gaussians under one common rotation (Duong et al. 2023).

    The root of the mean over classes of alpha · ‖difference of means‖² + (2 − alpha) · squared Bures distance of
    covariances: alpha = 2 sees means only, 0 covariances only, 1 is the 2-Wasserstein distance.

    Covariances are those of the sample, neither shrunk nor projected: with X the centred images of a class, the
    squared Bures distance is min ‖X − QY‖² over orthogonal Q, which needs no inverse. The rotation is found by
    turns (Q of every class, then the rotation), from the one that fits image to image. Each turn lowers the value,
    200 of them at most, towards a minimum that may be a local one: the nearer x and y are, the less likely.
    """
    scale = math.sqrt(alpha), math.sqrt(2 - alpha)
    (means_x, spread_x), (means_y, spread_y) = (_by_class(values.double(), labels, *scale) for values in (x, y))
    rotation = _rotation(torch.cat([means_y, *spread_y]), torch.cat([means_x, *spread_x]))
    factors_x, factors_y = _factors(spread_x), _factors(spread_y)
    target, loss = torch.cat([means_x, *factors_x]), math.inf
    for _ in range(ITERATIONS):
        turned = _rotation((factors_y @ rotation).mT, factors_x.mT).mT @ factors_y
        source = torch.cat([means_y, *turned])
        rotation = _rotation(source, target)
        before, loss = loss, (target - source @ rotation).square().sum().item()
        if before - loss <= TOLERANCE * loss:
            break
    return math.sqrt(loss / len(means_x))


def wasserstein(x: Tensor, y: Tensor, labels: Tensor) -> float:
    """1-Wasserstein distance of all values of x to all values of y, whichever image and feature they belong to."""
    from scipy.stats import wasserstein_distance  # likewise, and scipy's statistics take a second

    return float(wasserstein_distance(x.flatten().double().cpu().numpy(), y.flatten().double().cpu().numpy()))


METRICS: dict[str, Metric] = {
    "cka": cka,
    "stochastic_0": partial(stochastic, alpha=0),
    "stochastic_1": partial(stochastic, alpha=1),
    "stochastic_2": partial(stochastic, alpha=2),
    "permutation": permutation,
    "linear_0": partial(linear, alpha=0),
    "linear_1": partial(linear, alpha=1),
    "wasserstein": wasserstein,
}


def _rotation(source: Tensor, target: Tensor) -> Tensor:
    """The orthogonal Q that makes ‖target − source Q‖ smallest; both (…, N, features)."""
    left, _, right = torch.linalg.svd(source.mT @ target)
    rotation: Tensor = left @ right
    return rotation


def _angle(x: Tensor, y: Tensor) -> float:
    """Angle between two aligned matrices, in radians; a right angle where one is 0."""
    lengths = x.norm().item(), y.norm().item()
    if 0 in lengths:
        return math.pi / 2
    # the arc cosine would lose half of the digits at small angles
    chord = (x / lengths[0] - y / lengths[1]).norm().item()
    return 2 * math.asin(min(1.0, chord / 2))


def _whitened(features: Tensor, alpha: float) -> Tensor:
    """X (alpha I + (1 − alpha) (XᵀX)^(−1/2)) of centred X; directions without variance stay 0."""
    left, values, right = torch.linalg.svd(centred(features), full_matrices=False)
    smallest = values[0] * max(features.shape) * torch.finfo(values.dtype).eps
    kept = torch.where(values > smallest, alpha * values + (1 - alpha), 0)
    whitened: Tensor = (left * kept) @ right
    return whitened


def _by_class(features: Tensor, labels: Tensor, *scale: float) -> tuple[Tensor, list[Tensor]]:
    """Class means, and deviations from them whose squares add up to the covariance, scaled."""
    classes = [features[labels == label] for label in labels.unique()]
    means = torch.stack([members.mean(0) for members in classes])
    spread = [
        scale[1] * (members - mean) / math.sqrt(max(1, len(members) - 1))
        for members, mean in zip(classes, means, strict=True)
    ]
    return scale[0] * means, spread


def _factors(spread: list[Tensor]) -> Tensor:
    """(classes, rows, features) R with RᵀR = XᵀX: no more rows than features, zero rows where a class has fewer."""
    return pad_sequence([torch.linalg.qr(members, mode="r").R for members in spread], batch_first=True)
