"""CKA and consensus on networks with a planted block that does nothing and one that does most."""

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.networks import NetworkSettings
from layerlottery.criteria import batches, similarity
from layerlottery.criteria.scoring import Scoring
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, remove_blocks, residual_blocks
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.similarity.metrics import METRICS

IDLE, ESSENTIAL = "stage2.1", "stage3.2"
BOTH = pytest.mark.parametrize("criterion", [similarity.cka, similarity.consensus])
MODES = pytest.mark.parametrize("batchnorm", ["train", "eval"])


def batch(count=24):
    draw = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, 8, 8, generator=draw), torch.arange(count) % 4


@pytest.fixture
def planted():
    """One block whose last BatchNorm is zeroed, one that outweighs its shortcut; the others change little."""
    model = CifarResNet(NetworkSettings(depth=20, width=3), channels=3, classes=4)
    initialize(model, seed=0)
    for block in residual_blocks(model, keep_first=True):
        if block.removable:
            model.get_submodule(block.name).bn2.weight.data.fill_(0.2)
    nn.init.zeros_(model.get_submodule(IDLE).bn2.weight)
    model.get_submodule(ESSENTIAL).bn2.weight.data.fill_(5)
    with torch.no_grad():
        model.train()(batch()[0])  # running statistics that fit
    return model


def score(criterion, model, batchnorm="eval", images=None, seed=0):
    function = criterion.__name__
    chosen = CriterionSettings(function=function, batchnorm=batchnorm)
    scored = copy.deepcopy(model).train(batchnorm == "train")
    blocks = [block for block in residual_blocks(scored, keep_first=True) if block.removable]
    return criterion(Scoring(scored, images or batch(), chosen, blocks, seed=seed))


@BOTH
@MODES
def test_the_idle_block_goes_first_and_the_essential_one_last(criterion, batchnorm, planted):
    scores = score(criterion, planted, batchnorm)
    assert list(scores) == ["stage1.1", "stage1.2", "stage2.1", "stage2.2", "stage3.1", "stage3.2"]
    assert min(scores, key=scores.get) == IDLE
    assert max(scores, key=scores.get) == ESSENTIAL
    assert len(set(scores.values())) > 2


def test_a_block_that_does_nothing_has_cka_score_zero(planted):
    assert score(similarity.cka, planted)[IDLE] == pytest.approx(0, abs=1e-12)


def penultimate(model, images):
    """Spatial means of the last stage, computed step by step."""
    with torch.no_grad():
        for part in (model.stem, model.stage1, model.stage2, model.stage3):
            images = part(images)
    return images.double().mean((2, 3))


@MODES
def test_cka_is_one_less_the_squared_cosine_of_centred_gram_matrices(batchnorm, planted):
    images, _ = batch()

    def centred_gram(model):
        features = penultimate(model.train(batchnorm == "train"), images).numpy()
        features = features - features.mean(0)
        return (features @ features.T).ravel()

    whole = centred_gram(copy.deepcopy(planted))
    for name, value in score(similarity.cka, planted, batchnorm).items():
        without = centred_gram(remove_blocks(planted, [name]))
        cosine = whole @ without / (np.linalg.norm(whole) * np.linalg.norm(without))
        assert value == pytest.approx(1 - cosine, abs=1e-6)


def test_consensus_adds_up_the_ranks_of_eight_metrics(planted):
    whole, labels = penultimate(planted.eval(), batch()[0]), batch()[1]
    scores = score(similarity.consensus, planted)
    without = [penultimate(remove_blocks(planted, [name]).eval(), batch()[0]) for name in scores]
    ranks = [scipy.stats.rankdata([metric(whole, one, labels) for one in without]) for metric in METRICS.values()]
    assert list(scores.values()) == pytest.approx(np.sum(ranks, axis=0))
    assert sum(scores.values()) == 8 * (1 + 2 + 3 + 4 + 5 + 6)


def test_consensus_gives_equal_blocks_their_mean_rank(planted):
    for name in ("stage1.1", "stage3.1"):
        nn.init.zeros_(planted.get_submodule(name).bn2.weight)
    scores = score(similarity.consensus, planted)
    assert scores[IDLE] == scores["stage1.1"] == scores["stage3.1"] == 8 * 2


def test_consensus_ignores_differences_below_rounding(planted, monkeypatch):
    noise = iter([3e-15, 1e-15, 2e-15, 0.0, 5e-15, 4e-15])
    monkeypatch.setattr(similarity.metrics, "METRICS", {"noisy": lambda x, y, labels: next(noise)})
    assert set(score(similarity.consensus, planted).values()) == {3.5}


@MODES
def test_more_images_than_a_forward_batch_takes_change_nothing(batchnorm, planted, monkeypatch):
    expected = score(similarity.cka, planted, batchnorm)
    monkeypatch.setattr(batches, "PIXELS_AT_A_TIME", 5 * 64)
    assert score(similarity.cka, planted, batchnorm) == pytest.approx(expected, abs=1e-6)


@BOTH
def test_the_score_does_not_follow_the_seed_and_repeats_exactly(criterion, planted):
    assert score(criterion, planted, seed=0) == score(criterion, planted, seed=1)


@BOTH
def test_a_block_that_carries_all_signal_is_the_furthest_and_crashes_nothing(criterion, planted):
    # behind a dead last downsampling block, only what the essential block adds is left, and that is constant
    first = planted.stage3[0]
    for parameter in (first.bn2.weight, first.bn2.bias, first.shortcut.bn.weight, first.shortcut.bn.bias):
        nn.init.zeros_(parameter)
    scores = score(criterion, planted)
    assert all(math.isfinite(value) for value in scores.values())
    if criterion is similarity.cka:
        assert set(scores.values()) == {1.0}


@BOTH
def test_features_that_are_not_finite_are_an_error_that_names_the_network(criterion, planted):
    planted.stage2[2].bn2.bias.data.fill_(math.nan)
    with pytest.raises(LayerLotteryError, match=r"^the network: found penultimate features that are not finite"):
        score(criterion, planted)


def test_features_that_are_not_finite_without_a_block_name_it(planted):
    class Bounding(nn.Module):
        def forward(self, x):
            return x.nan_to_num(0, 1, -1)

    planted.stage3.add_module("3", Bounding())
    images, labels = batch()
    blocks = [Block("stage3.3", "stage3", True)]
    planted.stage3[2].register_forward_hook(lambda module, given, out: out + math.inf)
    chosen = CriterionSettings(function="cka")
    with pytest.raises(LayerLotteryError, match=r"^the network without block stage3\.3: found penultimate features"):
        similarity.cka(Scoring(planted.eval(), (images, labels), chosen, blocks))


def test_one_image_alone_crashes_nothing(planted):
    images, labels = batch()
    assert set(score(similarity.cka, planted, images=(images[:1], labels[:1])).values()) == {1.0}
    ranks = score(similarity.consensus, planted, images=(images[:1], labels[:1]))
    assert all(math.isfinite(value) for value in ranks.values())
