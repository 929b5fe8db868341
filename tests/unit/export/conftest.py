"""Small tickets, other processes to try their files in, and a trained network of a benchmark."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

import layerlottery
from layerlottery import paths
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.results import ProfileSettings
from layerlottery.config.studies import Run
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.profile import profile
from layerlottery.criteria.score import score
from layerlottery.data.prepare import prepare
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.compare import compare
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.outliers import outliers
from layerlottery.evaluation.shift import shift
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.prune import prune
from layerlottery.training.train import train

# a process that has no layerlottery, or no torch, and that ends when anything is unpickled
ALONE = """
import sys

for name in {without!r}:
    sys.modules[name] = None

def refuse(event, arguments):
    if event == "pickle.find_class":
        raise SystemExit("a pickle was loaded")

sys.addaudithook(refuse)
"""


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    """A network of somebody's own: three equal blocks of 4 channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4), Block(4))
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


def stirred(model):
    """The model with parameters and running statistics that are no round numbers."""
    generator = torch.Generator().manual_seed(3)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.3 * torch.rand(tensor.shape, generator=generator) + 0.05)
    return model


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ticket(images):
    return layerlottery.find_ticket(stirred(Net()), (images, torch.arange(4)), "l1", remove=1)


@pytest.fixture
def transformer(images):
    """A ticket of a vision transformer that lost an MLP and an attention, both inside blocks that stay."""
    model = VisionTransformer(
        image_size=8, patch_size=4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    labels = torch.arange(4)
    found = layerlottery.find_ticket(stirred(model), (images, labels), "random", remove=3, branches=True, seed=4)
    assert {name.rpartition(".")[2] for name in found.removed_blocks} == {"mlp", "self_attention"}
    return found


@pytest.fixture
def alone(tmp_path):
    """Run code in another process without some packages; it reads images.npy and writes logits.npy."""

    def run(code, images, without=("layerlottery",)):
        np.save(tmp_path / "images.npy", images)
        text = ALONE.format(without=without) + "import numpy\nimages = numpy.load('images.npy')\n" + code
        text += "\nnumpy.save('logits.npy', logits)\n"
        ran = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return torch.from_numpy(np.load(tmp_path / "logits.npy"))

    return run


DENSE = Run("digits", "tiny", 0)
TICKET = Run("digits", "tiny", 0, "layers", "l1", 0, "init", 2, "0")
WEIGHTS = Run("digits", "tiny", 0, "weights", "l1", 0, "init", 1, "0")
CPU = torch.device("cpu")
RECIPE = TrainingSettings(epochs=1, batch_size=30)


class Stages:
    """A results folder, and the stages that fill it."""

    def __init__(self, root):
        self.root = root
        self.data = self.file(paths.prepared, paths.DATASET.format(dataset="digits"))
        self.corrupted = self.data.with_name("corrupted_images.npy"), self.data.with_name("corrupted.json")
        self.outliers = self.data.with_name("outlier_images.npy"), self.data.with_name("outliers.json")
        prepare(Digits(source="digits", train_size=60, test_size=30, held_out=10), self.data.parent)
        names = ["contrast", "fog", "spatter"]
        corrupt(self.data, *self.corrupted, CorruptionSettings(names=names, severities=[2, 3], images=20))
        outliers(self.data, *self.outliers, OutlierSettings(images=20))
        self.initial = self.file(paths.initial_weights, DENSE.folder)
        initialize_network(self.data, self.initial, NetworkSettings(depth=20, width=2), seed=0)

    def file(self, name, folder):
        return self.root / name(folder)

    def pruned(self, run, name, **budget):
        scores = self.file(name, run.scored)
        score(self.initial, self.data, scores, CRITERIA["l1"], structure=run.structure, seed=0, device=CPU)
        start, facts = self.file(paths.initial_weights, run.folder), self.file(paths.ticket_facts, run.folder)
        prune(self.initial, scores, start, facts, removed=run.removed, structure=run.structure, **budget)

    def trained(self, run):
        start, folder = self.file(paths.initial_weights, run.folder), self.root / run.folder
        train(start, self.data, folder, RECIPE, seed=0, device=CPU)
        weights, dense = (self.file(paths.trained_weights, one.folder) for one in (run, DENSE))
        tested, detected = (self.file(name, run.folder) for name in (paths.shift, paths.detection))
        more = dict(zip(("outlier_images", "outlier_facts"), self.outliers, strict=True))
        more |= {"output_detection": detected}
        shift(weights, self.data, *self.corrupted, tested, ShiftSettings(), device=CPU, **more)
        attacks = AttackSettings(
            attacks=["fgsm", "transfer", "fmn_l2"], epsilons=[8.0], images=20, pgd_steps=2, norm_steps=5
        )
        attack(weights, self.data, self.file(paths.attack, run.folder), attacks, device=CPU, dense=dense)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A results folder with a dense network, a ticket and a network of masked weights, trained and tested."""
    stages = Stages(tmp_path_factory.mktemp("made") / "results")
    stages.pruned(TICKET, paths.scores)
    budget = stages.file(paths.scores, TICKET.scored)
    stages.pruned(WEIGHTS, paths.element_scores, budget=budget)
    for run in (DENSE, TICKET, WEIGHTS):
        stages.trained(run)
    weights, dense = (stages.file(paths.trained_weights, run.folder) for run in (TICKET, DENSE))
    compared = stages.file(paths.similarity, TICKET.folder)
    compare(weights, dense, stages.data, compared, CompareSettings(), device=CPU)
    facts = [stages.file(paths.ticket_facts, run.folder) for run in (TICKET, WEIGHTS)]
    once = ProfileSettings(rounds=1, min_seconds=0.001)
    output = stages.file(paths.profile, DENSE.folder)
    profile(stages.initial, facts, stages.data, output, once, batch_size=30, threads=1, device=CPU)
    return stages.root
