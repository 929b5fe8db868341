"""Batched augmentation against per-image references; draws that follow from seed, epoch and batch alone."""

import pytest
import torch
from scipy.stats import ks_2samp
from torch.nn import functional as F
from torchvision.transforms import v2

from layerlottery.config.training import TrainingSettings
from layerlottery.data.augmentation import (
    GROUP,
    augment,
    draw_boxes,
    rand_augment,
    random_crop,
    random_flip,
    random_resized_crop,
    resize_boxes,
)
from layerlottery.data.batches import Share

OFF = {"crop": 0, "flip": False}
RECIPES = {
    "crop": {"crop": 2, "flip": False},
    "flip": {"crop": 0, "flip": True},
    "resized": OFF | {"resized_crop": 0.3},
    "rand_augment": OFF | {"rand_augment": 2},
    "all": {"crop": 0, "flip": True, "resized_crop": 0.3, "rand_augment": 2},
}


def images(count=40, channels=3, size=8):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


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


@pytest.mark.parametrize("name", RECIPES)
def test_augmentation_depends_on_seed_epoch_and_batch_alone(name):
    settings, place = TrainingSettings(**RECIPES[name]), {"seed": 1, "epoch": 2, "batch": 3}
    first = augment(images(), settings, **place)
    assert (first.dtype, first.shape) == (torch.uint8, (40, 3, 8, 8))
    torch.rand(5)
    before = torch.get_rng_state()
    assert torch.equal(first, augment(images(), settings, **place))
    assert torch.equal(torch.get_rng_state(), before)
    for key in place:
        assert not torch.equal(first, augment(images(), settings, **(place | {key: 9})))
    assert not torch.equal(first, images())
    assert torch.equal(images(), augment(images(), TrainingSettings(**OFF), **place))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("bounds", [(0, 13), (13, 27), (27, 40), (20, 21)])
def test_a_share_of_a_batch_is_augmented_as_the_whole_is(name, bounds):
    settings, drawn = TrainingSettings(**RECIPES[name]), {"seed": 1, "epoch": 2, "batch": 3}
    whole, (first, last) = augment(images(), settings, **drawn), bounds
    share = augment(images()[first:last], settings, **drawn, share=Share(first, last, 40))
    assert torch.equal(share, whole[first:last])


def test_what_a_recipe_adds_leaves_the_other_draws_alone():
    place = {"seed": 1, "epoch": 2, "batch": 3}
    plain = augment(images(), TrainingSettings(crop=2), **place)
    both = augment(images(), TrainingSettings(crop=2, rand_augment=1), **place)
    groups = zip(plain.split(GROUP), both.split(GROUP), strict=True)
    # of 14 operations one is the identity, and others leave these images as they are
    assert not torch.equal(plain, both)
    assert any(torch.equal(one, other) for one, other in groups)


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_are_resized_as_each_alone_would_be(channels):
    pixels = images(60, channels, 9)
    boxes = draw_boxes(pixels, 0.1, torch.Generator().manual_seed(0))
    found = resize_boxes(pixels, boxes)
    for one, box, resized in zip(pixels, boxes.int().tolist(), found, strict=True):
        left, top, width, height = box
        cut = one[None, :, top : top + height, left : left + width].float()
        wanted = F.interpolate(cut, size=(9, 9), mode="bilinear", align_corners=False)[0]
        # exact halves may be rounded either way
        assert (resized.float() - wanted).abs().max() <= 0.5 + 1e-3


def test_the_whole_image_as_a_box_is_the_image():
    pixels = images(4)
    assert torch.equal(resize_boxes(pixels, torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(4, 4)), pixels)


def test_boxes_are_drawn_as_torchvision_draws_them():
    pixels = images(1, 1, 32).expand(4000, 1, 32, 32)
    ours = draw_boxes(pixels, 0.2, torch.Generator().manual_seed(0))
    assert bool((ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:] <= 32).all())
    torch.manual_seed(0)
    policy = v2.RandomResizedCrop(32, scale=(0.2, 1.0), antialias=True)
    drawn = [policy.make_params([pixels[:1]]) for _ in range(4000)]
    theirs = torch.tensor([[float(one[key]) for key in ("left", "top", "width", "height")] for one in drawn])
    for measure in (
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 2] / box[:, 3],
    ):
        assert ks_2samp(measure(ours), measure(theirs)).pvalue > 1e-3


def test_a_box_that_never_fits_is_the_whole_image(monkeypatch):
    monkeypatch.setattr("layerlottery.data.augmentation.ASPECT", (100.0, 200.0))
    boxes = draw_boxes(images(5), 0.9, torch.Generator().manual_seed(0))
    assert boxes.tolist() == [[0.0, 0.0, 8.0, 8.0]] * 5


def test_a_share_of_one_keeps_nearly_the_whole_image():
    resized = random_resized_crop(images(200), 1.0, torch.Generator().manual_seed(0))
    boxes = draw_boxes(images(200), 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(resized, resize_boxes(images(200), boxes))
    assert (boxes[:, 2] * boxes[:, 3]).min() >= 48


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("operations", "magnitude"), [(1, 9), (2, 9), (3, 30)])
def test_rand_augment_is_torchvision_s_group_by_group(operations, magnitude, channels):
    pixels = images(2 * GROUP + 3, channels, 16)
    found = rand_augment(pixels, operations, magnitude, seed=5)
    torch.manual_seed(5)
    policy = v2.RandAugment(operations, magnitude)
    start = 0
    for size in (GROUP, GROUP, 3):
        assert torch.equal(found[start : start + size], policy(pixels[start : start + size]))
        start += size
    assert start == len(found)
