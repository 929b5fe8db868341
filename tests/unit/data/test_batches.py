"""An order that follows from seed and epoch, and normalised images."""

import numpy as np
import pytest
import torch

from layerlottery.data.batches import Normalizer, epoch_order


def images(count=40, channels=3, size=8):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def test_order_is_a_permutation_of_seed_and_epoch():
    order = epoch_order(100, seed=4, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, epoch_order(100, seed=4, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=4, epoch=3))
    assert not torch.equal(order, epoch_order(100, seed=5, epoch=2))


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalisation(channels_last):
    mean, std = [0.5, 0.25, 0.1], [0.2, 0.3, 0.4]
    normalize = Normalizer(mean, std, device=torch.device("cpu"), channels_last=channels_last)
    expected = (images().numpy() / 255 - np.array(mean).reshape(1, 3, 1, 1)) / np.array(std).reshape(1, 3, 1, 1)
    found = normalize(images())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
