"""The call that the stages use: names, shapes, determinism, order, strength, refusals."""

import numpy as np
import pytest
import torch
from tests.unit.evaluation.corruptions import plain

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS, MAIN_CORRUPTIONS
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.corruptions import CONSTANTS, OPERATIONS, corrupt_images

SEVERITIES = (1, 2, 3, 4, 5)
# saturation falls, then grows; pixelate, glass and the smoothing of elastic change in kind; spatter turns to mud
MONOTONE = [
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "zoom_blur", "gaussian_blur"),
    *("snow", "fog", "brightness", "contrast", "jpeg_compression"),
]


def apply(images, name, severity, seed=0, **options):
    return corrupt_images(images, name=name, severity=severity, seed=seed, **options)


def noise_images(count=4, channels=3, size=32):
    return np.random.default_rng(2).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def test_settings_name_every_operation():
    assert (*OPERATIONS,) == (*MAIN_CORRUPTIONS, *EXTRA_CORRUPTIONS)
    assert set(CONSTANTS) == set(OPERATIONS)


def test_constants_are_those_of_the_plain_version():
    for name, expected in plain.CONSTANTS.items():
        for found, one in zip(CONSTANTS[name], expected, strict=True):
            found, one = np.atleast_1d(found), np.atleast_1d(one)
            # glass: the distance, 1 throughout, is left out there; spatter: the kind of liquid
            same = found[[0, 2]] if name == "glass_blur" else found[:5] if name == "spatter" else found
            assert same.tolist() == one.tolist()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 8, 8), (2, 3, 32, 32), (1, 1, 33, 33), (1, 3, 65, 65)])
def test_shape_and_type_stay_and_the_source_is_untouched(name, shape):
    images = noise_images(*shape[:3])
    before = images.copy()
    images.flags.writeable = False
    corrupted = apply(images, name, 3)
    assert (corrupted.shape, corrupted.dtype) == (shape, np.uint8)
    assert np.array_equal(images, before)
    grey = name == "saturate" and shape[1] == 1  # which has no saturation
    assert np.array_equal(images, corrupted) == grey or shape[2] == 8


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_image_does_not_depend_on_its_company_nor_on_threads(name):
    images = plain.scenes(70)
    together = apply(images, name, 4, seed=9)
    picked = np.array([69, 3, 64])
    assert np.array_equal(apply(images[picked], name, 4, seed=9, indices=picked), together[picked])
    assert np.array_equal(apply(images[5:6], name, 4, seed=9, indices=[5]), together[5:6])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 3)
        assert np.array_equal(apply(images, name, 4, seed=9), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", plain.DRAWS)
def test_draws_follow_seed_place_and_severity(name):
    image = plain.scenes(1)
    images = np.repeat(image, 4, axis=0)
    first = apply(images, name, 4, seed=1)
    assert len({one.tobytes() for one in first}) == 4
    assert not np.array_equal(first, apply(images, name, 4, seed=2))
    assert not np.array_equal(first, apply(images, name, 4, seed=1, indices=[4, 5, 6, 7]))


def test_noise_of_severities_is_not_the_same_noise_scaled():
    images = np.full((4, 1, 16, 16), 128, dtype=np.uint8)
    first, other = (apply(images, "gaussian_noise", severity, seed=1) for severity in (4, 5))
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(first.size)


@pytest.mark.parametrize("name", MONOTONE)
def test_severity_grows(name):
    images = plain.scenes(60)
    errors = [np.mean((apply(images, name, severity).astype(float) - images) ** 2) for severity in SEVERITIES]
    assert 0 < errors[0] < errors[1] < errors[2] < errors[3] < errors[4]


def test_no_images_stay_none():
    assert apply(np.zeros((0, 3, 32, 32), dtype=np.uint8), "snow", 1).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "sepia"}, ["sepia", "gaussian_noise", "pixelate"]),
        ({"severity": 6}, ["contrast", "6", "1 to 5"]),
        ({"severity": 0}, ["contrast", "0", "1 to 5"]),
        ({"indices": [1, 2, 3]}, ["3 indices", "2 images"]),
    ],
)
def test_unknown_requests_are_refused_in_one_line(options, words):
    images = np.zeros((2, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(LayerLotteryError) as caught:
        corrupt_images(images, **({"name": "contrast", "severity": 1, "seed": 0} | options))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("shape", [(8, 8), (1, 2, 8, 8), (1, 1, 7, 7), (1, 3, 8, 9)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(LayerLotteryError, match="allowed: uint8"):
        apply(np.zeros(shape, dtype=np.uint8), "contrast", 1)


def test_float_images_are_refused():
    with pytest.raises(LayerLotteryError, match="float64"):
        apply(np.zeros((1, 1, 8, 8)), "contrast", 1)
