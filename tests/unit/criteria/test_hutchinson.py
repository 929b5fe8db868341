"""Hutchinson–Taylor against derivatives by hand and torch's own Hessian."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.criteria.score import _in_batches, score_blocks
from layerlottery.criteria.scoring import Scoring, values
from layerlottery.networks.blocks import Block, residual_blocks

A, B, X, T = 1.5, -0.75, 2.0, 4.0


class Toy(nn.Module):
    """Logits (a b x, 0)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)) for _ in range(2))
        self.a[0].weight.data.fill_(A)
        self.b[0].weight.data.fill_(B)

    def forward(self, x):
        first = self.b(self.a(x)).flatten(1)
        return torch.cat([first, torch.zeros_like(first)], 1)


def test_by_hand(settings):
    # L = log(1 + exp(-z / T)), z = a b x; both blocks have the same mean m of z₁z₂ in h = H₁₁ + m H₁₂
    z = A * B * X / T
    sigma = 1 / (1 + math.exp(z))
    first, second = -sigma / T, sigma * (1 - sigma) / T**2
    gradient = first * B * X, first * A * X
    diagonal = second * (B * X) ** 2, second * (A * X) ** 2
    mixed = second * A * B * X**2 + first * X
    torch.manual_seed(0)
    batch = torch.full((1, 1, 1, 1), X), torch.zeros(1, dtype=torch.int64)
    chosen = settings("hutchinson_taylor", products="signed", temperature=T, samples=2000)
    found = values(Scoring(Toy(), batch, chosen, blocks=[Block("a", "toy", True), Block("b", "toy", True)]))
    mean = (2 * (found["a"] - A * gradient[0]) / A**2 - diagonal[0]) / mixed
    assert abs(mean) < 0.1
    assert found["b"] == pytest.approx(B * gradient[1] + B**2 / 2 * (diagonal[1] + mean * mixed), rel=1e-4)


class Small(nn.Module):
    """One block of six weights and a classifier."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        self.classifier = nn.Linear(3, 2)

    def forward(self, x):
        return self.classifier(self.block(x))


def test_against_the_hessian_of_torch(settings):
    torch.manual_seed(1)
    model = Small()
    model.block[0].weight.data *= 3
    images, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])

    def loss(weight):
        hidden = torch.tanh(F.linear(images, weight, model.block[0].bias))
        return F.cross_entropy(model.classifier(hidden), labels)

    weight = model.block[0].weight.detach()
    gradient = torch.autograd.functional.jacobian(loss, weight).flatten()
    hessian = torch.autograd.functional.hessian(loss, weight).reshape(6, 6)
    taylor = weight.flatten() * gradient + weight.flatten().square() * hessian.diagonal() / 2
    chosen = settings("hutchinson_taylor", samples=3000)
    given = Scoring(model, (images, labels), chosen, blocks=[Block("block", "toy", True)])
    assert values(given)["block"] == pytest.approx(taylor.abs().sum().item(), rel=0.02)
    # the first derivative alone is off by more than that
    assert (weight.flatten() * gradient).abs().sum().item() != pytest.approx(taylor.abs().sum().item(), rel=0.1)


def test_images_in_batches_give_what_they_give_together(make_network, make_batch, settings):
    model, batch = make_network(width=2), make_batch()
    chosen = settings("hutchinson_taylor", samples=400, temperature=200.0)
    together = score_blocks(model, batch, chosen)
    apart = score_blocks(model, _in_batches(batch, chosen.model_copy(update={"batch_size": 6})), chosen)
    assert list(together) == [block.name for block in residual_blocks(model, keep_first=True) if block.removable]
    assert apart == pytest.approx(together, rel=0.1)
