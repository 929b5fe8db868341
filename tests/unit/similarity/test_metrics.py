"""The eight dissimilarities against closed forms, SciPy, searches by brute force, and what they must not see."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch

from layerlottery.similarity.cka import linear_cka
from layerlottery.similarity.metrics import METRICS

EIGHT = pytest.mark.parametrize("name", list(METRICS))
LABELS = torch.arange(30) % 3


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(width=4, seed=0):
    """30 images of three classes, none of whose directions is like another."""
    return normal(30, width, seed=seed) * torch.linspace(1, 2, width) + 3 * normal(3, width, seed=seed + 1)[LABELS]


def by_class(values):
    return [values[label::3].numpy() for label in range(3)]


def orthogonal(size, seed=7):
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


def ellipse(mean, deviations):
    """Four images in the plane with exactly this mean and these standard deviations along the axes (N - 1)."""
    a, b = (deviation * math.sqrt(3 / 2) for deviation in deviations)
    return torch.tensor(mean, dtype=torch.float64) + torch.tensor([[a, 0], [-a, 0], [0, b], [0, -b]])


def gaussians(*ellipses):
    return torch.cat([ellipse(*one) for one in ellipses]), torch.arange(len(ellipses)).repeat_interleave(4)


def test_there_are_the_eight_of_the_paper():
    stochastic = {f"stochastic_{alpha}" for alpha in (0, 1, 2)}
    assert set(METRICS) == stochastic | {"cka", "permutation", "linear_0", "linear_1", "wasserstein"}


@EIGHT
def test_equal_features_are_at_no_distance_and_others_are(name):
    x, y = features(), features(seed=5)
    assert METRICS[name](x, x.clone(), LABELS) == pytest.approx(0, abs=1e-12)
    assert METRICS[name](x, y, LABELS) > 0.05
    assert METRICS[name](x, y, LABELS) == pytest.approx(METRICS[name](y, x, LABELS), rel=1e-2)


@EIGHT
def test_the_order_of_features_matters_to_none(name):
    x = features()
    assert METRICS[name](x, x[:, [2, 0, 3, 1]], LABELS) == pytest.approx(0, abs=1e-7)


@EIGHT
def test_a_rotation_is_seen_only_by_those_that_look_at_single_features(name):
    x = features()
    distance = METRICS[name](x, x @ orthogonal(4), LABELS)
    if name in ("permutation", "wasserstein"):
        assert distance > 0.05
    else:
        assert distance == pytest.approx(0, abs=1e-7)


@EIGHT
def test_images_may_come_in_any_order(name):
    x, y, order = features(), features(seed=5), torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = METRICS[name](x[order], y[order], LABELS[order])
    assert shuffled == pytest.approx(METRICS[name](x, y, LABELS), rel=1e-2)


@EIGHT
def test_features_that_never_change_are_far_from_others_and_crash_nothing(name):
    x, flat = features(), torch.full((30, 4), 0.1)
    far = METRICS[name](x, flat, LABELS)
    assert math.isfinite(far)
    assert far > 0.1
    assert math.isfinite(METRICS[name](flat, flat, LABELS))
    if name == "cka":
        assert far == 1
    if name in ("permutation", "linear_0", "linear_1"):
        assert far == pytest.approx(math.pi / 2)


def test_cka_is_one_less_the_similarity():
    x, y = features(), features(seed=5)
    assert METRICS["cka"](x, y, LABELS) == pytest.approx(1 - linear_cka(x, y))


def test_permutation_finds_the_best_of_all_orders():
    x, y = features(), features(seed=5)
    a, b = (values.numpy() - values.numpy().mean(0) for values in (x, y))
    cosines = [(a * b[:, order]).sum() for order in map(list, itertools.permutations(range(4)))]
    expected = math.acos(max(cosines) / (np.linalg.norm(a) * np.linalg.norm(b)))
    assert METRICS["permutation"](x, y, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize("width", [4, 40])
def test_linear_without_whitening_is_procrustes(width):
    x, y = features(width), features(width, seed=5)
    # SciPy's disparity is the squared sine of the angle
    disparity = scipy.spatial.procrustes(x.numpy(), y.numpy())[2]
    assert METRICS["linear_1"](x, y, LABELS) == pytest.approx(math.asin(math.sqrt(disparity)), rel=1e-6)


def test_linear_with_whitening_is_the_mean_canonical_correlation():
    x, y = features(), features(seed=5)
    angles = scipy.linalg.subspace_angles((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    assert METRICS["linear_0"](x, y, LABELS) == pytest.approx(math.acos(np.cos(angles).mean()), rel=1e-9)


def test_linear_with_whitening_sees_no_invertible_map_and_no_direction_without_variance():
    x = features()
    mapped = x @ normal(4, 4, seed=9) + 2
    assert METRICS["linear_0"](x, mapped, LABELS) == pytest.approx(0, abs=1e-7)
    assert METRICS["linear_1"](x, mapped, LABELS) > 0.1
    dead = torch.zeros(30, 1)
    alive = METRICS["linear_0"](x, features(seed=5), LABELS)
    with_dead = METRICS["linear_0"](torch.cat([x, dead], 1), torch.cat([features(seed=5), dead], 1), LABELS)
    assert with_dead == pytest.approx(alive)


def test_linear_with_whitening_is_blind_to_more_features_than_images():
    assert METRICS["linear_0"](features(40), features(40, seed=5), LABELS) == pytest.approx(0, abs=1e-7)


def test_wasserstein_by_hand():
    # 0, 1, 5 against 3, 4, 6 in order of size: (3 + 3 + 1) / 3
    x, y = torch.tensor([[5.0, 0.0, 1.0]]), torch.tensor([[3.0, 6.0, 4.0]])
    assert METRICS["wasserstein"](x, y, torch.zeros(1)) == pytest.approx(7 / 3)


def test_gaussians_along_the_same_axes():
    # the mean of each class lies on the long axis, so no rotation helps
    x, labels = gaussians(([4, 0], (2, 1)), ([6, 0], (3, 1)))
    y, _ = gaussians(([7, 0], (5, 1)), ([6, 0], (3, 2)))
    means, covariances = 3**2, (5 - 2) ** 2 + (2 - 1) ** 2  # summed over both classes
    for alpha in (0, 1, 2):
        expected = math.sqrt((alpha * means + (2 - alpha) * covariances) / 2)
        assert METRICS[f"stochastic_{alpha}"](x, y, labels) == pytest.approx(expected, rel=1e-6)


def test_gaussians_without_means_see_covariances_only():
    x, labels = gaussians(([4, 0], (2, 1)), ([6, 0], (3, 1)))
    moved = x + torch.tensor([[9.0, -2.0], [0.5, 7.0]])[labels]
    assert METRICS["stochastic_0"](x, moved, labels) == pytest.approx(0, abs=1e-7)
    assert METRICS["stochastic_1"](x, moved, labels) > 1


def test_gaussians_without_covariances_are_procrustes_of_the_means():
    x, y = features(), features(seed=5)
    a, b = (np.stack([members.mean(0) for members in by_class(values)]) for values in (x, y))
    rotation, _ = scipy.linalg.orthogonal_procrustes(b, a)
    expected = math.sqrt(2 * ((a - b @ rotation) ** 2).sum() / 3)
    assert METRICS["stochastic_2"](x, y, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0, 1])
@pytest.mark.parametrize("seed", [2, 30])
def test_gaussians_against_a_search_over_all_rotations_of_the_plane(alpha, seed):
    x = features(2, seed=seed)
    y = (0.7 * x + normal(30, 2, seed=seed + 20)) @ orthogonal(2)

    def moments(values):
        return [(members.mean(0), np.cov(members.T)) for members in by_class(values)]

    def squared(rotation):
        total = 0
        for (mean, first), (other, second) in zip(moments(x), moments(y), strict=True):
            turned = rotation @ second @ rotation.T
            root = scipy.linalg.sqrtm(first)
            bures = np.trace(first + turned - 2 * scipy.linalg.sqrtm(root @ turned @ root).real)
            total += alpha * ((mean - rotation @ other) ** 2).sum() + (2 - alpha) * bures
        return total / 3

    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    least = min(squared(turn @ np.diag([1, sign])) for turn in turns for sign in (1, -1))
    found = METRICS[f"stochastic_{alpha}"](x, y, LABELS)
    assert found == pytest.approx(math.sqrt(least), rel=5e-3)


@pytest.mark.parametrize("alpha", [0, 1, 2])
def test_gaussians_of_unequal_classes_and_more_features_than_images(alpha):
    labels = torch.tensor([0] * 9 + [1] * 4 + [2])
    x = normal(14, 20)
    metric = METRICS[f"stochastic_{alpha}"]
    assert metric(x, x @ orthogonal(20), labels) == pytest.approx(0, abs=1e-6)
    # twice as large: means and deviations differ by their own size
    moments = [(x[labels == label].mean(0), x[labels == label]) for label in range(3)]
    squares = [
        alpha * mean.square().sum() + (2 - alpha) * (members - mean).square().sum() / max(1, len(members) - 1)
        for mean, members in moments
    ]
    assert metric(x, 2 * x, labels) == pytest.approx(math.sqrt(sum(squares).item() / 3), rel=1e-6)
