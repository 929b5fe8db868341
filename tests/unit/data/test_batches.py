"""Batched augmentation against per-image references, and an order that follows from seed and epoch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from layerlottery.data.batches import Normalizer, augment, epoch_order, random_crop, random_flip


def images(count=40, channels=3, size=8):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def test_order_is_a_permutation_of_seed_and_epoch():
    order = epoch_order(100, seed=4, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, epoch_order(100, seed=4, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=4, epoch=3))
    assert not torch.equal(order, epoch_order(100, seed=5, epoch=2))


@pytest.mark.parametrize("padding", [1, 4])
def test_every_crop_is_a_window_of_the_padded_image(padding):
    original = images()
    cropped = random_crop(original, padding, torch.Generator().manual_seed(0))
    corners = set()
    for before, after in zip(original, cropped, strict=True):
        padded = F.pad(before, (padding,) * 4)
        found = [
            (y, x)
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
            if torch.equal(padded[:, y : y + 8, x : x + 8], after)
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 5


def test_flips_are_mirrors_of_about_half():
    original = images(400)
    flipped = random_flip(original, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(a.flip(2), b) for a, b in zip(original, flipped, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(original, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_augmentation_depends_on_seed_epoch_and_batch_alone():
    chosen = {"crop": 2, "flip": True, "seed": 1, "epoch": 2, "batch": 3}
    first = augment(images(), **chosen)
    torch.rand(5)
    assert torch.equal(first, augment(images(), **chosen))
    for key in ("seed", "epoch", "batch"):
        assert not torch.equal(first, augment(images(), **(chosen | {key: 9})))
    assert torch.equal(images(), augment(images(), **(chosen | {"crop": 0, "flip": False})))


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalisation(channels_last):
    mean, std = [0.5, 0.25, 0.1], [0.2, 0.3, 0.4]
    normalize = Normalizer(mean, std, device=torch.device("cpu"), channels_last=channels_last)
    expected = (images().numpy() / 255 - np.array(mean).reshape(1, 3, 1, 1)) / np.array(std).reshape(1, 3, 1, 1)
    found = normalize(images())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
