"""Weights that come from others, gradients that do not arrive, and scores that tell no blocks apart."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import weight_norm as old_weight_norm
from torch.utils.checkpoint import CheckpointFunction, checkpoint

import layerlottery as ll
from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.ranking import check_differ
from layerlottery.criteria.score import group_scores, rank_blocks, weight_scores
from layerlottery.errors import LayerLotteryError

CRITERIA_OF_GRADIENTS = ("snip", "grasp", "synflow")


class Mix(nn.Module):
    """x + a bottleneck of two convolutions."""

    def __init__(self, width=6):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 3, 1, 1)

    def forward(self, x):
        return x + self.up(self.down(x).relu())


class Trunk(nn.Module):
    """Four blocks, each called by `through`."""

    def __init__(self, block=Mix, through=lambda block, x, place: block(x)):
        super().__init__()
        torch.manual_seed(11)
        self.stem, self.blocks = nn.Conv2d(3, 6, 3), nn.ModuleList(block() for _ in range(4))
        self.head, self.through = nn.Linear(6, 3), through

    def forward(self, x):
        x = self.stem(x)
        for place, block in enumerate(self.blocks):
            x = self.through(block, x, place)
        return self.head(x.mean((2, 3)))


BATCH = torch.rand(9, 3, 7, 7, generator=torch.Generator().manual_seed(2)), torch.arange(9) % 3


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def hooked(convolution):
    """A weight that a hook of one's own writes from a parameter of another name."""
    convolution.raw = nn.Parameter(convolution.weight.detach().clone())
    del convolution.weight
    convolution.register_forward_pre_hook(lambda module, given: setattr(module, "weight", module.raw))


WAYS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": lambda one: parametrizations.orthogonal(one, orthogonal_map="householder"),
    "own parametrization": lambda one: parametrize.register_parametrization(one, "weight", Halved()),
    "old weight_norm": old_weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda one: prune.l1_unstructured(one, "weight", amount=0.4),
    "pruned twice": lambda one: [prune.random_unstructured(one, "weight", amount=0.2) for _ in range(2)],
    "own hook": hooked,
}


@pytest.mark.parametrize("criterion", [*CRITERIA_OF_GRADIENTS, "l1", "kl"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_counts_by_its_value_however_it_comes_about(way, criterion):
    model = Trunk().eval()
    for block in model.blocks[1:3]:
        WAYS[way](block.up)
    with torch.no_grad():
        model(BATCH[0])  # hooks write the weights
    plain = Trunk()
    for one, other in zip(plain.blocks, model.blocks, strict=True):
        one.load_state_dict(
            {n: getattr(other.get_submodule(n.split(".")[0]), n.split(".")[1]) for n in one.state_dict()}
        )
    state = {name: one.clone() for name, one in model.state_dict().items()}
    found, expected = ll.score(model, BATCH, criterion), ll.score(plain, BATCH, criterion)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-12)
    assert all(torch.equal(one, state[name]) for name, one in model.state_dict().items())


@pytest.mark.parametrize("criterion", CRITERIA_OF_GRADIENTS)
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:None of the inputs")
def test_activation_checkpoints_change_no_score(criterion, reentrant):
    def through(block, x, place):
        return checkpoint(block, x, use_reentrant=reentrant) if place % 2 else block(x)

    inherited = CheckpointFunction.apply
    assert ll.score(Trunk(through=through), BATCH, criterion) == ll.score(Trunk(), BATCH, criterion)
    assert CheckpointFunction.apply == inherited


def without_gradient(block, x, place):
    with torch.set_grad_enabled(place > 1):
        return block(x)


class Numb(Mix):
    """Of the two convolutions, the first gets no gradient."""

    def forward(self, x):
        return x + self.up(self.down(x).detach().relu())


CUT = {
    "no_grad": (Trunk(through=without_gradient), "blocks.0", "blocks.0.down"),
    "detach": (
        Trunk(through=lambda block, x, place: block(x).detach() if place == 1 else block(x)),
        "blocks.0",
        "down",
    ),
    "data": (Trunk(through=lambda block, x, place: block(x).data if place == 3 else block(x)), "blocks.0", "down"),
    "within a block": (Trunk(Numb), "blocks.0", "blocks.0.down.weight"),
}


@pytest.mark.parametrize("criterion", CRITERIA_OF_GRADIENTS)
@pytest.mark.parametrize("kind", CUT)
def test_a_missing_gradient_is_not_a_zero(kind, criterion):
    model, block, layer = CUT[kind]
    with pytest.raises(LayerLotteryError, match=rf"^block {block}: the loss does not reach .*{layer}.*{criterion}"):
        ll.score(model, BATCH, criterion)
    # others can
    assert len(set(ll.score(model, BATCH, "l1").values())) == 4


def test_of_single_weights_the_layer_is_named():
    with pytest.raises(LayerLotteryError, match=r"^layer blocks.0.down: the loss does not reach blocks.0.down.weight"):
        weight_scores(Trunk(Numb), BATCH, CRITERIA["snip"])


class Spare(Mix):
    """With a layer that is never used, and one whose result is thrown away."""

    def __init__(self):
        super().__init__()
        self.unused, self.probe = nn.Conv2d(6, 6, 1), nn.Linear(6, 2)

    def forward(self, x):
        self.probe(x.mean((2, 3)))
        return super().forward(x)


@pytest.mark.parametrize("criterion", CRITERIA_OF_GRADIENTS)
def test_what_the_answer_does_not_rest_on_scores_zero(criterion):
    model, plain = Trunk(Spare), Trunk()
    plain.load_state_dict(model.state_dict(), strict=False)
    assert ll.score(model, BATCH, criterion) == pytest.approx(ll.score(plain, BATCH, criterion))


def test_frozen_weights_are_scored_all_the_same():
    assert ll.score(Trunk().requires_grad_(False), BATCH, "snip") == ll.score(Trunk(), BATCH, "snip")


def constant(model, blocks, batches, *, seed):
    return {block.name: 0.25 for block in blocks}


def test_equal_scores_of_all_blocks_choose_none():
    silent = Trunk()
    nn.init.zeros_(silent.head.weight)
    for call in (
        lambda: ll.score(Trunk(), BATCH, constant),
        lambda: ll.find_ticket(Trunk(), BATCH, constant, remove=1),
        lambda: ll.score(silent, BATCH, "snip"),
        lambda: rank_blocks(silent, BATCH, CRITERIA["snip"]),
    ):
        with pytest.raises(LayerLotteryError, match=r"(constant|snip) gave all [34] blocks the same value, 0"):
            call()
    with pytest.raises(LayerLotteryError, match=r"snip gave all 22 groups of filters the same value"):
        group_scores(silent, BATCH, CRITERIA["snip"])
    with pytest.raises(LayerLotteryError, match=r"snip gave all .* weights the same value"):
        weight_scores(silent, BATCH, CRITERIA["snip"])


def test_a_single_block_has_nobody_to_differ_from():
    check_differ([1.0], "snip", "blocks")
    check_differ([], "snip", "blocks")
    check_differ([1.0, 1.0, 2.0], "snip", "blocks")
