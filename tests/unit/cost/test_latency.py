"""Latency: plausible, ordered, and without a trace in the models; no absolute times."""

import logging

import torch
from torch import nn
from torch.utils import cpp_extension

from layerlottery.cost.latency import in_turns, latency


def stack(width: int, layers: int) -> nn.Sequential:
    convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(layers)]
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), *convolutions)


def test_more_work_takes_longer():
    models = {"small": stack(16, 2), "large": stack(16, 40)}
    measured = latency(models, (3, 32, 32), batch_size=2, rounds=3, min_seconds=0.02, threads=1)
    assert list(measured) == ["small", "large"]
    assert measured["small"] > 0
    assert measured["large"] > 2 * measured["small"]


def test_models_and_threads_stay_as_they_are():
    model = stack(4, 1).train()
    mean, threads = model[1].running_mean.clone(), torch.get_num_threads()
    latency({"only": model}, (3, 8, 8), batch_size=1, rounds=1, min_seconds=0.001, threads=1)
    assert model.training
    assert torch.equal(model[1].running_mean, mean)
    assert torch.get_num_threads() == threads


def test_models_take_turns(monkeypatch):
    order = []

    class FakeMeasurement:
        mean = 0.001

    class FakeTimer:
        made = 0

        def __init__(self, *_, num_threads, **__):
            FakeTimer.made += 1
            self.name = (FakeTimer.made, num_threads)

        def timeit(self, number):
            order.append((*self.name, number))
            return FakeMeasurement()

    monkeypatch.setattr("layerlottery.cost.latency.Timer", FakeTimer)
    models = {"a": stack(2, 1), "b": stack(2, 1)}
    assert latency(models, (3, 4, 4), batch_size=1, rounds=2, min_seconds=0.5, threads=3) == {"a": 1.0, "b": 1.0}
    # after a first guess, each turn takes min_seconds: 500 passes of a millisecond
    assert order == [(1, 3, 3), (2, 3, 3), *[(1, 3, 500), (2, 3, 500)] * 2]


def test_nothing_is_said_of_a_toolkit_that_no_one_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_HOME", "/usr")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told, handler = [], logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: told.append(record.getMessage()))
    log = logging.getLogger("torch.utils.cpp_extension")
    log.addHandler(handler)
    try:
        cpp_extension._find_cuda_home()
        log.warning("something else")
    finally:
        log.removeHandler(handler)
    assert told == ["something else"]


def timed(monkeypatch, seconds, **limits):
    """How many rounds of two functions there are, each of which takes so many seconds."""
    made, turns = [], []

    class FakeMeasurement:
        mean = seconds

    class FakeTimer:
        def __init__(self, *_, **__):
            made.append(self)

        def timeit(self, number):
            turns.append(number)
            return FakeMeasurement()

    monkeypatch.setattr("layerlottery.cost.latency.Timer", FakeTimer)
    in_turns({"whole": int, "ticket": int}, min_seconds=0.05, threads=1, **limits)
    # the first of each guesses
    return (len(turns) - len(made)) / len(made)


def test_a_budget_leaves_as_many_rounds_as_it_pays_but_three(monkeypatch):
    assert timed(monkeypatch, 0.001, rounds=15, budget=10) == 15
    # a pass that is timed and two before it, of both: 2.4 seconds a round
    assert timed(monkeypatch, 0.4, rounds=15, budget=10) == 4
    assert timed(monkeypatch, 30.0, rounds=15, budget=10) == 3
    assert timed(monkeypatch, 30.0, rounds=2, budget=10) == 2
    assert timed(monkeypatch, 30.0, rounds=15) == 15
