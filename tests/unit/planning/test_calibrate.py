"""How measurements become rates: rounds, and networks that are surer of themselves than trained ones."""

import pytest
import torch

from layerlottery.planning.calibrate import Found, _medians
from layerlottery.planning.probes import _no_denormals

FAMILY = ("digits", "resnet20", "none")


def test_of_several_rounds_the_median_counts():
    rounds = [Found(FAMILY, {"step": step, "test": 1.0}, wall=1, busy=1) for step in (3.0, 9.0, 4.0)]
    once = Found(FAMILY, {"macs": 7.0}, wall=1, busy=1)
    other = Found(("stages",), {"prune": 0.5}, wall=1, busy=1)
    assert _medians([*rounds, other, once]) == {
        FAMILY: {"step": 4.0, "test": 1.0, "macs": 7.0},
        ("stages",): {"prune": 0.5},
    }


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="the processor can't take denormals for zero")
def test_attacks_are_timed_without_denormals_and_nothing_else_is():
    # as the gradient of a saturated softmax
    small, half = torch.full((64,), 2e-38), torch.tensor(0.25)
    assert (small * half).all()
    with _no_denormals():
        assert not (small * half).any()
    assert (small * half).all()
