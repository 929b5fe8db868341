"""A worker and files for its commands."""

import pytest
from tests.unit.cli.handing_over import Owner

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepare import prepare
from layerlottery.networks.initialize import initialize_network


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    started = Owner(tmp_path_factory.mktemp("owner"))
    yield started
    started.end()
    assert not started.address.parent.exists()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    prepare(Digits(source="digits", train_size=40, test_size=20, shifted=[]), root / "data")
    data, weights = root / "data" / "facts.json", root / "initial.safetensors"
    initialize_network(data, weights, NetworkSettings(depth=8, width=8), seed=0)
    return ["--data", str(data), "--weights", str(weights)]
