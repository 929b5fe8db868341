"""The PLS criterion against scikit-learn's NIPALS run to convergence, and by hand."""

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from torch import nn

from layerlottery.criteria.regression import standardized, variable_importance
from layerlottery.criteria.score import score_blocks
from layerlottery.errors import LayerLotteryError
from layerlottery.tickets import score


def vip_of(fit):
    """VIP by its formula from a fitted PLSRegression."""
    explained = (fit.y_loadings_**2).sum(axis=0) * (fit.x_scores_**2).sum(axis=0)
    return np.sqrt(len(fit.x_weights_) * (fit.x_weights_**2 @ explained) / explained.sum())


def scikit_vip(features, targets, components):
    # the tolerance is on a squared difference: its default leaves errors up to a tenth
    fit = PLSRegression(n_components=components, scale=True, tol=1e-26, max_iter=100_000).fit(features, targets)
    return vip_of(fit)


def example(images=40, columns=15, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    features = generator.normal(size=(images, columns)) * generator.uniform(0.1, 10, columns)
    targets = np.eye(classes)[labels]
    features[:, :classes] += 3 * targets[:, :columns]
    return features, targets


@pytest.mark.parametrize("components", [1, 2, 3, 5])
def test_importance_against_scikit_learn(components):
    features, targets = example()
    expected = scikit_vip(features, targets, components)
    assert variable_importance(features, targets, components=components) == pytest.approx(expected, rel=1e-6)


def test_more_columns_than_images_against_scikit_learn():
    features, targets = example(images=12, columns=60, seed=1)
    expected = scikit_vip(features, targets, 2)
    assert variable_importance(features, targets, components=2) == pytest.approx(expected, rel=1e-6)


def test_one_component_by_hand():
    # the first column is the class, the second knows nothing of it, the third is constant
    features = np.array([[1.0, 1.0, 5.0], [1.0, -1.0, 5.0], [-1.0, 1.0, 5.0], [-1.0, -1.0, 5.0]])
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    vip = variable_importance(features, targets, components=1)
    assert vip == pytest.approx([np.sqrt(3), 0, 0], abs=1e-12)


@pytest.mark.parametrize("components", [1, 2, 4])
def test_squared_importance_has_mean_one(components):
    features, targets = example(seed=2)
    features[:, 3] = 2.5
    vip = variable_importance(features, targets, components=components)
    assert np.mean(vip**2) == pytest.approx(1)
    assert vip[3] == 0


def test_units_of_the_columns_do_not_matter():
    features, targets = example(seed=3)
    rescaled = features * np.logspace(-6, 6, features.shape[1]) + 7
    expected = variable_importance(features, targets, components=2)
    assert variable_importance(rescaled, targets, components=2) == pytest.approx(expected, rel=1e-6)


def test_standardized_columns():
    columns = standardized(np.array([[1.0, 0.0, 0.1], [2.0, 0.0, 0.1], [6.0, 0.0, 0.1]]))
    # mean 3, sample variance (4 + 1 + 9) / 2 = 7
    assert columns[:, 0] == pytest.approx(np.array([-2, -1, 3]) / np.sqrt(7))
    assert not columns[:, 1:].any()


def test_rounding_errors_are_no_variation():
    column = np.full(50, 0.1, dtype=np.float32)
    column[::2] = np.nextafter(column[0], np.float32(1))
    assert not standardized(column[:, None].astype(float)).any()


def test_fewer_components_where_the_rank_allows_no_more():
    features, targets = example(images=30, columns=2)
    most = variable_importance(features, targets, components=2)
    assert variable_importance(features, targets, components=50) == pytest.approx(most, rel=1e-9)


def test_outputs_that_say_nothing_of_the_class_are_an_error():
    with pytest.raises(LayerLotteryError, match="pls needs block outputs that vary with the class; found none"):
        variable_importance(np.ones((6, 3)), np.eye(2)[[0, 1] * 3], components=2)


def test_blocks_share_one_fit(make_network, make_batch, settings):
    # each block's mean VIP, from scikit-learn's one fit to all pooled outputs side by side
    model, (images, labels) = make_network().eval(), make_batch(40)
    held = {}
    for name in ("stage1.1", "stage1.2", "stage2.1", "stage2.2", "stage3.1", "stage3.2"):
        model.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: held.update({name: out.mean(dim=(2, 3)).double().numpy()})
        )
    with torch.no_grad():
        model(images)
    vip = scikit_vip(np.hstack(list(held.values())), np.eye(4)[labels.numpy()], 2)
    ends = np.cumsum([4, 4, 8, 8, 16, 16])[:-1]
    expected = {name: part.mean() for name, part in zip(held, np.split(vip, ends), strict=True)}
    assert score_blocks(model, (images, labels), settings("pls")) == pytest.approx(expected, rel=1e-4)


def test_planted_block_by_hand(planted, settings):
    # of the four pooled channels only channel 1 behind stage.2 follows the class: its VIP is 2, the others' 0
    scores = score_blocks(*planted, settings("pls", components=1))
    assert scores == pytest.approx({"stage.1": 0, "stage.2": 1}, abs=1e-5)


def test_the_planted_block_leads_with_two_components_too(planted, settings):
    scores = score_blocks(*planted, settings("pls"))
    assert scores["stage.1"] < scores["stage.2"]


def test_a_class_without_images_changes_nothing(planted, settings):
    model, (images, labels) = planted
    assert score_blocks(model, (images, 3 * labels), settings("pls")) == score_blocks(
        model, (images, labels), settings("pls")
    )


class Dense(nn.Module):
    """A residual block over features (N, C)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return x + torch.tanh(self.layer(x))


def test_outputs_without_positions_are_a_single_one(settings):
    torch.manual_seed(0)
    model, labels = nn.Sequential(nn.Linear(5, 6), Dense(), Dense(), nn.Linear(6, 3)).eval(), torch.arange(30) % 3
    images = torch.randn(30, 5) + labels[:, None]
    with torch.no_grad():
        first = model[1](model[0](images))
        outputs = torch.cat([first, model[2](first)], dim=1).double().numpy()
    vip = scikit_vip(outputs, np.eye(3)[labels.numpy()], 2)
    scores = score(model, (images, labels), settings("pls", components=2))
    assert scores == pytest.approx({"1": vip[:6].mean(), "2": vip[6:].mean()}, rel=1e-4)
