"""Scores from a network in its faster form, in parts: those of the network as it is."""

import pytest
import torch
from torch import nn

from layerlottery.config.criteria import FORMULAS
from layerlottery.criteria import batches
from layerlottery.criteria.score import paper_blocks, score_blocks
from layerlottery.criteria.scoring import Scoring, scoring_copy, values
from layerlottery.networks.blocks import Block
from layerlottery.networks.resnet import BasicBlock

FOLDED = pytest.mark.parametrize("function", [name for name, formula in FORMULAS.items() if formula.needs == "forward"])


@pytest.fixture
def network(make_network, make_batch):
    """Running statistics and affine maps that are neither 0 nor 1."""
    model = make_network()
    draw = torch.Generator().manual_seed(3)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.5, 1.5, generator=draw)
        norm.bias.data.uniform_(-0.5, 0.5, generator=draw)
        norm.momentum = None
    with torch.no_grad():
        model.train()(make_batch(40)[0])
    return model.eval()


def unfolded(model, batch, chosen):
    copy = scoring_copy(model, chosen)
    removable = [block for block in paper_blocks(copy, batch) if block.removable]
    return values(Scoring(copy, batch, chosen, blocks=removable))


@pytest.fixture
def fast(monkeypatch):
    """In which form blocks ran: True is the fast one, which folded networks take."""
    ran, forward = set(), BasicBlock.forward
    monkeypatch.setattr(BasicBlock, "forward", lambda self, x: (ran.add(self.fast), forward(self, x))[1])
    return ran


@FOLDED
def test_folding_changes_scores_by_rounding_alone(function, network, make_batch, settings, fast):
    batch, chosen = make_batch(40), settings(function)
    expected = unfolded(network, batch, chosen)
    assert fast == {False}
    found = score_blocks(network, batch, chosen)
    assert fast == {False, True}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert len(set(found.values())) > 1


def test_the_network_stays_what_it_was(network, make_batch, settings):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    score_blocks(network, make_batch(), settings("expectabs"))
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {type(module) for module in network.modules()} >= {BasicBlock, nn.BatchNorm2d}
    assert not any(module.fast for module in network.modules() if isinstance(module, BasicBlock))


class Doubling(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def with_own_layer(model):
    model.stage2[1].conv1.__class__ = Doubling
    return model


def with_hook(model):
    model.stage2[1].conv1.register_forward_hook(lambda module, given, out: 2 * out)
    return model


def without_statistics(model):
    norm = model.stage2[1].bn1
    model.stage2[1].bn1 = nn.BatchNorm2d(norm.num_features, track_running_stats=False)
    return model


@pytest.mark.parametrize("change", [with_own_layer, with_hook, without_statistics, nn.Module.double])
def test_a_network_with_layers_of_another_kind_is_left_as_it_is(change, network, make_batch, settings, fast):
    model = change(network)
    dtype = next(model.parameters()).dtype
    batch, chosen = make_batch(dtype=dtype), settings("expectabs")
    assert score_blocks(model, batch, chosen) == pytest.approx(unfolded(model, batch, chosen), rel=1e-12)
    assert fast == {False}


def test_batch_statistics_are_not_folded(network, make_batch, settings, fast):
    chosen = settings("expectabs", batchnorm="train")
    score_blocks(network, make_batch(), chosen)
    assert fast == {False}


def test_parts_on_a_processor():
    def sizes(count, *shape, together=False):
        images = torch.empty(1, *shape).expand(count, *shape)
        return [len(part) for part in batches.parts(images, together=together)]

    assert sizes(200, 3, 32, 32) == [64, 64, 64, 8]
    assert sizes(200, 3, 32, 32, together=True) == [200]
    # no fewer than 8, unless these take more memory than there may be
    assert sizes(20, 3, 224, 224) == [8, 8, 4]
    assert sizes(2, 3, 1024, 1024) == [1, 1]
    assert sizes(200, 3, 8, 8) == sizes(200, 16) == [200]


@FOLDED
@pytest.mark.parametrize("pixels", [64, 64 * 9])
def test_scores_do_not_depend_on_the_parts(function, pixels, network, make_batch, settings, monkeypatch):
    batch, chosen = make_batch(40), settings(function)
    expected = score_blocks(network, batch, chosen)
    monkeypatch.setattr(batches, "FEWEST_IMAGES", 1)
    monkeypatch.setattr(batches, "CACHED_PIXELS", pixels)
    assert score_blocks(network, batch, chosen) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_finite_outputs_may_have_an_infinite_sum(settings):
    model = nn.ModuleDict({"block": nn.Identity()})
    model.forward = lambda x: model["block"](x)
    images = torch.full((4, 1, 2, 2), 3e38)
    assert not images.sum().isfinite()
    scores = values(Scoring(model.eval(), (images, None), settings("expectabs"), [Block("block", "toy", True)]))
    assert scores["block"] == pytest.approx(3e38)
