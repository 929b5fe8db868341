"""CKA against the textbook formula with its centring matrix, pytorch-cka, and what must not change it."""

import math

import cka as pytorch_cka
import numpy as np
import pytest
import torch

from layerlottery.errors import LayerLotteryError
from layerlottery.similarity.cka import cka_of, debiased_cka, gram, hsic, linear_cka

BOTH = pytest.mark.parametrize("similarity", [linear_cka, debiased_cka])
# narrower than 20 images, wider, and mixed
WIDTHS = pytest.mark.parametrize(("p", "q"), [(5, 7), (60, 80), (3, 50)])


def related(p, q, images=20, seed=0):
    """Features that share three directions."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    common = normal(images, 3)
    return tuple(2 + common @ normal(3, width) + normal(images, width) for width in (p, q))


def orthogonal(size, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64)).Q


@WIDTHS
def test_linear_cka_is_the_textbook_formula(p, q):
    x, y = (features.numpy() for features in related(p, q))
    centring = np.eye(20) - np.ones((20, 20)) / 20

    def product(a, b):
        return np.trace(a @ a.T @ centring @ b @ b.T @ centring)

    expected = product(x, y) / math.sqrt(product(x, x) * product(y, y))
    assert linear_cka(*related(p, q)) == pytest.approx(expected, rel=1e-12)


def test_linear_cka_of_single_features_is_their_squared_correlation():
    # (-1, 0, 1) and (0, -2, 2): correlation 2 / sqrt(2 * 8)
    x, y = torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([[3.0], [1.0], [5.0]])
    assert linear_cka(x, y) == pytest.approx(0.25)


@WIDTHS
def test_debiased_cka_agrees_with_pytorch_cka(p, q):
    x, y = related(p, q)
    assert debiased_cka(x, y) == pytest.approx(pytorch_cka.cka_from_features(x, y).item(), rel=1e-9)


def test_hsic_agrees_with_pytorch_cka_also_below_zero():
    signs = set()
    for seed in range(8):
        k, m = (values @ values.T for values in (related(4, 4, seed=seed)[0], related(6, 6, seed=seed + 50)[0]))
        expected = [value.item() for value in pytorch_cka.hsic(k[None], m[None])]
        assert hsic(k, m).tolist() == pytest.approx(expected, rel=1e-9)
        signs.add(expected[0] < 0)
    assert signs == {True, False}


@BOTH
@WIDTHS
def test_rotation_scale_and_shift_change_nothing(similarity, p, q):
    x, y = related(p, q)
    moved = 0.3 * y @ orthogonal(q) - 5
    assert similarity(x, moved) == pytest.approx(similarity(x, y), rel=1e-9)
    assert similarity(y, moved) == pytest.approx(1, abs=1e-9)
    assert similarity(y, moved) <= 1


@BOTH
def test_an_unequal_scale_of_features_changes_it(similarity):
    x, _ = related(5, 5)
    assert similarity(x, x * torch.tensor([1, 5, 1, 1, 0.2])) < 0.95


def test_unrelated_features_are_unlike_only_without_the_bias():
    draw = torch.Generator().manual_seed(3)
    x, y = (torch.randn(50, 400, generator=draw) for _ in range(2))
    assert linear_cka(x, y) > 0.8
    assert abs(debiased_cka(x, y)) < 0.1


@BOTH
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("width", [3, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_never_change_have_no_cka(similarity, constant, width, dtype):
    x = related(4, 4)[0].to(dtype)
    flat = torch.full((20, width), constant, dtype=dtype)
    assert all(math.isnan(value) for value in (similarity(x, flat), similarity(flat, x), similarity(flat, flat)))
    # beside others they do not count
    assert similarity(x, torch.cat([x, flat], 1)) == pytest.approx(1, abs=1e-9)


@BOTH
def test_features_that_are_not_finite_have_no_cka(similarity):
    x, y = related(4, 6)
    for broken in (math.nan, math.inf):
        y[3, 2] = broken
        assert math.isnan(similarity(x, y))


def test_the_argument_is_left_alone():
    x, y = related(4, 6)
    before = x.clone()
    debiased_cka(x, y)
    linear_cka(x, y)
    assert torch.equal(x, before)


def test_maps_are_taken_as_flat_features():
    maps = torch.randn(9, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    flat = maps.numpy().reshape(9, 18).astype(float)
    expected = (flat - flat.mean(0)) @ (flat - flat.mean(0)).T
    np.testing.assert_allclose(gram(maps), expected, atol=1e-6)
    np.testing.assert_allclose(gram(maps.contiguous(memory_format=torch.channels_last)), expected, atol=1e-6)


def test_too_few_images_are_an_error_of_one_line():
    x, y = related(4, 4, images=3)
    with pytest.raises(LayerLotteryError, match=r"^images: debiased CKA was given 3; it takes 4 or more$"):
        debiased_cka(x, y)


def test_terms_of_zero_have_no_cka():
    assert math.isnan(cka_of(torch.zeros(3, dtype=torch.float64)))
    assert cka_of(torch.tensor([3.0, 4.0, 9.0])) == pytest.approx(0.5)
