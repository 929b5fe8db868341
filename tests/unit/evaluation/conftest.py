"""A small prepared set and weights for it, made by the package itself, once for all tests of the stages."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from layerlottery.config.data import Digits
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS, PreparedSet
from layerlottery.networks.resnet import initialize
from layerlottery.networks.weights import build, save_network


class Bench(NamedTuple):
    """What the stages read: the facts file of a prepared set and the weights of a network for it."""

    data: Path
    weights: Path

    @property
    def prepared(self):
        return PreparedSet.open(self.data)


@pytest.fixture(scope="session")
def cpu():
    return torch.device("cpu")


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(Digits(source="digits", train_size=50, test_size=60), folder)
    weights = folder / "weights.safetensors"
    architecture = {"network": {"depth": 8, "width": 4}, "channels": 1, "classes": 10, "removed_blocks": []}
    network = build(architecture)
    initialize(network, seed=3)
    save_network(weights, network, {"architecture": architecture}, config_hash="0" * 64)
    return Bench(folder / FACTS, weights)
