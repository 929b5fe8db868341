"""Masked gradients: planted models, and rows made up to break each rule."""

import numpy as np
import pytest
import torch
from tests.unit.evaluation.attacked import digits, floats, frozen, rows, train
from torch import nn
from torch.nn import functional as F

from layerlottery.config.evaluation import AttackSettings
from layerlottery.evaluation.conditions import RobustnessRow
from layerlottery.evaluation.masking import gradient_check

ATTACKS = ["fgsm", "pgd", "pgd_restarts", "transfer", "fgsm_l2", "pgd_l2"]
SETTINGS = AttackSettings(attacks=ATTACKS, epsilons=[2.0, 8.0, 24.0], l2_epsilons=[16.0, 64.0, 128.0], restarts=2)


@pytest.fixture(scope="module")
def held_out():
    return digits().take(np.arange(len(digits()) - 200, len(digits())))


class Rounded(nn.Module):
    """The same decisions by logits that are rounded to steps: flat everywhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        logits = self.model(images)
        return (logits * 10).round() / 10 + 0 * logits


class Saturated(Rounded):
    """The same decisions by probabilities in double precision, so sure that softmax has no slope left."""

    def forward(self, images):
        return 1e4 * torch.softmax(50 * self.model(images).double(), dim=1)


def test_a_plain_network_is_not_suspected(held_out):
    found = rows(train(), held_out, SETTINGS, source=train(seed=1))
    assert gradient_check(found) == []


@pytest.mark.parametrize("mask", [Rounded, Saturated])
def test_a_network_without_slope_is(held_out, mask):
    masked = frozen(mask(train()))
    images, labels = floats(held_out)
    assert (masked(images).argmax(1) == labels).float().mean() > 0.9
    problems = gradient_check(rows(masked, held_out, SETTINGS, source=train()))
    assert any("examples of another network leave" in problem for problem in problems)
    assert all("\n" not in problem for problem in problems)


class Shattered(nn.Module):
    """A linear rule, but beyond a short way from the mid-grey the slope points back."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        hill = torch.where(mean < 0.48, 0.6 * (0.48 - mean), 0.5 * (mean - 0.48))
        return torch.stack([torch.where(mean > 0.47, 1.0 + hill, -1.0 - hill), 0 * mean], dim=1)


def test_a_slope_that_misleads_iteration_is_seen():
    images = np.full((50, 1, 8, 8), 128, dtype=np.uint8)
    split = digits().take(np.arange(50))
    split = type(split)(images, np.zeros(50, dtype=np.int64))
    model = Shattered().eval()
    # one step down of 24/255 gets past the ridge, small ones from a start at random stop at 0.48
    start, labels = floats(split)
    start.requires_grad_(True)
    (slope,) = torch.autograd.grad(F.cross_entropy(model(start), labels), start)
    assert (slope < 0).all()
    found = rows(model, split, AttackSettings(attacks=["fgsm", "pgd"], epsilons=[24.0], relative_step=0.01))
    assert [row.accuracy for row in found] == [100, 0, 100, 100]
    (problem,) = gradient_check(found)
    assert problem == "pgd leaves 100.00 % at 24/255, the single step of fgsm only 0.00 %"


def curve(name, *accuracies, kind="attack", images=100):
    return [
        RobustnessRow(kind, name, float(level), accuracy, images)
        for level, accuracy in zip((0, 1, 2), accuracies, strict=False)
    ]


CASES = {
    "falls": (curve("pgd", 90, 50, 50), 0),
    "one image more is chance": (curve("pgd", 90, 50, 51), 0),
    "two are not": (curve("pgd", 90, 50, 52), 1),
    "rises from the untouched": (curve("pgd_l2", 90, 93, 20), 1),
    "one step may rise": (curve("fgsm", 90, 50, 70) + curve("fgsm_l2", 90, 50, 70), 0),
    "restarts weaker": (curve("pgd", 90, 50, 20) + curve("pgd_restarts", 90, 50, 21), 1),
    "restarts as strong": (curve("pgd", 90, 50, 20) + curve("pgd_restarts", 90, 50, 20), 0),
    "iterations weaker": (curve("fgsm", 90, 50, 20) + curve("pgd", 90, 53, 22.5), 2),
    "iterations a little weaker": (curve("fgsm_l2", 90, 50, 20) + curve("pgd_l2", 90, 52, 22), 0),
    "norms are not mixed": (curve("fgsm", 90, 10, 10) + curve("pgd_l2", 90, 50, 20), 0),
    "transfer stronger": (curve("pgd", 90, 50, 20) + curve("pgd", 90, 48, 19, kind="transfer"), 1),
    "transfer weaker": (curve("pgd", 90, 50, 20) + curve("pgd", 90, 80, 70, kind="transfer"), 0),
    "other rows": ([RobustnessRow("corruption", "fog", float(s), 10.0 * s, 100) for s in range(1, 6)], 0),
    "nothing": ([], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule(case):
    found, expected = CASES[case]
    assert len(gradient_check(found)) == expected
    plain = [vars(row) | {"network": "resnet20"} for row in found]
    assert gradient_check(plain) == gradient_check(found)
    assert gradient_check(found[::-1]) == gradient_check(found)
