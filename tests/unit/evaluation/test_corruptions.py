import colorsys
import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.corruptions import CONSTANTS, OPERATIONS, corrupt_images
from layerlottery.settings import CorruptionName

SEVERITIES = (1, 2, 3, 4, 5)


def digits(count=40):
    return np.minimum(load_digits().images[:count] * 16, 255).astype(np.uint8)[:, None]


def scenes(count=20, size=32, channels=3):
    """Smooth random fields with the falling spectrum of natural images."""
    noise = np.random.default_rng(5).normal(size=(count, channels, size, size))
    fields = sum(ndimage.gaussian_filter(noise, (0, 0, s, s)) * s**1.5 for s in (0.5, 1, 2, 4))
    return np.clip(128 + 60 * fields / fields.std(), 0, 255).astype(np.uint8)


def noise_images(count=4, channels=3, size=32):
    return np.random.default_rng(2).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def grey(value, shape=(1, 1, 8, 8)):
    return np.full(shape, value, dtype=np.uint8)


def apply(images, name, severity, seed=0, **options):
    return corrupt_images(images, name=name, severity=severity, seed=seed, **options)


def test_settings_name_every_operation():
    assert tuple(OPERATIONS) == tuple(CONSTANTS) == get_args(CorruptionName)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 32, 32), (2, 3, 8, 8), (1, 1, 33, 33)])
def test_shape_and_type_stay_and_the_source_is_untouched(name, shape):
    images = noise_images(shape[0], shape[1], shape[2])
    before = images.copy()
    corrupted = apply(images, name, 3)
    assert (corrupted.shape, corrupted.dtype) == (shape, np.uint8)
    assert np.array_equal(images, before)
    assert not np.array_equal(images, corrupted)


def squared_errors(images, name):
    return [np.mean((apply(images, name, severity).astype(float) - images) ** 2) for severity in SEVERITIES]


@pytest.mark.parametrize("name", OPERATIONS)
def test_severity_grows_on_colour_images(name):
    errors = squared_errors(scenes(), name)
    assert 0 < errors[0] < errors[1] < errors[2] < errors[3] < errors[4]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "pixelate"])
def test_severity_grows_on_tiny_grey_images(name):
    errors = squared_errors(digits(), name)
    assert 1 < errors[0] < errors[1] < errors[2] < errors[3] < errors[4]


def test_pixelate_has_three_strengths_on_tiny_images():
    # 8 pixels become 7, 7, 6, 6 and 5; which pixels fall together decides more than how many
    first, second, third, fourth, fifth = (apply(digits(), "pixelate", severity) for severity in SEVERITIES)
    assert np.array_equal(first, second)
    assert np.array_equal(third, fourth)
    assert len({image.tobytes() for image in (first, third, fifth)}) == 3


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_image_does_not_depend_on_its_company(name):
    images = noise_images(6)
    together = apply(images, name, 4)
    picked = np.array([5, 2])
    apart = apply(images[picked], name, 4, indices=picked)
    assert np.array_equal(apart, together[picked])


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_seed_same_images(name):
    images = noise_images()
    assert np.array_equal(apply(images, name, 2, seed=7), apply(images, name, 2, seed=7))


def test_noise_follows_seed_place_and_severity():
    images = grey(128, (2, 1, 8, 8))
    first = apply(images, "gaussian_noise", 4, seed=1)
    assert not np.array_equal(first, apply(images, "gaussian_noise", 4, seed=2))
    assert not np.array_equal(first[0], first[1])
    # the noise itself, scaled, would be the same if severities shared their random numbers
    other = apply(images, "gaussian_noise", 5, seed=1)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.3


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_the_published_spread(severity):
    images = grey(128, (100, 3, 32, 32))
    corrupted = apply(images, "gaussian_noise", severity).astype(float)
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1] * 255
    # truncation takes half a level off the mean and adds the variance of a uniform level
    five_errors = 5 * sigma / np.sqrt(images.size)
    assert corrupted.mean() == pytest.approx(127.5, abs=five_errors)
    assert corrupted.std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), abs=five_errors)


def test_noise_is_independent_between_pixels_and_channels():
    noise = apply(grey(128, (60, 3, 16, 16)), "gaussian_noise", 5).astype(float) - 127.5
    spread = noise.var()
    limit = 5 / np.sqrt(noise.size / 3)
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) / spread < limit
    assert abs(np.mean(noise[..., 1:] * noise[..., :-1])) / spread < limit
    assert abs(np.mean(noise[1:] * noise[:-1])) / spread < limit


def blurred(image, sigma):
    """Separable Gaussian of one (H, W) image by numpy alone."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, width, mode="edge")
        image = np.apply_along_axis(np.convolve, axis, padded, kernel, mode="valid")
    return image


@pytest.mark.parametrize(("size", "sigma"), [(8, 0.7), (32, 0.7), (64, 1.4)])
def test_blur_grows_with_images_above_32_pixels(size, sigma):
    image = noise_images(1, 1, size)
    corrupted = apply(image, "gaussian_blur", 3)[0, 0]
    own = blurred(image[0, 0] / 255, sigma)
    scipys = ndimage.gaussian_filter(image[0, 0] / 255, sigma, mode="nearest", truncate=4)
    assert np.array_equal(corrupted, (own * 255).astype(np.uint8))
    assert np.array_equal(corrupted, (scipys * 255).astype(np.uint8))


def test_blur_keeps_images_and_channels_apart():
    images = grey(0, (3, 3, 8, 8))
    images[1, 1, 4, 4] = 255
    corrupted = apply(images, "gaussian_blur", 5)
    assert corrupted[1, 1, 4, 5] > 0
    corrupted[1, 1] = 0
    assert not corrupted.any()


def test_brightness_of_grey_is_added_and_truncated():
    # 100 + 0.05 · 255 = 112.75, which rounding would make 113
    assert (apply(grey(100), "brightness", 1) == 112).all()
    assert (apply(grey(0), "brightness", 5) == 76).all()
    assert (apply(grey(250), "brightness", 1) == 255).all()


def test_brightness_of_colour_by_hand():
    pixel = np.array([200, 100, 50], dtype=np.uint8)
    corrupted = apply(np.broadcast_to(pixel[None, :, None, None], (1, 3, 8, 8)), "brightness", 1)
    # V goes from 200 to 212.75; the others keep their share of it: 106.375 and 53.1875
    assert corrupted[0, :, 0, 0].tolist() == [212, 106, 53]
    # black has no hue: grey of 12.75
    assert (apply(grey(0, (1, 3, 8, 8)), "brightness", 1) == 12).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_agrees_with_colorsys(severity):
    images = noise_images(1, 3, 16)
    corrupted = apply(images, "brightness", severity)
    added = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    for row, column in np.ndindex(16, 16):
        hue, saturation, value = colorsys.rgb_to_hsv(*(images[0, :, row, column] / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + added)))
        # two orders of the same arithmetic may fall on either side of a whole number
        low, high = np.floor(expected - 1e-9), np.floor(expected + 1e-9)
        assert ((corrupted[0, :, row, column] >= low) & (corrupted[0, :, row, column] <= high)).all()


def test_contrast_by_hand():
    image = grey(10)
    image[..., 4:] = 251
    corrupted = apply(image, "contrast", 2)
    # mean 130.5, half the distance: 70.25 and 190.75, which rounding would make 191
    assert (corrupted[..., :4] == 70).all()
    assert (corrupted[..., 4:] == 190).all()


def test_contrast_takes_the_mean_of_each_image_and_channel():
    images = grey(0, (2, 3, 8, 8))
    images[0, 1], images[1, 2] = 60, 200
    assert np.abs(apply(images, "contrast", 5).astype(int) - images).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("severity", "quality"), [(1, 80), (2, 65), (3, 58), (4, 50), (5, 40)])
def test_jpeg_agrees_with_a_round_trip(channels, severity, quality):
    images = scenes(2, channels=channels)
    for source, corrupted in zip(images, apply(images, "jpeg", severity), strict=True):
        held = io.BytesIO()
        pixels = source.transpose(1, 2, 0)
        Image.fromarray(pixels.squeeze(), "L" if channels == 1 else "RGB").save(held, format="jpeg", quality=quality)
        expected = np.array(Image.open(held)).reshape(pixels.shape)
        assert np.array_equal(corrupted.transpose(1, 2, 0), expected)


@pytest.mark.parametrize(("severity", "side"), [(1, 30), (2, 28), (3, 27), (4, 24), (5, 20)])
def test_pixelate_agrees_with_two_box_filters(severity, side):
    image = noise_images(1)
    held = Image.fromarray(image[0].transpose(1, 2, 0)).resize((side, side), Image.BOX).resize((32, 32), Image.BOX)
    assert np.array_equal(apply(image, "pixelate", severity)[0], np.array(held).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "sepia"}, ["sepia", "gaussian_noise", "pixelate"]),
        ({"severity": 6}, ["jpeg", "6", "1 to 5"]),
        ({"severity": 0}, ["jpeg", "0", "1 to 5"]),
        ({"indices": [1, 2, 3]}, ["3 indices", "2 images"]),
    ],
)
def test_unknown_requests_are_refused_in_one_line(options, words):
    with pytest.raises(LayerLotteryError) as caught:
        corrupt_images(grey(0, (2, 1, 8, 8)), **({"name": "jpeg", "severity": 1, "seed": 0} | options))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("shape", [(8, 8), (1, 2, 8, 8), (1, 1, 7, 8)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(LayerLotteryError, match="allowed is uint8"):
        apply(np.zeros(shape, dtype=np.uint8), "contrast", 1)


def test_float_images_are_refused():
    with pytest.raises(LayerLotteryError, match="float64"):
        apply(np.zeros((1, 1, 8, 8)), "contrast", 1)
