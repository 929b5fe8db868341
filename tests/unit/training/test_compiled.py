"""When a training is compiled, and that a compiled one gives the same."""

import shutil

import pytest
import torch

from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.feed import Resident
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.training import loop
from layerlottery.training.checkpoint import Progress
from layerlottery.training.compiled import LEAST_STEPS, compiled, repays
from layerlottery.training.loop import Trainer, TrainingData
from layerlottery.training.recipe import make_optimizer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SETTINGS = TrainingSettings(epochs=2, batch_size=20, learning_rate=0.02, schedule="cosine", crop=1, precision="float32")

# averages take the network's place for each evaluation, in the memory that the compiled pass reads
MODERN = SETTINGS.model_copy(
    update={"optimizer": "adamw", "nesterov": False, "learning_rate": 0.002, "clip_norm": 0.5, "ema_decay": 0.5}
)


@pytest.mark.parametrize(
    ("choice", "device", "steps", "expected"),
    [
        ("auto", CUDA, LEAST_STEPS, True),
        ("auto", CUDA, LEAST_STEPS - 1, False),
        ("auto", CPU, 10 * LEAST_STEPS, False),
        ("always", CPU, 1, True),
        ("never", CUDA, 10 * LEAST_STEPS, False),
    ],
)
def test_who_is_compiled(choice, device, steps, expected):
    assert repays(TrainingSettings(compile=choice), device, steps=steps) is expected


def trained(settings):
    """State and curve after a training on noise; 50 images, so that the last batch is a smaller one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(50) % 10
    # in float64, so that what is left of rounding cannot grow to be mistaken for a difference
    held = Resident(images, labels)
    data = TrainingData(held, held, lambda given: given.double().sub(127).div(60))
    model = CifarResNet(NetworkSettings(depth=8, width=2), channels=1, classes=10)
    initialize(model, 0)
    optimizer = make_optimizer(model.double(), settings)
    progress = Progress()
    Trainer(model, optimizer, data, settings, 0, lambda now: None).run(progress)
    return dict(model.state_dict()), [row | {"seconds": 0.0} for row in progress.curve]


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("aot_eager", marks=pytest.mark.slow),
        pytest.param(
            "inductor", marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no g++")]
        ),
    ],
)
@pytest.mark.parametrize("settings", [SETTINGS, MODERN], ids=["default", "modern"])
def test_a_compiled_training_gives_the_same(settings, backend, monkeypatch):
    expected, curve = trained(settings)
    chosen = []

    def choose(model, device):
        chosen.append(device)
        return compiled(model, device, backend=backend)

    monkeypatch.setattr(loop, "compiled", choose)
    found, also = trained(settings.model_copy(update={"compile": "always"}))
    assert chosen == [CPU]
    # the logits are rounded to float32 on their way to the loss
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert [row["train_loss"] for row in also] == pytest.approx([row["train_loss"] for row in curve], rel=1e-5)
