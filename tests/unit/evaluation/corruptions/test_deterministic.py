"""Operations without randomness: within one grey level of the plain version, which is another library's."""

import colorsys
import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits
from tests.unit.evaluation.corruptions import plain

from layerlottery.evaluation.corruptions import corrupt_images

SEVERITIES = (1, 2, 3, 4, 5)
DETERMINISTIC = (
    *("gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "saturate"),
    *("pixelate", "jpeg_compression"),
)
ANY_SIZE = ("zoom_blur", "brightness", "contrast", "saturate", "pixelate", "jpeg_compression")
# two orders of the same arithmetic fall on either side of a whole number; more would be another operation
DIFFERING = 0.06


def digits(count=40):
    return np.minimum(load_digits().images[:count] * 16, 255).astype(np.uint8)[:, None]


def grey(value, shape=(1, 1, 8, 8)):
    return np.full(shape, value, dtype=np.uint8)


def apply(images, name, severity):
    return corrupt_images(images, name=name, severity=severity, seed=0)


def agrees(images, name, severity, differing=DIFFERING):
    expected = plain.each(images, lambda image, _: plain.PLAIN[name](image, severity))
    distance = np.abs(apply(images, name, severity).astype(int) - expected)
    assert distance.max() <= 1
    assert np.mean(distance > 0) <= differing


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_colour_images_agree(name, severity):
    agrees(plain.scenes(), name, severity)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_tiny_grey_images_agree(name, severity):
    # of zoom 1.06 nothing but roundings is left at 8x8: scipy's float32 sums of black and white truncate differently
    agrees(digits(), name, severity, differing=0.3 if name == "zoom_blur" else DIFFERING)


@pytest.mark.parametrize("size", [33, 64, 80])
@pytest.mark.parametrize("name", ANY_SIZE)
def test_other_sizes_agree(name, size):
    agrees(plain.scenes(3, size), name, 2)
    agrees(plain.scenes(3, size), name, 5)


def test_flat_images_lose_no_level():
    for name in ("gaussian_blur", "zoom_blur", "contrast", "pixelate"):
        for level in (0, 77, 200, 255):
            assert np.abs(apply(grey(level, (1, 3, 32, 32)), name, 5).astype(int) - level).max() <= 1


@pytest.mark.parametrize(("size", "sigma"), [(8, 0.7), (32, 0.7), (64, 1.4)])
def test_gaussian_blur_grows_with_images_above_32_pixels(size, sigma):
    image = plain.scenes(1, size, 1)
    expected = ndimage.gaussian_filter(image[0, 0] / 255, sigma, mode="nearest", truncate=4)
    assert np.array_equal(apply(image, "gaussian_blur", 3)[0, 0], (expected * 255).astype(np.uint8))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_of_64_pixels_is_a_disk_of_twice_the_radius(severity):
    radius, sigma = (2 * value for value in plain.CONSTANTS["defocus_blur"][severity - 1])
    rows, columns = np.mgrid[-7:8, -7:8]
    disk = (np.hypot(rows, columns) <= radius).astype(float)
    edge = np.array([math.exp(-(i**2) / (2 * sigma**2)) for i in range(-2, 3)])
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(edge, edge) / edge.sum() ** 2, mode="constant")
    image = plain.scenes(1, 64, 1)
    expected = ndimage.correlate(image[0, 0] / 255, kernel, mode="mirror")
    assert np.abs(apply(image, "defocus_blur", severity)[0, 0] - expected * 255).max() <= 1 + 1e-3


def test_blur_keeps_images_and_channels_apart():
    images = grey(0, (3, 3, 8, 8))
    images[1, 1, 4, 4] = 255
    for name in ("gaussian_blur", "defocus_blur", "zoom_blur"):
        corrupted = apply(images, name, 5)
        assert corrupted[1, 1, 3:6, 3:6].sum() > corrupted[1, 1, 4, 4] > 0
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
def test_saturation_agrees_with_colorsys(severity):
    images = np.random.default_rng(2).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    images[0, :, 0] = images[0, :1, 0]  # grey pixels, which turn reddish
    corrupted = apply(images, "saturate", severity)
    factor, added = plain.CONSTANTS["saturate"][severity - 1]
    for row, column in np.ndindex(8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*(images[0, :, row, column] / 255))
        expected = np.array(colorsys.hsv_to_rgb(hue, np.clip(saturation * factor + added, 0, 1), value)) * 255
        assert np.abs(corrupted[0, :, row, column] - expected).max() < 1 + 1e-6


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


def test_pixelate_has_three_strengths_on_tiny_images():
    # 8 pixels become 7, 7, 6, 6 and 5; which pixels fall together decides more than how many
    first, second, third, fourth, fifth = (apply(digits(), "pixelate", severity) for severity in SEVERITIES)
    assert np.array_equal(first, second)
    assert np.array_equal(third, fourth)
    assert len({image.tobytes() for image in (first, third, fifth)}) == 3
