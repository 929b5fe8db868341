"""Closed-form learning rates against torch's schedulers, and the optimizers."""

import pytest
import torch
from torch.optim import lr_scheduler

from layerlottery.config.training import TrainingSettings
from layerlottery.training.recipe import learning_rate, make_optimizer

STEPS = 7


@pytest.mark.parametrize(
    ("share", "epochs", "milestones"),
    [(0.77, 154, [77, 116]), (0.5, 100, [50, 75]), (0.001, 1, [1, 1]), (1.0, 200, [100, 150])],
)
def test_a_shortened_schedule_ends_as_the_whole_one_does(share, epochs, milestones):
    for schedule in ("step", "cosine", "onecycle", "warmup_cosine"):
        whole = TrainingSettings(schedule=schedule)
        short = whole.shortened(share)
        assert (short.epochs, short.milestones) == (epochs, [] if schedule == "warmup_cosine" else milestones)
        if epochs == 1:
            continue
        # the rate at each share of the way, but for the step to which an epoch is rounded
        for passed in (0.0, 0.2, 0.45, 0.6, 0.9, 1.0):
            rates = [
                learning_rate(one, step=round(passed * (one.epochs * 100 - 1)), steps_per_epoch=100)
                for one in (short, whole)
            ]
            assert rates[0] == pytest.approx(rates[1], rel=0.02, abs=3e-5)


def schedule_of(make, epochs):
    """The rates that a torch scheduler, stepped once a batch, gives."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


TORCH = {
    "step": lambda o: lr_scheduler.MultiStepLR(o, [3 * STEPS, 5 * STEPS], gamma=0.2),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 8 * STEPS),
    "warmup_cosine": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            # 0.3 of 56 steps are 17; the rate of the first is a seventeenth
            lr_scheduler.LinearLR(o, start_factor=1 / 17, total_iters=16),
            lr_scheduler.CosineAnnealingLR(o, 8 * STEPS - 17),
        ],
        milestones=[17],
    ),
    "onecycle": lambda o: lr_scheduler.OneCycleLR(o, 0.4, 8 * STEPS, pct_start=0.3, cycle_momentum=False),
}


@pytest.mark.parametrize("schedule", sorted(TORCH))
def test_rates_equal_torch(schedule):
    settings = TrainingSettings(
        epochs=8, learning_rate=0.4, schedule=schedule, gamma=0.2, warmup=0.3,
        milestones=[] if schedule == "warmup_cosine" else [3, 5],
    )  # fmt: skip
    rates = [learning_rate(settings, step=step, steps_per_epoch=STEPS) for step in range(8 * STEPS)]
    assert rates == pytest.approx(schedule_of(TORCH[schedule], 8), rel=1e-9, abs=1e-12)


def test_one_step_trainings_have_a_rate():
    for schedule in sorted(TORCH):
        rate = learning_rate(TrainingSettings(epochs=1, schedule=schedule), step=0, steps_per_epoch=1)
        assert 0 < rate <= 0.1


def test_optimizer_is_nesterov_sgd_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    settings = TrainingSettings(learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    optimizer = make_optimizer(layer, settings)
    theta, velocity = 2.0, 0.0
    for step in range(3):
        optimizer.zero_grad()
        (3.0 * layer.weight).sum().backward()
        optimizer.step()
        gradient = 3.0 + 0.01 * theta
        velocity = gradient if step == 0 else 0.5 * velocity + gradient
        theta -= 0.1 * (gradient + 0.5 * velocity)
    assert layer.weight.item() == pytest.approx(theta, rel=1e-6)
