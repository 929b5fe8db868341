"""A checkpoint brings back all that a training holds, in whatever types the network has."""

import pytest
import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.training.averaging import AveragedWeights
from layerlottery.training.checkpoint import Progress, resume, save_checkpoint
from layerlottery.training.recipe import make_optimizer


class Counted(nn.Linear):
    """A layer with a state that is no tensor."""

    seen = 0

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def training(kind, settings):
    torch.manual_seed(0)
    model = nn.Sequential(Counted(3, 2), nn.BatchNorm1d(2)).to(kind)
    return model, make_optimizer(model, settings), AveragedWeights(model, settings.ema_decay)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_it_brings_back_every_bit(kind, optimizer, tmp_path):
    settings = TrainingSettings(optimizer=optimizer, ema_decay=0.9)
    model, moves, averaged = training(kind, settings)
    for step in range(3):
        model(torch.randn(4, 3, dtype=kind)).square().sum().backward()
        moves.step()
        averaged.update(step)
    model[0].seen = 12
    progress = Progress(epoch=2, batch=1, loss_sum=0.1 + 0.2, correct=3)
    save_checkpoint(tmp_path / "c.safetensors", model, moves, progress, fingerprint="0" * 64, averaged=averaged)
    other, its_moves, its_average = training(kind, settings)
    assert not torch.equal(other[0].weight, model[0].weight)
    found = resume(tmp_path / "c.safetensors", other, its_moves, fingerprint="0" * 64, averaged=its_average)
    assert found == progress
    assert other[0].seen == 12
    held = [(one.state_dict(), two.state, three.held) for one, two, three in
            ((model, moves, averaged), (other, its_moves, its_average))]  # fmt: skip
    for wanted, given in zip(*held, strict=True):
        assert wanted.keys() == given.keys()
        assert all(torch.equal(wanted[name], one) for name, one in given.items() if isinstance(one, torch.Tensor))
