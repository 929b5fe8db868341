"""Every criterion against a hand-computed toy, an identity of the method, or finite differences."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.criteria import gradients, weights
from layerlottery.criteria.score import FUNCTIONS, score_blocks
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, find_blocks
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.settings import CRITERIA, CriterionSettings, NetworkSettings


class Toy(nn.Module):
    """Two 1x1 convolutions of one weight each: logits (a * b * x, 0)."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)) for _ in range(2))
        self.a[0].weight.data.fill_(a)
        self.b[0].weight.data.fill_(b)

    def forward(self, x):
        first = self.b(self.a(x)).flatten(1)
        return torch.cat([first, torch.zeros_like(first)], 1)


TOY_BLOCKS = [Block("a", "toy", True), Block("b", "toy", True)]
A, B, X = 1.5, -0.75, 2.0
TOY_BATCH = (torch.full((1, 1, 1, 1), X), torch.zeros(1, dtype=torch.int64))


def settings(**changes):
    return CriterionSettings(**({"function": "snip"} | changes))


def logistic_derivatives(temperature=1.0):
    """Loss log(1 + exp(-z / T)) with z = a b x: its gradient and Hessian in (a, b), by hand."""
    z = A * B * X / temperature
    sigma = 1 / (1 + math.exp(z))  # minus the derivative of the loss in z
    first = -sigma / temperature
    second = sigma * (1 - sigma) / temperature**2
    dz = np.array([B * X, A * X])
    gradient = first * dz
    hessian = second * np.outer(dz, dz) + first * np.array([[0, X], [X, 0]])
    return gradient, hessian


def test_snip_on_the_toy_by_hand():
    gradient, _ = logistic_derivatives()
    scores = gradients.snip(Toy(A, B), TOY_BLOCKS, TOY_BATCH, settings(), seed=0)
    assert scores["a"] == pytest.approx(abs(A * gradient[0]), rel=1e-6)
    assert scores["b"] == pytest.approx(abs(B * gradient[1]), rel=1e-6)
    signed = gradients.snip(Toy(A, B), TOY_BLOCKS, TOY_BATCH, settings(products="signed"), seed=0)
    assert signed["a"] == pytest.approx(A * gradient[0], rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_on_the_toy_by_hand(temperature):
    gradient, hessian = logistic_derivatives(temperature)
    product = hessian @ gradient
    chosen = settings(function="grasp", products="signed", temperature=temperature)
    scores = gradients.grasp(Toy(A, B), TOY_BLOCKS, TOY_BATCH, chosen, seed=0)
    assert scores["a"] == pytest.approx(-A * product[0], rel=1e-5)
    assert scores["b"] == pytest.approx(-B * product[1], rel=1e-5)


def test_l1_by_hand():
    block = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False))
    block[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(2, 2, 1, 1)
    block[2].weight.data = torch.tensor([[-6.0, 0.0]]).view(1, 2, 1, 1)
    model = nn.ModuleDict({"block": block})
    blocks = [Block("block", "toy", True)]
    # filters: |1| + |-2| = 3, 3 + 4 = 7, 6 + 0 = 6
    assert weights.l1(model, blocks, None, settings(function="l1"), seed=0) == {"block": pytest.approx(16 / 3)}
    mean = weights.l1(model, blocks, None, settings(function="l1", reduction="mean"), seed=0)
    assert mean == {"block": pytest.approx((1.5 + 3.5 + 3) / 3)}


def test_l1_scores_early_stages_lowest_at_initialization():
    # figure 3 of Jordao et al.: He's weights shrink with the square root of a filter's size, its sum grows with it
    scores = score_blocks(network(32), random_batch(), CRITERIA["l1"])
    stages = [np.mean([v for name, v in scores.items() if name.startswith(f"stage{s}")]) for s in (1, 2, 3)]
    assert stages[0] < stages[1] < stages[2]


def network(depth=20, width=4, seed=0):
    model = CifarResNet(NetworkSettings(depth=depth, width=width), channels=3, classes=4)
    initialize(model, seed)
    return model


def random_batch(count=12, dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(count, 3, 8, 8, generator=generator, dtype=dtype)
    return images, torch.arange(count) % 4


def removable(model):
    return [block for block in find_blocks(model) if block.removable]


def double_network():
    return network().double().train()


def test_snip_products_add_up_to_zero_before_batchnorm():
    # the loss does not change when weights before a train-mode BatchNorm are scaled: Euler's identity
    model, batch = double_network(), random_batch(dtype=torch.float64)
    signed = gradients.snip(model, removable(model), batch, settings(products="signed"), seed=0)
    absolute = gradients.snip(model, removable(model), batch, settings(), seed=0)
    for name, value in signed.items():
        assert abs(value) < 1e-5 * absolute[name]


def test_grasp_of_a_layer_is_its_squared_gradient_norm():
    # -theta . Hg = g . g for every layer before a train-mode BatchNorm
    model, batch = double_network(), random_batch(dtype=torch.float64)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-12
    scores = gradients.grasp(model, removable(model), batch, settings(function="grasp", products="signed"), seed=0)
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    for name, value in scores.items():
        block = model.get_submodule(name)
        squared = sum((conv.weight.grad**2).sum().item() for conv in (block.conv1, block.conv2))
        assert value == pytest.approx(squared, rel=1e-6)


def test_hessian_gradient_product_against_finite_differences():
    model, batch = double_network().eval(), random_batch(dtype=torch.float64)
    parameters = list(model.parameters())

    def gradient_at(shift, direction):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter, step in zip(moved.parameters(), direction, strict=True):
                parameter += shift * step
        return torch.autograd.grad(F.cross_entropy(moved(batch[0]), batch[1]), list(moved.parameters()))

    gradient = gradient_at(0.0, [torch.zeros_like(p) for p in parameters])
    step = 1e-6
    ahead, behind = gradient_at(step, gradient), gradient_at(-step, gradient)
    names = [name for name, _ in model.named_parameters()]
    product = {n: (a - b) / (2 * step) for n, a, b in zip(names, ahead, behind, strict=True)}
    chosen = settings(function="grasp", products="signed", batchnorm="eval")
    scores = gradients.grasp(model, removable(model), batch, chosen, seed=0)
    for name, value in scores.items():
        convolutions = [f"{name}.conv1.weight", f"{name}.conv2.weight"]
        expected = sum(-(model.get_parameter(c) * product[c]).sum().item() for c in convolutions)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_random_is_uniform_and_follows_the_seed():
    model, batch = network(), random_batch()
    draws = [score_blocks(model, batch, CRITERIA["random"], seed=seed) for seed in range(300)]
    assert draws[0] == score_blocks(model, batch, CRITERIA["random"], seed=0)
    values = np.array([list(draw.values()) for draw in draws])
    assert abs(values.mean() - 0.5) < 0.02
    first = np.bincount(values.argmin(axis=1), minlength=values.shape[1])
    # each of the six blocks goes first in about a sixth of the draws (five standard deviations)
    assert (abs(first - 50) < 5 * math.sqrt(300 * (1 / 6) * (5 / 6))).all()


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_scoring_leaves_the_network_as_it_was(name):
    model, batch = network().eval(), random_batch()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    scores = score_blocks(model, batch, CRITERIA[name])
    assert list(scores) == [block.name for block in removable(model)]
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random_state, torch.get_rng_state())


def test_batchnorm_mode_matters_and_is_what_it_says():
    model, batch = network(), random_batch()
    running = score_blocks(model, batch, settings(batchnorm="eval"))
    by_batch = score_blocks(model, batch, settings(batchnorm="train"))
    assert running != by_batch
    # at initialization running statistics are 0 and 1: eval-mode BatchNorm only scales by 1 / sqrt(1 + eps)
    plain = copy.deepcopy(model).eval()
    expected = gradients.snip(plain, removable(plain), batch, settings(batchnorm="eval"), seed=0)
    assert running == expected


def test_reduction_and_parameters_settings():
    model, batch = network(), random_batch()
    total, mean = (score_blocks(model, batch, settings(reduction=how)) for how in ("sum", "mean"))
    for name in total:
        block = model.get_submodule(name)
        count = block.conv1.weight.numel() + block.conv2.weight.numel()
        assert mean[name] == pytest.approx(total[name] / count)
    everything = score_blocks(model, batch, settings(parameters="all"))
    assert all(everything[name] > total[name] for name in total)


def test_a_score_that_is_not_finite_names_the_block():
    model, batch = network(), random_batch()
    model.stage2[1].conv1.weight.data.fill_(math.nan)
    with pytest.raises(LayerLotteryError, match=r"block stage2\.1: l1 gave nan; scores must be finite"):
        score_blocks(model, batch, CRITERIA["l1"])


def test_every_function_of_the_configuration_exists():
    assert {chosen.function for chosen in CRITERIA.values()} == set(FUNCTIONS)
