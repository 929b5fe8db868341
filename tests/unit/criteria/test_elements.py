"""Scores of filters and weights against hand-computed toys and identities; shares of the complexity criterion."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.criteria import CRITERIA, CriterionSettings
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.criteria.complexity import layer_shares, removal_places
from layerlottery.criteria.score import group_scores, score, score_blocks, weight_scores
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.filters import find_couplings
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.networks.weights import build, save_network
from layerlottery.store.artifacts import read_facts, read_tensors
from layerlottery.store.hashing import derived_seed

A, B, X = (1.5, -0.5), (-0.75, 2.0), 2.0


class Toy(nn.Module):
    """Two filters, then one: logits (z, 0) with z = x (a0 b0 + a1 b1)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1, bias=False)
        self.second = nn.Conv2d(2, 1, 1, bias=False)
        self.classifier = nn.Linear(1, 2, bias=False)
        self.first.weight.data = torch.tensor(A).view(2, 1, 1, 1)
        self.second.weight.data = torch.tensor(B).view(1, 2, 1, 1)
        self.classifier.weight.data = torch.tensor([[1.0], [0.0]])

    def forward(self, x):
        return self.classifier(self.second(self.first(x)).mean(dim=(2, 3)))


TOY_BATCH = (torch.full((1, 1, 1, 1), X), torch.zeros(1, dtype=torch.int64))


def settings(**changes):
    return CriterionSettings(**({"function": "snip"} | changes))


def network(**changes):
    model = CifarResNet(NetworkSettings(**({"depth": 14, "width": 2} | changes)), channels=3, classes=4)
    initialize(model, 0)
    return model


def random_batch(dtype=torch.float32):
    images = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(7), dtype=dtype)
    return images, torch.arange(12) % 4


def scores_of(rows, layer):
    return [row["score"] for row in rows if row["layer"] == layer]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_snip_of_a_toys_filters_by_hand(temperature):
    slope = 1 / (temperature * (1 + math.exp(X * (A[0] * B[0] + A[1] * B[1]) / temperature)))
    # each weight's product is its path's: a b x times the slope of the loss
    products = [abs(slope * X * a * b) for a, b in zip(A, B, strict=True)]
    rows = group_scores(Toy(), TOY_BATCH, settings(temperature=temperature))
    assert [(row["layer"], row["index"], row["filters"]) for row in rows] == [
        ("first", 0, 1),
        ("first", 1, 1),
        ("second", 0, 1),
    ]
    assert scores_of(rows, "first") == pytest.approx(products, rel=1e-5)
    assert scores_of(rows, "second") == pytest.approx([sum(products)], rel=1e-5)
    mean = group_scores(Toy(), TOY_BATCH, settings(temperature=temperature, reduction="mean"))
    assert scores_of(mean, "second") == pytest.approx([sum(products) / 2], rel=1e-5)


def test_synflow_of_linear_weights_in_closed_form():
    # R = |a0 b0| + |a1 b1| whatever the image, so each weight has its path's flow
    scores = weight_scores(Toy(), TOY_BATCH, CRITERIA["synflow"])
    paths = [abs(a * b) for a, b in zip(A, B, strict=True)]
    assert scores["first.weight"].ravel().tolist() == pytest.approx(paths)
    assert scores["second.weight"].ravel().tolist() == pytest.approx(paths)


def test_synflow_of_a_network_against_finite_differences():
    model = network().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    scores = weight_scores(model, random_batch(), CRITERIA["synflow"])
    positive = copy.deepcopy(model)
    for parameter in positive.parameters():
        parameter.data.abs_()
    weight, at, ones = positive.stage2[0].conv1.weight, (1, 0, 2, 1), torch.ones(1, 3, 8, 8, dtype=torch.float64)
    value, flows = weight[at].item(), []
    with torch.no_grad():
        for step in (1e-5, -1e-5):
            weight[at] = value * (1 + step)
            flows.append(positive(ones).sum().item())
    assert scores["stage2.0.conv1.weight"][at] == pytest.approx((flows[0] - flows[1]) / 2e-5, rel=1e-6)


def test_grasp_of_a_filter_is_its_squared_gradient_norm():
    # the loss does not depend on the scale of a filter before a train-mode BatchNorm, hence -theta . Hg = g . g
    model, batch = network().double().train(), random_batch(torch.float64)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-12
    rows = group_scores(model, batch, settings(function="grasp", products="signed", keep="low"))
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    squares = {
        name: (module.weight.grad**2).flatten(1).sum(1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    coupled = ["stem.0", "stage1.0.conv2", "stage1.1.conv2"]
    expected = sum(squares[name] for name in coupled) / len(coupled)
    first = [row for row in rows if row["layer"] == "stem.0"]
    assert [row["raw"] for row in first] == pytest.approx(expected.tolist(), rel=1e-5)
    assert [row["score"] for row in first] == [-row["raw"] for row in first]
    assert [row["filters"] for row in first] == [3, 3]
    assert [-score for score in scores_of(rows, "stage3.0.conv1")] == pytest.approx(
        squares["stage3.0.conv1"].tolist(), rel=1e-5
    )


def test_l1_of_filters_and_magnitudes_of_weights():
    model = network()
    rows = group_scores(model, random_batch(), settings(function="l1"))
    norms = np.abs(model.stage2[1].conv1.weight.detach().numpy()).reshape(4, -1).sum(axis=1)
    assert scores_of(rows, "stage2.1.conv1") == pytest.approx(norms.tolist(), rel=1e-6)
    weights = weight_scores(model, random_batch(), CRITERIA["magnitude"])
    expected = {name for name, parameter in model.named_parameters() if parameter.dim() == 4}
    assert set(weights) == expected
    assert np.array_equal(weights["stem.0.weight"], model.stem[0].weight.detach().abs().numpy())


@pytest.mark.parametrize("products", ["absolute", "signed"])
@pytest.mark.parametrize("function", ["snip", "grasp", "synflow"])
def test_blocks_and_filters_add_up_what_their_weights_have(function, products):
    model, batch = network(depth=20).double(), random_batch(torch.float64)
    chosen = settings(function=function, products=products, batchnorm="eval")
    weights = weight_scores(model, batch, chosen)
    for name, found in score_blocks(model, batch, chosen).items():
        held = [value.sum() for key, value in weights.items() if key.startswith(f"{name}.")]
        assert found == pytest.approx(sum(held), rel=1e-9)
    rows, coupled = group_scores(model, batch, chosen), ["stem.0", "stage1.0.conv2", "stage1.1.conv2", "stage1.2.conv2"]
    filters = np.mean([weights[f"{layer}.weight"].reshape(2, -1).sum(axis=1) for layer in coupled], axis=0)
    assert scores_of(rows, "stem.0") == pytest.approx(filters.tolist(), rel=1e-9)


def test_signed_and_absolute_products():
    model, batch = network(), random_batch()
    signed = weight_scores(model, batch, settings(products="signed"))
    absolute = weight_scores(model, batch, settings())
    low = weight_scores(model, batch, settings(keep="low"))
    assert (signed["stem.0.weight"] < 0).any()
    for name, scores in absolute.items():
        assert np.array_equal(scores, np.abs(signed[name]))
        assert np.array_equal(low[name], -scores)


@pytest.mark.parametrize("name", ["random", "l1", "snip", "grasp", "synflow", "complexity_memory"])
def test_every_group_is_scored_and_the_network_stays_as_it_was(name):
    model, batch = network().eval(), random_batch()
    before = copy.deepcopy(model.state_dict())
    rows = group_scores(model, batch, CRITERIA[name])
    total = sum(module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    assert sum(row["filters"] for row in rows) == total
    assert len({(row["layer"], row["index"]) for row in rows}) == len(rows)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_scores_are_uniform_and_follow_the_seed():
    model, batch = network(), random_batch()
    drawn = [weight_scores(model, batch, CRITERIA["random"], seed=seed) for seed in (0, 0, 1)]
    values = [np.concatenate([array.ravel() for array in one.values()]) for one in drawn]
    assert np.array_equal(values[0], values[1])
    assert abs(np.corrcoef(values[0], values[2])[0, 1]) < 5 / math.sqrt(values[0].size)
    assert abs(values[0].mean() - 0.5) < 5 / math.sqrt(12 * values[0].size)
    assert values[0].min() >= 0 > values[0].max() - 1


def test_shares_by_hand():
    # 8 x 8 pixels and widths 2, 4, 8, one block a stage, grey images
    model = CifarResNet(NetworkSettings(depth=8, width=2), channels=1, classes=4)
    couplings = find_couplings(model)
    assert [coupling.layers for coupling in couplings] == [
        ("stem.0", "stage1.0.conv2"),
        ("stage1.0.conv1",),
        ("stage2.0.conv1",),
        ("stage2.0.conv2", "stage2.0.shortcut.conv"),
        ("stage3.0.conv1",),
        ("stage3.0.conv2", "stage3.0.shortcut.conv"),
    ]
    parameters = np.array([18 + 36, 36, 72, 144 + 8, 288, 576 + 32])
    pixels = np.array([64, 64, 16, 16, 4, 4])
    outputs = np.array([2 + 2, 2, 4, 4 + 4, 8, 8 + 8])
    for share, costs in {"parameters": parameters, "macs": parameters * pixels, "memory": outputs * pixels}.items():
        np.testing.assert_allclose(layer_shares(model, couplings, (1, 8, 8), share=share), costs / costs.sum())


def test_layers_are_drawn_by_their_shares_and_filters_uniformly():
    shares, draws = np.array([0.5, 0.3, 0.2]), 600
    places = removal_places([900, 900, 900], shares, seed=3)
    counts = np.array([(one <= draws).sum() for one in places])
    assert (abs(counts - shares * draws) < 4 * np.sqrt(draws * shares * (1 - shares))).all()
    chosen = np.flatnonzero(places[0] <= draws)
    assert abs(chosen.mean() - 450) < 4 * 900 / math.sqrt(12 * len(chosen))


def test_places_are_a_permutation_whose_end_is_one_filter_of_every_layer():
    places = removal_places([5, 1, 3], np.array([0.9, 0.05, 0.05]), seed=0)
    assert sorted(np.concatenate(places)) == list(range(1, 10))
    assert [one.max() for one in places] == [7, 8, 9]
    assert not np.array_equal(places[0], removal_places([5, 1, 3], np.array([0.9, 0.05, 0.05]), seed=1)[0])


def test_a_score_that_is_not_finite_names_the_layer():
    model = network()
    model.stage2[1].conv1.weight.data[0] = math.nan
    for function in (group_scores, weight_scores):
        with pytest.raises(LayerLotteryError, match=r"layer stage2\.1\.conv1: l1 gave nan; scores must be finite"):
            function(model, random_batch(), settings(function="l1"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    prepare(Digits(source="digits", train_size=60, test_size=20, shifted=[]), folder)
    architecture = {"network": {"depth": 14, "width": 2}, "channels": 1, "classes": 10, "removed_blocks": []}
    model = build(architecture)
    initialize(model, 5)
    save_network(folder / "weights.safetensors", model, {"architecture": architecture}, config_hash="made")
    return folder / "weights.safetensors", folder / "facts.json"


def test_the_stage_writes_groups(files, tmp_path):
    for draw in (0, 1):
        given = {"structure": "filters", "seed": 4, "draw": draw, "device": torch.device("cpu")}
        score(*files, tmp_path / f"{draw}.json", CRITERIA["random"], **given)
    first, second = (read_facts(tmp_path / f"{draw}.json") for draw in (0, 1))
    model = CifarResNet(NetworkSettings(depth=14, width=2), channels=1, classes=10)
    nothing = (torch.zeros(0, 1, 8, 8), torch.zeros(0))
    assert first["groups"] == group_scores(model, nothing, CRITERIA["random"], seed=4)
    assert second["groups"] == group_scores(model, nothing, CRITERIA["random"], seed=derived_seed("draw", 4, 1))
    assert first["groups"] != second["groups"]
    assert first["settings"]["function"] == "random"
    assert (first["images"], first["config_hash"] == second["config_hash"]) == (0, False)


def test_the_stage_writes_weights_in_network_order(files, tmp_path):
    chosen = settings(images_per_class=2)
    given = {"structure": "weights", "seed": 0, "device": torch.device("cpu")}
    score(*files, tmp_path / "scores.safetensors", chosen, **given)
    tensors, facts = read_tensors(tmp_path / "scores.safetensors")
    model = CifarResNet(NetworkSettings(depth=14, width=2), channels=1, classes=10)
    assert facts["layers"] == [name for name, parameter in model.named_parameters() if parameter.dim() == 4]
    assert {name: array.shape for name, array in tensors.items()} == {
        name: tuple(parameter.shape) for name, parameter in model.named_parameters() if parameter.dim() == 4
    }
    assert facts["images"] == 20


@pytest.mark.parametrize(
    ("structure", "changes", "message"),
    [
        ("filters", {"function": "hrank"}, r"function: hrank can't score filters; allowed: complexity, .*snip"),
        (
            "weights",
            {"function": "complexity"},
            r"function: complexity can't score weights; allowed: grasp, hutchinson",
        ),
        ("weights", {"parameters": "all"}, "parameters: found all; weights are scored by convolutions alone"),
        ("filters", {"select": "one_by_one"}, "select: found one_by_one; filters are selected by the lowest scores"),
    ],
)
def test_settings_that_do_not_fit_are_refused(files, tmp_path, structure, changes, message):
    given = {"structure": structure, "seed": 0, "device": torch.device("cpu")}
    with pytest.raises(LayerLotteryError, match=message):
        score(*files, tmp_path / "scores", settings(**changes), **given)
