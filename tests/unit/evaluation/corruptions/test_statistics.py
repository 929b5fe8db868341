"""Random operations as they draw by themselves: what they change is distributed as in the plain version.

For each of 200 images: mean, variance and power in four bands of the radial spectrum of (corrupted - original), of
both versions. The differences between them, over images, have mean 0 if both draw from the same distribution. Their
mean may be 4.5 standard errors away: a normal value is once in 150,000, and there are 11 operations, 3 severities
and 6 figures, 198 in all. Seeds are fixed, so that this chance is taken once, not at every run. To that come 0.05 grey
levels of the mean, for two orders of the same arithmetic truncate differently.
"""

from functools import cache

import numpy as np
import pytest
from tests.unit.evaluation.corruptions import plain

from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.evaluation.corruptions.frost import textures

IMAGES, ERRORS, ROUNDING = 200, 4.5, 0.05
RANDOM = tuple(plain.DRAWS)
# in place of 3; motion 4 differs by a radius that its sigma never reaches, the others from 3 to 4 by little
WRONG = {"motion_blur": 2, "frost": 5, "elastic_transform": 5}
BANDS = ((0.5, 2.5), (2.5, 5.5), (5.5, 10.5), (10.5, 23))


@cache
def images():
    return plain.scenes(IMAGES)


def radial(power):
    rows, columns = np.meshgrid(*[np.fft.fftfreq(32) * 32] * 2)
    frequency = np.hypot(rows, columns)
    return np.stack([power[..., (frequency >= low) & (frequency < high)].mean(axis=-1) for low, high in BANDS])


def figures(corrupted):
    """(6, N): mean, variance, and logarithms of the power in four bands."""
    change = corrupted.astype(float) - images()
    power = (np.abs(np.fft.fft2(change)) ** 2).mean(axis=1)
    return np.stack([change.mean(axis=(1, 2, 3)), change.var(axis=(1, 2, 3)), *np.log(radial(power) + 1)])


@cache
def plain_figures(name, severity):
    rng = np.random.default_rng(11)
    return figures(plain.each(images(), lambda image, _: plain.corrupted(image, name, severity, rng)))


def errors(name, severity, claimed):
    """How many standard errors the six figures are apart from the plain ones of the severity `claimed`."""
    corrupted = corrupt_images(images(), name=name, severity=severity, seed=3)
    apart = figures(corrupted) - plain_figures(name, claimed)
    allowed = np.array([ROUNDING, 0, 0, 0, 0, 0])
    return np.maximum(np.abs(apart.mean(axis=1)) - allowed, 0) / (apart.std(axis=1) / np.sqrt(IMAGES) + 1e-9)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", RANDOM)
def test_what_changes_is_distributed_as_in_the_plain_version(name, severity):
    assert errors(name, severity, severity).max() < ERRORS


@pytest.mark.parametrize("name", RANDOM)
def test_constants_of_another_severity_are_noticed(name):
    assert errors(name, WRONG.get(name, 4), claimed=3).max() > 1.5 * ERRORS


def test_noise_is_independent_between_pixels_channels_and_images():
    flat = np.full((60, 3, 16, 16), 128, dtype=np.uint8)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"):
        noise = corrupt_images(flat, name=name, severity=5, seed=0).astype(float)
        noise -= noise.mean()
        limit = 5 / np.sqrt(noise.size / 3)
        for one, other in (
            (noise[:, 0], noise[:, 1]),
            (noise[..., 1:], noise[..., :-1]),
            (noise[:, :, 1:], noise[:, :, :-1]),
            (noise[1:], noise[:-1]),
        ):
            assert abs(np.mean(one * other)) / noise.var() < limit


# of the published files, reduced to a fifth by OpenCV: mean and deviation of red, green and blue (0..1), and the
# slope of log power against log frequency (2..14 cycles) over 32x32 pieces under a Hann window
PUBLISHED_FROST = [
    ((0.304, 0.584, 0.650), (0.105, 0.064, 0.060), -1.28),
    ((0.787, 0.805, 0.841), (0.084, 0.087, 0.089), -0.85),
    ((0.787, 0.805, 0.841), (0.084, 0.087, 0.089), -0.85),
    ((0.541, 0.601, 0.649), (0.114, 0.114, 0.119), -0.44),
    ((0.440, 0.483, 0.528), (0.174, 0.169, 0.163), -1.13),
]


@pytest.mark.parametrize("number", range(5))
def test_frost_has_the_statistics_of_the_photographs(number):
    ice = textures(32, 3)[number].numpy() / 255
    means, deviations, slope = PUBLISHED_FROST[number]
    np.testing.assert_allclose(ice.mean(axis=(1, 2)), means, atol=0.005)
    np.testing.assert_allclose(ice.std(axis=(1, 2)), deviations, atol=0.005)
    pieces = np.stack([ice.mean(axis=0)[y : y + 32, x : x + 32] for y in range(0, 97, 8) for x in range(0, 97, 8)])
    window = np.outer(np.hanning(32), np.hanning(32))
    power = (np.abs(np.fft.fft2((pieces - pieces.mean(axis=(1, 2), keepdims=True)) * window)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(32) * 32] * 2))
    cycles = np.arange(2, 15)
    rings = [power[np.abs(frequency - cycle) <= 0.5].mean() for cycle in cycles]
    assert np.polyfit(np.log(cycles), np.log(rings), 1)[0] == pytest.approx(slope, abs=0.2)
