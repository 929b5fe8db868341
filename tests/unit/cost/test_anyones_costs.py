"""Costs of people's own networks: of any type, and of those that look at their values."""

import numpy as np
import pytest
import torch
from tests.unit.plain import UNIT, WHOLE, Plain, made
from torch import nn

import layerlottery as ll
from layerlottery.cost.network import macs, step_memory, training_memory


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(2)
    return torch.rand(6, 3, 6, 6, generator=draw), torch.arange(6) % 3


class HoldsAList(Plain):
    def before(self, x):
        return x - self.shifts[0]

    def __init__(self):
        super().__init__()
        self.shifts = [torch.full((3, 1, 1), 0.25)]


class Branches(Plain):
    def before(self, x):
        return x.clamp(max=1) if (x > 1).any() else x


class ThroughNumPy(Plain):
    def before(self, x):
        return x / float(np.abs(x.detach().cpu().numpy()).max() + 1)


class ByValue(Plain):
    """Looks at bright images once more."""

    def before(self, x):
        if x.max().item() > 0.5:
            self.first(x)
        return x


@pytest.mark.parametrize("kind", [HoldsAList, Branches, ThroughNumPy])
def test_networks_that_insist_on_values_cost_what_they_compute(kind, batch):
    cost = ll.find_ticket(made(kind), batch, "snip", remove=1).cost
    assert (cost.macs_before, cost.macs) == (WHOLE, WHOLE - UNIT)
    assert macs(made(kind), (3, 6, 6)) == WHOLE


def test_costs_are_those_of_the_images_that_were_given(batch):
    cost = ll.find_ticket(made(ByValue), batch, "snip", remove=1).cost
    assert cost.macs_before == WHOLE + 36 * 12


def test_attention_counts_also_where_a_network_looks_at_values():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x):
            return self.layer(x * (2 if x.mean().item() > 0 else 1))

    expected = macs(Looks().layer, (5, 8))
    # projections 4·8·8 and the two layers 2·8·16 for 5 places, scores and their sums 2·5·5·8
    assert expected == 5 * (4 * 64 + 2 * 128) + 2 * 25 * 8
    assert macs(Looks(), (5, 8)) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_costs_do_not_depend_on_a_networks_type(dtype, default, batch):
    images, labels = batch
    expected = ll.find_ticket(made(), batch, "l1", remove=1).cost
    torch.set_default_dtype(default)
    try:
        found = ll.find_ticket(made().to(dtype), (images.to(dtype), labels), "l1", remove=1).cost
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == expected


def test_a_network_that_takes_whole_numbers_has_its_costs():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.last = nn.Embedding(9, 4), nn.Linear(4, 2)
            self.units = nn.Sequential(*(Added() for _ in range(3)))

        def forward(self, words):
            return self.last(self.units(self.table(words)).mean(1))

    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.layer(x)

    words = torch.arange(10).reshape(2, 5) % 9
    cost = ll.find_ticket(Words(), (words, torch.tensor([0, 1])), "l1", remove=1).cost
    assert (cost.macs_before, cost.macs) == (3 * 5 * 16 + 8, 2 * 5 * 16 + 8)


def test_memory_of_a_network_with_a_second_answer_while_training():
    class Aux(Plain):
        def __init__(self):
            super().__init__()
            self.aux = nn.Linear(4, 3)

        def forward(self, x):
            seen = self.units(self.first(x)).mean((2, 3))
            return (self.last(seen), self.aux(seen)) if self.training else self.last(seen)

    class Named(Aux):
        def forward(self, x):
            found = super().forward(x)
            return dict(zip(("one", "other"), found, strict=True)) if self.training else found

    plain = training_memory(made(), (3, 6, 6), batch_size=4)
    for kind in (Aux, Named):
        memory = training_memory(made(kind), (3, 6, 6), batch_size=4)
        assert memory.parameters == plain.parameters + 4 * 15
        # the answers after the first are not trained; where none is the first, the cross-entropy of each
        # keeps the logarithms of 4·3 shares, and the sum of the weights
        assert memory.activations == plain.activations + (0 if kind is Aux else 4 * (4 * 3 + 1))
        assert step_memory(made(kind), (3, 6, 6), batch_size=4) == memory.total
