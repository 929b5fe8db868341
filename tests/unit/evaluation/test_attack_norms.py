"""Minimum norms against the closed form of linear models: margin divided by the dual norm of the weights."""

import logging

import numpy as np
import pytest
import torch
from tests.unit.evaluation.attacked import L2, MINIMUM, frozen, rows, whole
from torch import nn

from layerlottery.config.evaluation import AttackSettings
from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import adversaries
from layerlottery.evaluation.adversaries import Attacked, minimum_norms
from layerlottery.evaluation.attack import Victim, attack_rows


@pytest.fixture(scope="module")
def linear():
    """Three classes, and mid-grey images, far enough from 0 and 1."""
    generator = np.random.default_rng(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(generator.normal(0, 0.3, (3, 64))))
        model[1].bias.copy_(-0.5 * model[1].weight.sum(dim=1))
    images = generator.integers(90, 166, (60, 1, 8, 8), dtype=np.uint8)
    labels = frozen(model)(torch.tensor(images) / 255).argmax(1).numpy()
    return model, Split(images, labels)


def closed_form(model, split, *, dual):
    """The nearest of the other classes' boundaries, in units of [0, 1], by numpy."""
    weight, bias = (value.numpy().astype(float) for value in model[1].parameters())
    scores = split.images.reshape(len(split), 64) / 255 @ weight.T + bias
    found = []
    for own, score in zip(split.labels, scores, strict=True):
        others = [k for k in range(3) if k != own]
        norms = [np.linalg.norm(weight[own] - weight[k], ord=dual) for k in others]
        found.append(min((score[own] - score[k]) / norm for k, norm in zip(others, norms, strict=True)))
    return np.array(found)


@pytest.mark.parametrize("name", MINIMUM)
def test_minimum_norms_of_a_linear_model(linear, name):
    model, split = linear
    expected = closed_form(model, split, dual=2 if name in L2 else 1)
    batch = whole(torch.tensor(split.images) / 255, torch.tensor(split.labels))
    found = minimum_norms(name, model, batch, AttackSettings()).numpy()
    # never below what is possible, up to rounding, and rarely far above
    assert (found >= expected * 0.999 - 1e-6).all()
    assert np.median(found / expected) < 1.03
    (row,) = rows(model, split, AttackSettings(attacks=[name]))
    assert (row.kind, row.name, row.level, row.accuracy, row.images) == ("minimum_norm", name, 0, 100, 60)
    assert row.norm == pytest.approx(255 * np.median(expected), rel=0.04)


@pytest.mark.parametrize("name", MINIMUM)
@pytest.mark.parametrize("wrong", [20, 40])
def test_images_that_are_wrong_already_take_nothing(linear, name, wrong):
    model, split = linear
    labels = split.labels.copy()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    expected = closed_form(model, split, dual=2 if name in L2 else 1)
    expected[:wrong] = 0
    (row,) = rows(model, Split(split.images, labels), AttackSettings(attacks=[name]))
    assert row.accuracy == pytest.approx(100 * (60 - wrong) / 60)
    assert row.norm == pytest.approx(255 * np.median(expected), rel=0.06, abs=1e-6)


class Fortress(nn.Module):
    """Bright images give no gradient to go by, others are fooled by a little."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([torch.where(mean > 0.5, 1.0, mean - 0.1), 0 * mean], dim=1)


@pytest.mark.parametrize("name", MINIMUM)
@pytest.mark.parametrize(("fooled", "known"), [(11, True), (9, False)])
def test_no_median_where_half_is_never_fooled(name, fooled, known):
    images = np.full((20, 1, 8, 8), 51, dtype=np.uint8)
    images[fooled:] = 255
    (row,) = rows(Fortress().eval(), Split(images, np.zeros(20, dtype=np.int64)), AttackSettings(attacks=[name]))
    assert row.accuracy == 100
    assert (row.norm is not None) is known
    if known:  # the mean has to sink from 51/255 to 0.1, each of 64 values by as much
        assert row.norm == pytest.approx((51 - 25.5) * (8 if name in L2 else 1), rel=0.05)


def test_deepfool_takes_up_stragglers_where_a_single_run_ends(linear):
    from foolbox.attacks.deepfool import L2DeepFoolAttack
    from foolbox.models.pytorch import PyTorchModel

    torch.manual_seed(0)
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 10)))
    with torch.no_grad():
        model[1].weight.mul_(6)
    images = torch.rand(100, 1, 8, 8)
    labels = model(images).argmax(1)
    at_once = L2DeepFoolAttack(steps=40, candidates=10).run(PyTorchModel(model, bounds=(0, 1)), images, labels)
    found = adversaries.deepfool(model, whole(images, labels), AttackSettings(norm_steps=40))
    assert torch.allclose(found, at_once, atol=1e-5)


def test_images_not_to_be_attacked_have_norm_zero(linear):
    model, split = linear
    left = torch.arange(60) < 30
    batch = Attacked(torch.tensor(split.images) / 255, torch.tensor(split.labels), left)
    for name in MINIMUM:
        found = minimum_norms(name, model, batch, AttackSettings(norm_steps=5))
        assert (found[~left] == 0).all()
        assert (found[left] > 0).all()


@pytest.mark.parametrize("name", MINIMUM)
def test_images_out_of_range_are_refused(linear, name):
    model, split = linear
    batch = whole(torch.tensor(split.images).float(), torch.tensor(split.labels))
    with pytest.raises(LayerLotteryError, match=rf"^attack {name}: images .* outside \[0, 1\]$"):
        minimum_norms(name, model, batch, AttackSettings())


def test_steps_reach_the_attacks_and_logging_stays_as_it_was(linear):
    model, split = linear
    handlers = list(logging.getLogger().handlers)
    norms = {}
    for steps in (2, 50):
        victim = Victim(
            model, model, split, AttackSettings(attacks=["fmn", "fmn_l2"], norm_steps=steps), torch.device("cpu")
        )
        norms[steps] = [row.norm for row in attack_rows(victim)]
    rows(model, split, AttackSettings(attacks=["deepfool"]))
    assert all(long < short for short, long in zip(norms[2], norms[50], strict=True) if short is not None)
    assert norms[2] != norms[50]
    assert logging.getLogger().handlers == handlers
