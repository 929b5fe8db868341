"""GraSP as the code of its source computes it: a plain loop, step by step."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.score import score_blocks, weight_scores
from layerlottery.store.hashing import derived_seed


def by_the_source(model, images, labels, *, seed, temperature=200.0):
    """−θ · Hg of every convolution and linear weight, by name, over two halves of the images sorted by class."""
    net = copy.deepcopy(model).train()
    torch.manual_seed(derived_seed("scoring", seed))
    weights = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear):
            weights[f"{name}.weight"] = module.weight.requires_grad_(True)
    order = torch.cat([torch.nonzero(labels == label).flatten() for label in labels.unique()])
    half = len(order) // 2
    halves = [order[:half], order[half:]]
    summed = None
    for some in halves:
        loss = F.cross_entropy(net(images[some]) / temperature, labels[some])
        found = torch.autograd.grad(loss, list(weights.values()))
        summed = found if summed is None else [a + b for a, b in zip(summed, found, strict=True)]
    product = dict.fromkeys(weights, 0.0)
    for some in halves:
        loss = F.cross_entropy(net(images[some]) / temperature, labels[some])
        flow = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        z = sum((a * b).sum() for a, b in zip(summed, flow, strict=True))
        for name, one in zip(weights, torch.autograd.grad(z, list(weights.values())), strict=True):
            product[name] = product[name] + one
    return {name: (-weights[name] * product[name]).detach() for name in weights}


@pytest.mark.parametrize("count", [12, 20])
def test_scores_are_those_of_the_source(count, make_network, make_batch):
    model, (images, labels) = make_network(depth=14), make_batch(count)
    chosen = CRITERIA["grasp_published"].model_copy(update={"images_per_class": 3})
    expected = by_the_source(model, images, labels, seed=0)
    scores = score_blocks(model, (images, labels), chosen)
    by_block = {
        block: sum(one.sum().item() for name, one in expected.items() if name.startswith(f"{block}.conv"))
        for block in scores
    }
    # sums over two halves there, and means here: 2 for the gradient and 2 for the Hessian
    assert scores == pytest.approx({block: value / 4 for block, value in by_block.items()}, rel=1e-3)


def test_it_is_not_the_default(make_network, make_batch):
    model, batch = make_network(depth=14), make_batch(20)
    plain, published = (score_blocks(model, batch, CRITERIA[name]) for name in ("grasp", "grasp_published"))
    assert plain != published
    assert set(plain) == set(published)


def test_single_weights_are_scored_too(make_network, make_batch):
    model, (images, labels) = make_network(depth=14), make_batch(20)
    expected = by_the_source(model, images, labels, seed=0)
    found = weight_scores(model, (images, labels), CRITERIA["grasp_published"])
    for name, scores in found.items():
        # the highest are removed: the sign is turned
        torch.testing.assert_close(torch.as_tensor(-scores), expected[name] / 4, rtol=1e-2, atol=1e-7)
