"""Networks that answer with more than logits in training: auxiliary classifiers are left alone."""

import pyarrow.parquet as pq
import pytest
import torch

from layerlottery.config.data import Digits
from layerlottery.config.networks import CustomSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.network import training_memory
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network
from layerlottery.training.train import train

CODE = """
from collections import namedtuple
import torch
from torch import nn

Both = namedtuple("Both", "aux logits")

class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(x).relu()

class Net(nn.Module):
    def __init__(self, channels, classes, kind):
        super().__init__()
        self.stem, self.steps = nn.Conv2d(channels, 4, 3), nn.Sequential(Step(), Step())
        self.head = nn.Linear(4, classes)
        self.kind, self.side = kind, nn.Linear(4, classes)

    def forward(self, x):
        y = self.stem(x)
        logits, side = self.head(self.steps(y).mean((2, 3))), self.side(y.mean((2, 3)))
        if not self.training or self.kind == "none":
            return logits
        answers = {"tuple": (logits, side), "named": Both(side, logits), "dict": {"aux": side, "logits": logits}}
        answers["loss"] = {"loss": side.sum()}
        return answers[self.kind]

def net(*, channels, classes, image_size, kind):
    return Net(channels, classes, kind)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("auxiliary")
    (made / "mine.py").write_text(CODE)
    prepare(Digits(source="digits", train_size=60, test_size=40), made)
    return made


@pytest.fixture(scope="module")
def trained(folder):
    """Learning curve, trained and initial network of each kind."""
    found = {}
    recipe = TrainingSettings(epochs=2, batch_size=20, learning_rate=0.1, crop=0, flip=False)
    for kind in ("none", "tuple", "named", "dict"):
        network = CustomSettings(family="custom", function=f"{folder}/mine.py:net", options={"kind": kind})
        initialize_network(folder / "facts.json", folder / f"{kind}.safetensors", network, seed=0)
        output, cpu = folder / kind, torch.device("cpu")
        train(folder / f"{kind}.safetensors", folder / "facts.json", output, recipe, seed=0, device=cpu)
        curve = pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()
        found[kind] = (
            curve,
            load_network(output / "weights.safetensors")[0],
            load_network(folder / f"{kind}.safetensors")[0],
        )
    return found


@pytest.mark.parametrize("kind", ["tuple", "named", "dict"])
def test_the_logits_are_trained_as_without_auxiliary_classifiers(kind, trained):
    curve, model, initial = trained[kind]
    alone, plain, _ = trained["none"]
    assert curve == alone
    assert all(torch.equal(one, plain.state_dict()[name]) for name, one in model.state_dict().items())
    assert torch.equal(model.side.weight, initial.side.weight)
    assert not torch.equal(model.head.weight, initial.head.weight)


@pytest.mark.parametrize("kind", ["tuple", "named", "dict"])
def test_a_step_has_a_cost_all_the_same(kind, trained):
    _, model, _ = trained[kind]
    costs = [training_memory(one, (1, 8, 8), batch_size=4) for one in (model, trained["none"][1])]
    assert costs[0] == costs[1]


def test_a_network_without_logits_in_training_is_refused_before_it(tmp_path, folder):
    network = CustomSettings(family="custom", function=f"{folder}/mine.py:net", options={"kind": "loss"})
    with pytest.raises(LayerLotteryError, match=r"mine.py:net: its network answers two images with dict in training; "):
        initialize_network(folder / "facts.json", tmp_path / "initial.safetensors", network, seed=0)
    assert not (tmp_path / "initial.safetensors").exists()
