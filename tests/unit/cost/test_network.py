"""Parameters, MACs and training memory against counts made by hand."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.cost.network import TrainingMemory, macs, parameters, step_memory, training_memory
from layerlottery.training.averaging import AveragedWeights
from layerlottery.training.recipe import make_optimizer


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 6, 3, stride=2, padding=1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
    )


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_parameters_by_hand():
    assert parameters(convolutional()) == 3 * 8 * 9 + 2 * 8 + 8 * 6 * 9 + 6 * 10 + 10


def test_shared_parameters_count_once():
    shared = nn.Linear(4, 4)
    assert parameters(nn.Sequential(shared, shared)) == 20


def test_macs_by_hand():
    first, second, head = 3 * 8 * 9 * 16 * 16, 8 * 6 * 9 * 8 * 8, 6 * 10
    assert macs(convolutional(), (3, 16, 16)) == first + second + head


def test_macs_of_one_grey_image():
    assert macs(nn.Conv2d(1, 2, 1), (1, 5, 7)) == 2 * 5 * 7


def test_memory_of_a_perceptron_by_hand():
    batch, held = 5, 4 * (4 * 8 + 8 + 8 * 3 + 3)
    hidden, log_softmax, weight_sum = 4 * batch * 8, 4 * batch * 3, 4  # ReLU's output is what Linear saves too
    memory = training_memory(perceptron(), (1, 2, 2), batch_size=batch)
    assert memory == TrainingMemory(hidden + log_softmax + weight_sum, held, held, held)
    assert memory.total == memory.activations + 3 * held


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "adamw"}, {"optimizer": "adamw", "ema_decay": 0.9}])
def test_memory_of_what_a_training_keeps_beside_the_network(recipe):
    model, settings = perceptron(), TrainingSettings(**recipe)
    optimizer = make_optimizer(model, settings)
    kept = [one for one in optimizer.state.values() if one.dim()]
    kept += AveragedWeights(model, settings.ema_decay).held.values() if settings.ema_decay else []
    memory = training_memory(model, (1, 2, 2), batch_size=5, copies=settings.held_copies)
    assert memory.optimizer == sum(one.nbytes for one in kept)
    plain = training_memory(model, (1, 2, 2), batch_size=5)
    assert dataclasses.replace(memory, optimizer=plain.optimizer) == plain
    assert step_memory(model, (1, 2, 2), batch_size=5, copies=settings.held_copies) == memory.total


def test_memory_of_frozen_parameters():
    model = perceptron()
    model[1].requires_grad_(False)
    memory = training_memory(model, (1, 2, 2), batch_size=2)
    assert memory.parameters - memory.gradients == 4 * (4 * 8 + 8)
    assert memory.optimizer == memory.gradients


def test_convolution_saves_what_the_backward_pass_reads():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Flatten())
    batch, pixels = 3, 16
    convolved, statistics = 4 * batch * 2 * pixels, 2 * 4 * 2  # BatchNorm's input; its batch mean and deviation
    loss = 4 * batch * 2 * pixels + 4
    assert training_memory(model, (1, 4, 4), batch_size=batch).activations == convolved + statistics + loss


def test_twice_the_batch_is_twice_the_activations():
    small, large = (training_memory(convolutional(), (3, 8, 8), batch_size=size) for size in (16, 32))
    assert large.activations == pytest.approx(2 * small.activations, rel=0.01)
    assert (large.parameters, large.gradients, large.optimizer) == (small.parameters,) * 3


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_untouched(training):
    model = convolutional().train(training)
    model[1].eval()
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    random = torch.get_rng_state()
    macs(model, (3, 8, 8))
    training_memory(model, (3, 8, 8), batch_size=4)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_memory_is_that_of_float32_even_without_autograd():
    expected = training_memory(convolutional(), (3, 8, 8), batch_size=4)
    with torch.no_grad():
        assert training_memory(convolutional().double(), (3, 8, 8), batch_size=4) == expected
