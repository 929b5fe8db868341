"""Networks trained together against the same networks trained alone."""

import copy

import pytest
import torch

from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.batches import Normalizer
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.masks import add_masks
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.training.checkpoint import Progress
from layerlottery.training.loop import StopFlag, Trainer, TrainingData
from layerlottery.training.recipe import make_optimizer
from layerlottery.training.together import Together

SETTINGS = TrainingSettings(
    epochs=2, batch_size=20, learning_rate=0.02, schedule="cosine", crop=1, precision="float32", weight_decay=5e-4
)
SEEDS = (3, 4, 5)


def network(seed, *, depth=8, masked=0):
    model = CifarResNet(NetworkSettings(depth=depth, width=2), channels=1, classes=10)
    if masked:
        add_masks(model, {"stage1.0.conv1": masked})
    initialize(model, seed)
    return model.double()


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)

    def split(count):
        images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
        return images, images.float().mean((1, 2, 3)).sub(100).div(6).clamp(0, 9).long()

    def normalize(images):
        # in float64, so that what is left of rounding cannot grow to be mistaken for a difference
        return images.double().sub(127).div(60)

    return TrainingData(*split(90), *split(30), normalize)


def alone(model, data, seed):
    trainer = Trainer(model, make_optimizer(model, SETTINGS), data, SETTINGS, seed, lambda now: None, StopFlag())
    progress = Progress()
    trainer.run(progress)
    return progress.curve


@pytest.mark.parametrize("masked", [0, 7])
def test_each_ends_where_it_ends_alone(data, masked, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    models = [network(seed, masked=masked) for seed in SEEDS]
    twins = copy.deepcopy(models)
    curves = Together(models, data, SETTINGS, SEEDS).run()
    for model, twin, seed, curve in zip(models, twins, SEEDS, curves, strict=True):
        expected = alone(twin, data, seed)
        torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-6, atol=1e-8)
        for found, wanted in zip(curve, expected, strict=True):
            assert found == pytest.approx({key: wanted[key] for key in found}, rel=1e-6)
    assert curves[0] != curves[1]


def test_in_float32_they_differ_by_rounding(data):
    short = SETTINGS.model_copy(update={"epochs": 1})
    plain = TrainingData(
        data.train_images, data.train_labels, data.test_images, data.test_labels,
        Normalizer([0.5], [0.25], device=torch.device("cpu"), channels_last=False),
    )  # fmt: skip
    models = [network(seed).float() for seed in SEEDS]
    twins = copy.deepcopy(models)
    Together(models, plain, short, SEEDS).run()
    for model, twin, seed in zip(models, twins, SEEDS, strict=True):
        optimizer = make_optimizer(twin, short)
        Trainer(twin, optimizer, plain, short, seed, lambda now: None, StopFlag()).run(Progress())
        torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-3, atol=1e-4)


def test_networks_of_two_architectures_are_an_error(data):
    with pytest.raises(LayerLotteryError, match="network 1 is of another architecture"):
        Together([network(0), network(0, depth=14)], data, SETTINGS, (0, 1))
    with pytest.raises(LayerLotteryError, match="2 networks and 1 seeds"):
        Together([network(0), network(1)], data, SETTINGS, (0,))


def test_a_diverging_network_says_so(data):
    wild = SETTINGS.model_copy(update={"learning_rate": 1e30, "precision": "float32"})
    with pytest.raises(LayerLotteryError, match=r"training\.learning_rate: the loss is (nan|inf) in epoch 1"):
        Together([network(seed) for seed in SEEDS], data, wild, SEEDS).run()
