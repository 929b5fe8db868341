"""Every criterion against a hand-computed toy, an identity of the method, or finite differences."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.criteria import CRITERIA, DEPTHS, FORMULAS, CriterionSettings
from layerlottery.criteria.score import _in_batches, rank_blocks, score_blocks
from layerlottery.criteria.scoring import Scoring, functions, values
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, residual_blocks


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


def plain_scores(model, blocks, batch, chosen):
    """Of the network as it is."""
    return values(Scoring(model, batch, chosen, blocks=blocks))


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
    scores = plain_scores(Toy(A, B), TOY_BLOCKS, TOY_BATCH, settings())
    assert scores["a"] == pytest.approx(abs(A * gradient[0]), rel=1e-6)
    assert scores["b"] == pytest.approx(abs(B * gradient[1]), rel=1e-6)
    signed = plain_scores(Toy(A, B), TOY_BLOCKS, TOY_BATCH, settings(products="signed"))
    assert signed["a"] == pytest.approx(A * gradient[0], rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_on_the_toy_by_hand(temperature):
    gradient, hessian = logistic_derivatives(temperature)
    product = hessian @ gradient
    chosen = settings(function="grasp", products="signed", temperature=temperature)
    scores = plain_scores(Toy(A, B), TOY_BLOCKS, TOY_BATCH, chosen)
    assert scores["a"] == pytest.approx(-A * product[0], rel=1e-5)
    assert scores["b"] == pytest.approx(-B * product[1], rel=1e-5)


def test_l1_by_hand():
    block = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False))
    block[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(2, 2, 1, 1)
    block[2].weight.data = torch.tensor([[-6.0, 0.0]]).view(1, 2, 1, 1)
    model = nn.ModuleDict({"block": block})
    blocks = [Block("block", "toy", True)]
    # filters: |1| + |-2| = 3, 3 + 4 = 7, 6 + 0 = 6
    assert plain_scores(model, blocks, None, settings(function="l1")) == {"block": pytest.approx(16 / 3)}
    mean = plain_scores(model, blocks, None, settings(function="l1", reduction="mean"))
    assert mean == {"block": pytest.approx((1.5 + 3.5 + 3) / 3)}


def test_l1_scores_early_stages_lowest_at_initialization(make_network, make_batch):
    # figure 3 of Jordao et al.: He's weights shrink with the square root of a filter's size, its sum grows with it
    scores = score_blocks(make_network(depth=32), make_batch(), CRITERIA["l1"])
    stages = [np.mean([v for name, v in scores.items() if name.startswith(f"stage{s}")]) for s in (1, 2, 3)]
    assert stages[0] < stages[1] < stages[2]


def removable(model):
    return [block for block in residual_blocks(model, keep_first=True) if block.removable]


@pytest.fixture
def double(make_network, make_batch):
    """A network in train mode and its batch, in float64."""
    return make_network().double().train(), make_batch(dtype=torch.float64)


def test_snip_products_add_up_to_zero_before_batchnorm(double):
    # the loss does not change when weights before a train-mode BatchNorm are scaled: Euler's identity
    model, batch = double
    signed = plain_scores(model, removable(model), batch, settings(products="signed"))
    absolute = plain_scores(model, removable(model), batch, settings())
    for name, value in signed.items():
        assert abs(value) < 1e-5 * absolute[name]


def test_what_signed_snip_ranks_by_is_the_epsilon_of_batchnorm(double):
    # the identity holds for epsilon 0: the sums shrink with it, and so are no rounding errors
    model, batch = double
    signed = settings(products="signed")
    sums = {}
    for epsilon in (1e-8, 1e-9, 1e-30):
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = epsilon
        scores = plain_scores(model, removable(model), batch, signed)
        sums[epsilon] = np.array(list(scores.values()))
    assert np.abs(sums[1e-30]).max() < 1e-13
    assert sums[1e-9] == pytest.approx(0.1 * sums[1e-8], rel=0.01)


def test_grasp_of_a_layer_is_its_squared_gradient_norm(double):
    # -theta . Hg = g . g for every layer before a train-mode BatchNorm
    model, batch = double
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-12
    scores = plain_scores(model, removable(model), batch, settings(function="grasp", products="signed"))
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    for name, value in scores.items():
        block = model.get_submodule(name)
        squared = sum((conv.weight.grad**2).sum().item() for conv in (block.conv1, block.conv2))
        assert value == pytest.approx(squared, rel=1e-6)


def test_hessian_gradient_product_against_finite_differences(double):
    model, batch = double
    model.eval()
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
    scores = plain_scores(model, removable(model), batch, chosen)
    for name, value in scores.items():
        convolutions = [f"{name}.conv1.weight", f"{name}.conv2.weight"]
        expected = sum(-(model.get_parameter(c) * product[c]).sum().item() for c in convolutions)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-9)


DATA_FREE = [name for name, formula in FORMULAS.items() if formula.data_free and "layers" in formula.scores]
OF_BLOCKS = sorted(name for name, chosen in CRITERIA.items() if chosen.fits("layers"))


@pytest.mark.parametrize("select", ["lowest", "one_by_one", "deepest"])
@pytest.mark.parametrize("name", OF_BLOCKS)
def test_scoring_leaves_the_network_as_it_was(name, select, make_network, make_batch):
    model, batch = make_network(width=2).eval(), make_batch()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    ranking = rank_blocks(model, batch, CRITERIA[name].model_copy(update={"select": select}))
    assert list(ranking.score) == [block.name for block in removable(model)]
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random_state, torch.get_rng_state())


def test_batchnorm_mode_matters_and_is_what_it_says(make_network, make_batch):
    model, batch = make_network(), make_batch()
    running = score_blocks(model, batch, settings(batchnorm="eval"))
    by_batch = score_blocks(model, batch, settings(batchnorm="train"))
    assert running != by_batch
    # at initialization running statistics are 0 and 1: eval-mode BatchNorm only scales by 1 / sqrt(1 + eps)
    plain = copy.deepcopy(model).eval()
    expected = plain_scores(plain, removable(plain), batch, settings(batchnorm="eval"))
    assert running == expected


def test_reduction_and_parameters_settings(make_network, make_batch):
    model, batch = make_network(), make_batch()
    total, mean = (score_blocks(model, batch, settings(reduction=how)) for how in ("sum", "mean"))
    for name in total:
        block = model.get_submodule(name)
        count = block.conv1.weight.numel() + block.conv2.weight.numel()
        assert mean[name] == pytest.approx(total[name] / count)
    everything = score_blocks(model, batch, settings(parameters="all"))
    assert all(everything[name] > total[name] for name in total)


def test_a_score_that_is_not_finite_names_the_block(make_network, make_batch):
    model, batch = make_network(), make_batch()
    model.stage2[1].conv1.weight.data.fill_(math.nan)
    with pytest.raises(LayerLotteryError, match=r"block stage2\.1: l1 gave nan; scores must be finite"):
        score_blocks(model, batch, CRITERIA["l1"])


def test_every_declared_function_exists_and_has_a_name():
    # given depths are no criterion by themselves
    assert set(functions()) == set(FORMULAS) == {chosen.function for chosen in CRITERIA.values()} | {DEPTHS}
    assert all(formula.scores for formula in FORMULAS.values())


def test_a_function_for_filters_alone_is_refused(make_network, make_batch):
    with pytest.raises(LayerLotteryError, match="function: complexity scores no blocks; allowed: random, "):
        score_blocks(make_network(), make_batch(), CRITERIA["complexity_macs"])


@pytest.mark.parametrize("remove", [[1, 0, 2], [0, 0, 0], [2, 2, 2]])
def test_given_depths_take_the_last_blocks_of_each_stage(remove, make_network, make_batch):
    model = make_network(depth=32)
    scores = score_blocks(model, make_batch(), settings(function=DEPTHS, remove=remove))
    stages = [[name for name in scores if name.startswith(f"stage{stage}.")] for stage in (1, 2, 3)]
    last = [own[len(own) - count :] for own, count in zip(stages, remove, strict=True)]
    assert [name for name, score in scores.items() if score == 0] == [name for own in last for name in own]


@pytest.mark.parametrize("remove", [[1, 0], [9, 0, 0], [1, 0, -1]])
def test_depths_that_a_network_lacks_are_one_line(remove, make_network, make_batch):
    with pytest.raises(LayerLotteryError, match=r"remove: found .* stage1 0 to "):
        score_blocks(make_network(), make_batch(), settings(function=DEPTHS).model_copy(update={"remove": remove}))


@pytest.mark.parametrize("function", sorted({*DATA_FREE} - {DEPTHS}))
def test_data_free_functions_need_no_image(function, make_network, make_batch):
    model, (images, labels) = make_network(), make_batch()
    chosen = settings(function=function)
    assert score_blocks(model, (images[:0], labels[:0]), chosen) == score_blocks(model, (images, labels), chosen)


def test_synflow_on_the_toy_by_hand():
    # R = |a| |b| for an image of one 1, whatever the batch holds; both blocks carry all of it
    scores = plain_scores(Toy(A, B), TOY_BLOCKS, TOY_BATCH, settings(function="synflow"))
    assert scores == pytest.approx({"a": 1.5 * 0.75, "b": 1.5 * 0.75})


def test_synflow_holds_what_float32_does_not():
    scores = plain_scores(Toy(1e30, -1e30), TOY_BLOCKS, TOY_BATCH, settings(function="synflow"))
    assert scores == pytest.approx({"a": 1e60, "b": 1e60})


def test_synflow_against_finite_differences(double):
    # the sum of theta dR/dtheta over a block is R's derivative when all its convolutions grow by a common factor
    model, batch = double
    generator = torch.Generator().manual_seed(1)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1, generator=generator)
        norm.weight.data.normal_(1, 0.5, generator=generator)
    absolute = copy.deepcopy(model).eval()
    for tensor in [*absolute.parameters(), *(b for b in absolute.buffers() if b.is_floating_point())]:
        tensor.data = tensor.data.abs()

    def flow(name, factor):
        grown = copy.deepcopy(absolute)
        for convolution in (grown.get_submodule(name).conv1, grown.get_submodule(name).conv2):
            convolution.weight.data *= factor
        return grown(torch.ones(1, 3, 8, 8, dtype=torch.float64)).sum().item()

    scores = score_blocks(model, batch, CRITERIA["synflow"])
    for name, value in scores.items():
        assert value == pytest.approx((flow(name, 1 + 1e-5) - flow(name, 1 - 1e-5)) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("function", ["snip", "grasp", "kl"])
def test_images_in_batches_give_what_they_give_together(function, make_network, make_batch):
    model, batch = make_network(), make_batch()
    chosen = settings(function=function, batchnorm="eval", products="signed")
    together = score_blocks(model, batch, chosen)
    apart = score_blocks(model, _in_batches(batch, chosen.model_copy(update={"batch_size": 3})), chosen)
    assert apart == pytest.approx(together, rel=1e-3, abs=1e-7)
    assert _in_batches(batch, chosen) is batch
