"""The KL criterion by hand, and against SciPy on networks whose block is really gone."""

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from layerlottery.criteria.score import score_blocks
from layerlottery.networks.blocks import remove_blocks


def probabilities(model, images):
    with torch.no_grad():
        return softmax(model(images).double().numpy(), axis=1)


@pytest.mark.parametrize("divergence", ["from_pruned", "from_full"])
@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_switching_off_is_removing(batchnorm, divergence, make_network, make_batch, settings):
    model, batch = make_network().train(batchnorm == "train"), make_batch()
    full = probabilities(model, batch[0])
    scores = score_blocks(model, batch, settings("kl", batchnorm=batchnorm, divergence=divergence))
    for name, value in scores.items():
        without = probabilities(remove_blocks(model, [name]), batch[0])
        pair = (full, without) if divergence == "from_full" else (without, full)
        assert value == pytest.approx(rel_entr(*pair).sum(axis=1).mean(), rel=1e-4)
        assert value > 0


def test_planted_block_by_hand(planted, settings):
    # without stage.2 both classes have probability 1/2; class 0 never moves, class 1 has the logit 3 (2s - 1.4) / 2
    expected = 0.0
    for scale in (0.8, 0.9, 1.0, 1.1, 1.2):
        p = 1 / (1 + math.exp(-3 * (2 * scale - 1.4) / 2))
        expected += (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) / 10
    assert score_blocks(*planted, settings("kl", divergence="from_full")) == pytest.approx(
        {"stage.1": 0, "stage.2": expected}, abs=1e-6
    )


def test_certain_predictions_stay_finite(planted, settings):
    # probabilities that underflow in float32
    model, batch = planted
    model.classifier.weight.data[1, 1] = 400.0
    scores = score_blocks(model, batch, settings("kl", divergence="from_full"))
    # p is 1 for class 1, so each of its images gives log 2
    assert scores["stage.2"] == pytest.approx(np.log(2) / 2, rel=1e-6)
