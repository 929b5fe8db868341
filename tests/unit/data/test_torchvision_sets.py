"""torchvision's sets: its arrays in our layout, one line when the files are not there. No network."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import TorchvisionImages

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)


def load(place, name, download=False):
    return load_torchvision(TorchvisionImages(source="torchvision", set=name, location=str(place), download=download))


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST"])
def test_an_empty_place_without_download_is_one_clear_line(tmp_path, name):
    with pytest.raises(LayerLotteryError, match=f"{name} is not there or is damaged, and download is false") as caught:
        load(tmp_path, name)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_failed_download_gives_its_reason(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise URLError("name or service\nnot known")

    monkeypatch.setattr(datasets.CIFAR10, "download", fail)
    with pytest.raises(LayerLotteryError, match=r"CIFAR10 could not be fetched .*URLError.*name or service not known"):
        load(tmp_path, "CIFAR10", download=True)


class FakeCifar:
    """Holds (N, H, W, C) and a list of labels, like torchvision's CIFAR10."""

    classes = ("plane", "car")

    def __init__(self, root, train, download):
        self.data = PIXELS if train else PIXELS[:1]
        self.targets = [1, 0, 1, 0] if train else [1]


class FakeSvhn:
    """Holds (N, C, H, W) and an array of labels, and names no classes."""

    def __init__(self, root, split, download):
        count = {"train": 4, "test": 1}[split]
        self.data = PIXELS.transpose(0, 3, 1, 2)[:count]
        self.labels = np.array([9, 0, 1, 2])[:count]


class FakeFashion:
    """Holds (N, H, W) and labels as tensors."""

    classes = ("coat", "bag")

    def __init__(self, root, train, download):
        count = 4 if train else 1
        self.data = torch.from_numpy(PIXELS[:count, ..., 0].copy())
        self.targets = torch.tensor([0, 1, 1, 0][:count])


@pytest.mark.parametrize(
    ("name", "fake", "images", "labels", "classes"),
    [
        ("CIFAR10", FakeCifar, PIXELS.transpose(0, 3, 1, 2), [1, 0, 1, 0], ("plane", "car")),
        ("SVHN", FakeSvhn, PIXELS.transpose(0, 3, 1, 2), [9, 0, 1, 2], tuple("0123456789")),
        ("FashionMNIST", FakeFashion, PIXELS[:, None, ..., 0], [0, 1, 1, 0], ("coat", "bag")),
    ],
)
def test_arrays_become_channels_first(tmp_path, monkeypatch, name, fake, images, labels, classes):
    monkeypatch.setattr(datasets, name, fake)
    decoded = load(tmp_path, name)
    assert np.array_equal(decoded.train.images, images)
    assert decoded.train.images.dtype == np.uint8
    assert decoded.train.labels.tolist() == labels
    assert decoded.train.labels.dtype == np.int64
    assert (len(decoded.train), len(decoded.test), decoded.classes) == (4, 1, classes)
