"""Ranks of maps where a factorisation stands in for singular values: they are those of NumPy and PyTorch."""

import numpy as np
import pytest
import torch

from layerlottery.criteria import activations
from layerlottery.criteria.activations import _surely_full_rank, relative_rank

EPSILON = float(np.finfo(np.float32).eps)
SHAPES = pytest.mark.parametrize("shape", [(8, 8), (32, 32), (6, 15), (15, 6), (1, 7), (1, 1)])


def ranks(maps):
    """Ranks (N, C) as whole numbers."""
    return (relative_rank(maps) * max(maps.shape[2:])).round().int()


def with_singular_values(values, shape, seed=0):
    """A float32 matrix of this shape between random rotations."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((side, side)))[0] for side in shape)
    middle = np.zeros(shape)
    np.fill_diagonal(middle, values)
    return torch.from_numpy((left @ middle @ right).astype(np.float32))


def drawn(shape, count=40, seed=0):
    """Maps as behind a ReLU, some with dead rows or equal columns, some all zero."""
    maps = torch.randn(count, 3, *shape, generator=torch.Generator().manual_seed(seed)).relu_()
    maps[::4, 0, : shape[0] // 2] = 0
    maps[::3, 1, :, 0] = maps[::3, 1, :, -1]
    maps[::5, 2] = 0
    return maps


@SHAPES
def test_drawn_maps_against_numpy(shape):
    maps = drawn(shape)
    assert ranks(maps).tolist() == np.linalg.matrix_rank(maps.numpy()).tolist()


@SHAPES
def test_planted_ranks(shape):
    most = min(shape)
    planted = list(range(most + 1))
    maps = torch.stack([with_singular_values([1.0] * rank + [0.0] * (most - rank), shape, rank) for rank in planted])
    assert ranks(maps[:, None]).flatten().tolist() == planted


@pytest.mark.parametrize(("times", "found"), [(0.1, 7), (0.5, 7), (1.5, 8), (3.0, 8), (30.0, 8)])
def test_smallest_singular_value_around_the_threshold(times, found):
    smallest = times * 8 * EPSILON
    maps = torch.stack([with_singular_values([1.0] * 7 + [smallest], (8, 8), seed) for seed in range(20)])[:, None]
    assert set(ranks(maps).flatten().tolist()) == {found}


@SHAPES
def test_nothing_is_sure_that_singular_values_deny(shape):
    most, longest = min(shape), max(shape)
    tried = np.logspace(-2, 2, 200) * longest * EPSILON
    larger = np.linspace(1, 0.1, most)[: most - 1]
    matrices = torch.stack([with_singular_values([*larger, value], shape, i) for i, value in enumerate(tried)])
    sure = _surely_full_rank(matrices)
    exact = np.linalg.svd(matrices.double().numpy(), compute_uv=False)
    assert (exact[sure, -1] > longest * EPSILON * exact[sure, 0]).all()
    assert (torch.linalg.matrix_rank(matrices)[sure] == most).all()
    if most > 1:
        # neither all nor none: the smallest values are below the threshold, the largest far above it
        assert not sure[:50].any()
        assert sure[-25:].all()


def test_most_drawn_maps_are_sure():
    maps = torch.randn(500, 32, 32, generator=torch.Generator().manual_seed(1)).relu_()
    assert _surely_full_rank(maps).float().mean() > 0.98


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_ranks_do_not_depend_on_scale(scale):
    maps = drawn((8, 8))
    assert ranks(maps * scale).tolist() == ranks(maps).tolist()


def test_maps_in_double_precision_have_their_own_threshold():
    small = torch.diag(torch.tensor([1.0, 1.0, 1e-10], dtype=torch.float64)).view(1, 1, 3, 3)
    assert ranks(small).item() == 3
    assert ranks(small.float()).item() == 2


@pytest.mark.parametrize("values", [1, 200, 2**30])
def test_groups_of_any_size_and_any_layout(values, monkeypatch):
    maps = drawn((8, 8), count=11)
    expected = np.linalg.matrix_rank(maps.numpy()).tolist()
    monkeypatch.setattr(activations, "CACHED_VALUES", values)
    assert ranks(maps).tolist() == expected
    assert ranks(maps.contiguous(memory_format=torch.channels_last)).tolist() == expected
