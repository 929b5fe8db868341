"""The examples of docs/extending.md, and a file of the test's own."""

import runpy
from pathlib import Path

import pytest
from tests.workflow.project import ROOT

from layerlottery.config import extensions
from layerlottery.config.data import CustomImages
from layerlottery.config.networks import CustomSettings
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network

EXAMPLES = ROOT / "docs" / "examples"


def example(file, name):
    """A function of an example."""
    return runpy.run_path(str(EXAMPLES / file))[name]


def told(call, *given, **named):
    """The one line of a failure."""
    with pytest.raises(LayerLotteryError) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _nothing_trusted(monkeypatch):
    # first set, so that what a test trusts is forgotten after it
    monkeypatch.setenv(extensions.TRUSTED, "")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write mine.py in the working directory; its function `own` is what comes back."""
    monkeypatch.chdir(tmp_path)

    def put(code):
        Path("mine.py").write_text(code)
        return "mine.py:own"

    return put


@pytest.fixture(scope="session")
def network():
    return CustomSettings(
        family="custom", function=f"{EXAMPLES / 'network.py'}:build", options={"width": 8, "depth": 3}
    )


@pytest.fixture(scope="session")
def stripes(tmp_path_factory, network):
    """The folder of the prepared example set, with θ0 of the example network for it."""
    folder = tmp_path_factory.mktemp("stripes")
    function = f"{EXAMPLES / 'dataset.py'}:stripes"
    prepare(CustomImages(source="custom", function=function, options={"images": 80}, train_size=60), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(extensions.TRUSTED, "")
        initialize_network(folder / FACTS, folder / "weights.safetensors", network, seed=3)
    return folder


@pytest.fixture
def dense(stripes, network):
    """The example network with its θ0."""
    extensions.trust(network)
    return load_network(stripes / "weights.safetensors")[0]
