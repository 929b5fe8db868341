"""Averaged weights against torch's AveragedModel, and a network that is given back as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from layerlottery.training.averaging import AveragedWeights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4, 2)).double()


def steps(model, averaged, count):
    """Train by plain SGD; `averaged(step)` is told of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(count):
        optimizer.zero_grad()
        model(torch.randn(6, 1, 4, 4, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        averaged(step)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_torch_s_average_of_weights_and_statistics(decay):
    model = network()
    ours = AveragedWeights(model, decay)

    def average(held, current, number):
        # torch counts the copy that it begins with
        step = number.item() - 1
        share = min(decay, (1 + step) / (10 + step))
        return share * held + (1 - share) * current if held.is_floating_point() else current

    theirs = AveragedModel(model, avg_fn=average, use_buffers=True)
    theirs.update_parameters(model)

    def both(step):
        ours.update(step)
        theirs.update_parameters(model)

    steps(model, both, 20)
    wanted = theirs.module.state_dict()
    with ours.shown():
        found = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-10, atol=1e-12)
    assert found["1.num_batches_tracked"] == 20


def test_the_first_weights_are_soon_forgotten():
    model = network()
    averaged = AveragedWeights(model, 0.9999)
    held = averaged.held["0.weight"]
    held.fill_(1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for step in range(90):
        averaged.update(step)
    # the product of (1 + s) / (10 + s): 90! 9! / 99!, one over the binomial coefficient 99 over 9
    assert held.flatten()[0].item() == pytest.approx(1 / 1731030945644, rel=1e-9)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_the_network_is_given_back_bit_for_bit(error):
    model = network()
    averaged = AveragedWeights(model, 0.9)
    steps(model, averaged.update, 5)
    before, held = copy.deepcopy(model.state_dict()), copy.deepcopy(averaged.held)
    places = [one.data_ptr() for one in model.parameters()]
    try:
        with averaged.shown():
            assert not torch.equal(model[0].weight, before["0.weight"])
            assert torch.equal(model[0].weight, held["0.weight"])
            # graphs that were recorded read the weights where they are
            assert [one.data_ptr() for one in model.parameters()] == places
            if error:
                raise error
    except RuntimeError:
        pass
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert all(torch.equal(one, held[name]) for name, one in averaged.held.items())


def test_small_steps_of_narrow_types_add_up():
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    averaged = AveragedWeights(model, 0.999)
    nn.init.zeros_(model.weight)
    for _ in range(1000):
        averaged.update(10**6)
    with averaged.shown():
        assert model.weight.dtype == torch.bfloat16
        assert model.weight.item() == pytest.approx(0.999**1000, rel=2**-8)
    assert model.weight.item() == 0
    assert averaged.held["weight"].item() == pytest.approx(0.999**1000, rel=1e-4)


def test_it_begins_again_with_the_present_weights():
    model = network()
    averaged = AveragedWeights(model, 0.9)
    steps(model, averaged.update, 3)
    averaged.restart()
    before = copy.deepcopy(model.state_dict())
    with averaged.shown():
        assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
