"""The examples of docs/extending.md, and files of the test's own."""

import importlib.util
from pathlib import Path

import pytest

from layerlottery.config import extensions
from layerlottery.config.data import CustomImages
from layerlottery.config.networks import CustomSettings
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"


@pytest.fixture(autouse=True)
def _nothing_trusted(monkeypatch):
    # first set, so that what a test trusts is forgotten after it
    monkeypatch.setenv(extensions.TRUSTED, "")


@pytest.fixture(scope="session")
def examples():
    return EXAMPLES


@pytest.fixture(scope="session")
def example():
    def imported(name):
        spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return imported


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
    def settings(**options):
        options = {"width": 8, "depth": 3} | options
        return CustomSettings(family="custom", function=f"{EXAMPLES / 'network.py'}:build", options=options)

    return settings


@pytest.fixture(scope="session")
def stripes(tmp_path_factory, network):
    """The folder of the prepared example set, with θ0 of the example network for it."""
    folder = tmp_path_factory.mktemp("stripes")
    function = f"{EXAMPLES / 'dataset.py'}:stripes"
    prepare(CustomImages(source="custom", function=function, options={"images": 80}, train_size=60), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(extensions.TRUSTED, "")
        initialize_network(folder / FACTS, folder / "weights.safetensors", network(), seed=3)
    return folder


@pytest.fixture
def dense(stripes, network):
    """The example network with its θ0."""
    extensions.trust(network())
    return load_network(stripes / "weights.safetensors")[0]
