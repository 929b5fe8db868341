"""NTK-SAP against finite differences of the masks and a closed form, PX against a walk along every path."""

import copy
import itertools

import pytest
import torch
from torch import nn

from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.score import rank_blocks, score_blocks, weight_scores
from layerlottery.criteria.scoring import Scoring, values
from layerlottery.criteria.tangent import CHANGE, RANDOM_IMAGES, mask_gradients
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, residual_blocks


def removable(model):
    return [block for block in residual_blocks(model, keep_first=True) if block.removable]


def test_masks_against_finite_differences(make_network, make_batch, settings):
    model, (images, _) = make_network().double().eval(), make_batch(dtype=torch.float64)
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in (one for one in twin.parameters() if one.dim() > 1):
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    given = Scoring(model, (images, None), settings("ntk_sap"), blocks=removable(model))
    found = mask_gradients(given, twin, images)

    def apart(name, place, factor):
        """The distance of both networks' outputs when one weight's mask is `factor`."""
        masked = copy.deepcopy(model), copy.deepcopy(twin)
        with torch.no_grad():
            for one in masked:
                one.get_parameter(name).flatten()[place] *= factor
            return (masked[0](images) - masked[1](images)).square().sum().item()

    for name in ("stage1.1.conv1.weight", "stage2.2.conv2.weight", "stage3.1.conv2.weight"):
        for place in (0, 7):
            slope = (apart(name, place, 1 + 1e-5) - apart(name, place, 1 - 1e-5)) / 2e-5
            assert found[name].flatten()[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


class Product(nn.Module):
    """Logits (a b x) of 1x1 convolutions without biases."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Conv2d(1, 1, 1, bias=False)) for _ in range(2))

    def forward(self, x):
        return self.b(self.a(x)).flatten(1)


def test_ntk_sap_of_a_product_in_closed_form(settings):
    # with a, b ~ N(0, 2), x ~ N(0, 1) and a mask on a or b the distance is quadratic in the mask: its slope at 1 is
    # twice its mean, 2 (2 ε² + 2 ε² + ε⁴) for each image
    torch.manual_seed(0)
    batch, blocks = (torch.zeros(0, 1, 1, 1), None), [Block("a", "toy", True), Block("b", "toy", True)]
    found = values(Scoring(Product(), batch, settings("ntk_sap", samples=4000), blocks=blocks))
    expected = RANDOM_IMAGES * 2 * (4 * CHANGE**2 + CHANGE**4)
    assert found["a"] == pytest.approx(found["b"], rel=1e-3)
    assert found["a"] == pytest.approx(expected, rel=0.15)


def test_ntk_sap_looks_at_no_weights(make_network, make_batch):
    first, second = (
        rank_blocks(make_network(width=2, seed=seed), make_batch(), CRITERIA["ntk_sap"], seed=4) for seed in (0, 1)
    )
    assert first == second
    assert rank_blocks(make_network(width=2), make_batch(), CRITERIA["ntk_sap"], seed=5) != first


def test_ntk_sap_looks_at_no_biases_of_attention(make_batch):
    layers = (nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True, norm_first=True) for _ in range(2))
    model = nn.Sequential(nn.Flatten(2), nn.Linear(64, 8), *layers, nn.Flatten(), nn.Linear(24, 4))
    before = score_blocks(model, make_batch(), CRITERIA["ntk_sap"])
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    assert len(before) > 0
    assert score_blocks(model, make_batch(), CRITERIA["ntk_sap"]) == before


def test_ntk_sap_of_a_block_is_the_sum_over_its_weights(make_network, make_batch):
    model, batch, chosen = make_network(width=2), make_batch(), CRITERIA["ntk_sap"].model_copy(update={"samples": 2})
    weights = weight_scores(model, batch, chosen, seed=1)
    for name, score in score_blocks(model, batch, chosen, seed=1).items():
        assert score == pytest.approx(sum(weights[f"{name}.conv{one}.weight"].sum() for one in (1, 2)), rel=1e-5)


class Gated(nn.Module):
    """x (N, 2) -> 3 hidden units in a block -> ReLU -> 2 outputs, with biases, a BatchNorm and a shortcut around it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU())
        self.outer = nn.Linear(3, 2)
        self.around = nn.Linear(2, 2, bias=False)

    def forward(self, x):
        return self.outer(self.inner(x)) + self.around(x)


@pytest.fixture
def gated():
    torch.manual_seed(3)
    model = Gated().eval()
    norm = model.inner[1]
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return model, torch.randn(4, 2)


def test_px_by_walking_along_every_path(gated, settings):
    model, images = gated
    linear, norm, outer, around = model.inner[0], model.inner[1], model.outer, model.around
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).tolist()
    opened = (norm(linear(images)) > 0).tolist()
    squares = images.double().square().tolist()
    # by output: the images' squares over open paths, and squared weights over all paths, by the weights on them
    reached = [0.0, 0.0]
    paths = {0: [], 1: []}
    for k, i in itertools.product(range(2), range(2)):
        for j in range(3):
            reached[k] += sum(square[i] * open_[j] for square, open_ in zip(squares, opened, strict=True))
            weight = linear.weight[j, i].item() * factor[j] * outer.weight[k, j].item()
            paths[k].append((weight**2, {("linear", j, i), ("outer", k, j)}))
        reached[k] += sum(square[i] for square in squares)
        paths[k].append((around.weight[k, i].item() ** 2, {("around", k, i)}))
    assert any(not all(one) for one in opened)

    def part(weight):
        return sum(reached[k] * value for k in range(2) for value, on in paths[k] if weight in on)

    blocks = [Block(name, "toy", True) for name in ("inner", "outer", "around")]
    found = values(Scoring(model, (images, None), settings("px"), blocks=blocks))
    assert found["inner"] == pytest.approx(sum(part(("linear", j, i)) for j in range(3) for i in range(2)), rel=1e-5)
    assert found["outer"] == pytest.approx(sum(part(("outer", k, j)) for k in range(2) for j in range(3)), rel=1e-5)
    assert found["around"] == pytest.approx(sum(part(("around", k, i)) for k in range(2) for i in range(2)), rel=1e-5)


def test_px_scores_are_positive_and_add_up_to_the_same_in_both_layers_of_a_block(make_network, make_batch):
    # every path through a block's branch has one weight of each of its two convolutions
    model, batch = make_network(), make_batch()
    scores = weight_scores(model, batch, CRITERIA["px"])
    assert all((one > 0).all() for name, one in scores.items() if not name.startswith("stem"))
    for block in removable(model):
        first, second = (scores[f"{block.name}.conv{number}.weight"].sum() for number in (1, 2))
        assert first == pytest.approx(second, rel=1e-9)
        assert score_blocks(model, batch, CRITERIA["px"])[block.name] == pytest.approx(2 * first, rel=1e-9)


@pytest.mark.parametrize(
    ("layer", "found"), [(nn.GELU(), "gelu"), (nn.LeakyReLU(), "leaky_relu"), (nn.LayerNorm(3), "layer_norm")]
)
def test_px_refuses_what_it_has_no_paths_for(layer, found, gated, settings):
    model, images = gated
    model.inner[2] = layer
    given = Scoring(model, (images, None), settings("px"), blocks=[Block("inner", "toy", True)])
    with pytest.raises(LayerLotteryError, match=rf"^inner\.2: found {found}; px needs outputs that grow .* but ReLU$"):
        values(given)
