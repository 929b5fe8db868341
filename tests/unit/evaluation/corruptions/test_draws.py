"""Random operations with given draws: the plain version with the same draws, within one grey level."""

import cv2
import numpy as np
import pytest
import torch
from tests.unit.evaluation.corruptions import plain

from layerlottery.evaluation.corruptions import CONSTANTS, blur, geometry, noise, spatter, weather

SEVERITIES = (1, 2, 3, 4, 5)
SHAPES = [(32, 3), (32, 1), (8, 1)]


@pytest.fixture(params=SHAPES, ids=str)
def images(request):
    return plain.scenes(16, *request.param)


def normal_layers(images):
    return np.random.default_rng(1).normal(size=(len(images), 1, *images.shape[2:]))


def agree(name, severity, images, corrupted, draws):
    expected = plain.each(images, lambda image, place: plain.PLAIN[name](image, severity, *draws(place)))
    distance = np.abs(corrupted.numpy().astype(int) - expected)
    assert distance.max() <= 1
    assert np.mean(distance > 0) <= 0.01


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur(images, severity):
    angles = np.random.default_rng(2).uniform(-45, 45, len(images))
    radius, sigma = plain.CONSTANTS["motion_blur"][severity - 1]
    corrupted = blur.blurred_along(torch.from_numpy(images), angles, radius=radius, sigma=sigma)
    agree("motion_blur", severity, images, corrupted, lambda place: (angles[place],))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur(images, severity):
    sigma, rounds = plain.CONSTANTS["glass_blur"][severity - 1]
    side = images.shape[-1] - 2
    offsets = np.random.default_rng(3).integers(-1, 1, (len(images), rounds, side, side, 2))
    corrupted = blur.through_glass(torch.from_numpy(images), offsets, sigma=sigma)
    agree("glass_blur", severity, images, corrupted, lambda place: (offsets[place],))


def test_glass_of_64_pixels_copies_from_up_to_two_pixels_away():
    # distances in several directions: a pixel may be copied from one that has changed before
    images = plain.scenes(2, 64, 1)
    offsets = np.random.default_rng(4).integers(-2, 2, (2, 1, 60, 60, 2))
    moved = blur.through_glass(torch.from_numpy(images), offsets, sigma=0.1)
    for image, chosen, found in zip(images[:, 0], offsets[:, 0], moved[:, 0].numpy(), strict=True):
        expected = image.copy()
        for row in range(60):
            for column in range(60):
                y, x = 62 - row, 62 - column
                dx, dy = chosen[row, column]
                expected[y, x] = expected[y + dy, x + dx]
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow(images, severity):
    layers, angles = normal_layers(images), np.random.default_rng(5).uniform(-135, -45, len(images))
    corrupted = weather.snowed(
        torch.from_numpy(images), torch.from_numpy(layers), angles, *CONSTANTS["snow"][severity - 1]
    )
    agree("snow", severity, images, corrupted, lambda place: (layers[place, 0], angles[place]))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter(images, severity):
    layers = normal_layers(images)
    corrupted = spatter.spattered(
        torch.from_numpy(images), torch.from_numpy(layers), *CONSTANTS["spatter"][severity - 1]
    )
    agree("spatter", severity, images, corrupted, lambda place: (layers[place, 0],))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform(images, severity):
    rng, size = np.random.default_rng(6), images.shape[-1]
    strength, sigma, shift = np.array(plain.CONSTANTS["elastic_transform"][severity - 1]) * size
    shifts = rng.uniform(-shift, shift, (len(images), 3, 2))
    fields = rng.integers(-(2**20), 2**20, (len(images), 2, size, size), dtype=np.int32)
    moved = geometry.mapped(torch.from_numpy(images).float(), shifts)
    if strength:
        moved = geometry.displaced(moved, geometry.smooth(fields, sigma) * strength)
    agree("elastic_transform", severity, images, moved.add(0.001).byte(), lambda k: (shifts[k], fields[k] / 2**20))


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("decay", [3, 1.75])
def test_fractal_of_fog(size, decay):
    draws = np.random.default_rng(7).random((3, size * size - 1))
    found = weather.plasma(torch.from_numpy(draws), side=size, decay=decay).numpy()
    expected = np.stack([plain.plasma(row, size, decay) for row in draws])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def random_levels(size, share=0.1):
    rng = np.random.default_rng(size)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (size, size)).astype(np.uint8), (5, 5), 1)
    return np.where(smooth > np.quantile(smooth, 1 - share), smooth, 0).astype(np.uint8)


@pytest.mark.parametrize("size", [8, 33, 64])
@pytest.mark.parametrize("share", [0.05, 0.5, 1])
def test_edges_distances_and_histogram_are_opencvs(size, share):
    levels = random_levels(size, share)
    edges = spatter.edges(torch.from_numpy(levels)[None, None].int())
    expected = cv2.Canny(levels, 50, 150)
    assert np.array_equal(edges[0, 0].numpy() * 255, expected)
    if expected.any():
        distances = spatter.distances(edges)[0, 0].numpy() / 2**16
        np.testing.assert_allclose(distances, cv2.distanceTransform(255 - expected, cv2.DIST_L2, 5), atol=1e-4)
    few = levels // 13
    spread = spatter.equalized(torch.from_numpy(few)[None, None].int())
    assert np.array_equal(spread[0, 0].numpy(), cv2.equalizeHist(few))


def test_an_image_of_one_level_keeps_it():
    levels = torch.full((1, 1, 8, 8), 7, dtype=torch.int32)
    assert torch.equal(spatter.equalized(levels), levels)


def test_an_image_without_drops_stays():
    # at 8x8 this happens to every third image; the published code divides 0 by 0 there
    images = torch.from_numpy(plain.scenes(2, 8, 3))
    assert torch.equal(
        spatter.spattered(images, torch.full((2, 1, 8, 8), -9.0).double(), *CONSTANTS["spatter"][0]), images
    )


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_tables_of_noise_are_probabilities(name):
    table = noise.transitions(name, CONSTANTS[name][3])
    assert (table > -1e-12).all()
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_alias_table_holds_the_probabilities(name):
    # a column is hit once in 256: its chance stays there, the rest goes to its alias
    entries = noise.alias_table(name, CONSTANTS[name][3]).reshape(256, 256)
    chances, aliases = (entries >> 8) / 2**24, entries & 255
    found = chances / 256
    np.add.at(found, (np.arange(256)[:, None], aliases), (1 - chances) / 256)
    np.testing.assert_allclose(found, noise.transitions(name, CONSTANTS[name][3]), atol=1e-7)


def test_shot_noise_table_by_summing_the_poisson_distribution():
    table, photons, level = noise.transitions("shot_noise", CONSTANTS["shot_noise"][4]), 50, 90
    mean, expected, probability = level / 255 * photons, np.zeros(256), np.exp(-level / 255 * photons)
    for count in range(400):
        expected[int(min(count / photons, 1) * 255)] += probability
        probability *= mean / (count + 1)
    np.testing.assert_allclose(table[level], expected, atol=1e-12)
