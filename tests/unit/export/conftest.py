"""Small tickets, other processes to try their files in, and a trained network of a benchmark."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.unit.trained import made
from torch import nn
from torchvision.models import VisionTransformer

import layerlottery

__all__ = ["made"]

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
