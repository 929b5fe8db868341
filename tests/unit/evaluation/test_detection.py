import math
from dataclasses import astuple
from statistics import NormalDist

import numpy as np
import pytest
import torch
from pytorch_ood.detector import EnergyBased, MaxLogit, MaxSoftmax
from pytorch_ood.metrics import OODMetrics
from sklearn.metrics import roc_auc_score

from layerlottery.evaluation.detection import SCORES, detection


def oracle(inside, outside):
    """pytorch-ood's numbers: its scores are high for outliers, whose labels are negative."""
    metrics = OODMetrics()
    scores = -np.concatenate([inside, outside])
    metrics.update(torch.tensor(scores), torch.tensor([0] * len(inside) + [-1] * len(outside)))
    found = metrics.compute()
    return {ours: found[theirs] for ours, theirs in NAMES.items()}


NAMES = {"auroc": "AUROC", "aupr_in": "AUPR-IN", "aupr_out": "AUPR-OUT", "fpr95": "FPR95TPR"}


def loop(inside, outside):
    """fpr95 and fpr95_in by trying every threshold."""
    thresholds = sorted({*inside, *outside})
    flagged = [(np.mean(outside <= t), np.mean(inside <= t)) for t in thresholds]
    accepted = [(np.mean(inside >= t), np.mean(outside >= t)) for t in reversed(thresholds)]
    return tuple(next(false for true, false in pairs if true >= 0.95) for pairs in (flagged, accepted))


SAMPLES = {
    "apart": (lambda r: r.normal(2, 1, 300), lambda r: r.normal(0, 1, 200)),
    "reversed": (lambda r: r.normal(-1, 1, 50), lambda r: r.normal(0, 2, 400)),
    "ties": (lambda r: r.integers(0, 5, 300) / 4, lambda r: r.integers(-2, 4, 77) / 4),
    "saturated": (lambda r: np.minimum(r.normal(1, 1, 300), 1), lambda r: np.minimum(r.normal(0.5, 1, 300), 1)),
    "close": (lambda r: 1 - r.exponential(1e-15, 200), lambda r: 1 - r.exponential(2e-15, 200)),
    "perfect": (lambda r: r.uniform(1, 2, 40), lambda r: r.uniform(0, 1, 60)),
    "constant": (lambda r: np.ones(30), lambda r: np.ones(70)),
    "single": (lambda r: np.array([0.3]), lambda r: np.array([0.1])),
    # its ROC curve is one straight line, of which scikit-learn keeps the ends by default
    "equal": (lambda r: np.arange(100.0), lambda r: np.arange(100.0)),
    "twenty": (lambda r: r.normal(1, 1, 20), lambda r: r.normal(0, 1, 20)),
}


@pytest.mark.filterwarnings("ignore:AUTC is undefined")
@pytest.mark.parametrize("name", SAMPLES)
def test_all_measures_agree_with_pytorch_ood_and_with_a_loop(name):
    random = np.random.default_rng(8)
    inside, outside = (draw(random) for draw in SAMPLES[name])
    found = detection(inside, outside)
    expected = oracle(inside, outside)
    assert {key: getattr(found, key) for key in expected} == pytest.approx(expected, abs=1e-12)
    assert (found.fpr95, found.fpr95_in) == pytest.approx(loop(inside, outside), abs=1e-12)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5, 3.0])
def test_two_normal_distributions_have_the_closed_forms(distance):
    random = np.random.default_rng(1)
    found = detection(random.normal(distance, 1, 100_000), random.normal(0, 1, 80_000))
    normal = NormalDist()
    assert found.auroc == pytest.approx(normal.cdf(distance / math.sqrt(2)), abs=0.005)
    # 95 % of N(0, 1) lie below the threshold z; of N(d, 1) that is cdf(z - d), and the mirror image is the same
    share = normal.cdf(normal.inv_cdf(0.95) - distance)
    assert (found.fpr95, found.fpr95_in) == pytest.approx((share, share), abs=0.01)


def test_outliers_of_another_spread_tell_the_two_conventions_apart():
    random = np.random.default_rng(2)
    found = detection(random.normal(1, 1, 100_000), random.normal(0, 3, 100_000))
    normal = NormalDist()
    assert found.fpr95 == pytest.approx(normal.cdf(3 * normal.inv_cdf(0.95) - 1), abs=0.01)
    assert found.fpr95_in == pytest.approx(normal.cdf((normal.inv_cdf(0.95) - 1) / 3), abs=0.01)


def test_by_hand():
    found = detection(np.array([4.0, 3.0, 1.0]), np.array([2.0, 0.0]))
    assert found.auroc == pytest.approx(5 / 6)
    # both outliers are at or below 2, and so is the image of 1; all images at or above 1, and so is the outlier of 2
    assert (found.fpr95, found.fpr95_in) == pytest.approx((1 / 3, 1 / 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_diverged_network_has_no_measures(value, which):
    scores = np.arange(10.0), np.arange(5.0)
    scores[which][3] = value
    assert set(astuple(detection(*scores))) == {None}


def test_no_outliers_have_no_measures():
    assert set(astuple(detection(np.arange(10.0), np.empty(0)))) == {None}


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 4, (50, 7)).astype(np.float32)


@pytest.mark.parametrize(("name", "method"), [("msp", MaxSoftmax), ("max_logit", MaxLogit), ("energy", EnergyBased)])
def test_scores_are_the_negatives_of_pytorch_oods(name, method, logits):
    theirs = -method.score(torch.tensor(logits, dtype=torch.float64)).numpy()
    ours = SCORES[name](logits)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_scores_of_large_logits_are_finite():
    large = np.array([[1000.0, 0.0], [-1000.0, -1000.0]], dtype=np.float32)
    assert SCORES["msp"](large).tolist() == [1, 0.5]
    assert SCORES["max_logit"](large).tolist() == [1000, -1000]
    assert SCORES["energy"](large) == pytest.approx([1000, -1000 + math.log(2)])


def test_scores_of_a_diverged_network_are_not_finite(logits):
    logits[3] = np.nan
    assert all(np.flatnonzero(~np.isfinite(score(logits))).tolist() == [3] for score in SCORES.values())


def test_planted_logits_rank_as_they_were_made():
    random = np.random.default_rng(4)
    sure, unsure = random.normal(0, 1, (400, 10)), random.normal(0, 1, (300, 10))
    sure[np.arange(400), random.integers(0, 10, 400)] += 3
    truth = np.repeat([1, 0], [400, 300])
    for score in SCORES.values():
        expected = roc_auc_score(truth, np.concatenate([score(sure), score(unsure)]))
        assert detection(score(sure), score(unsure)).auroc == pytest.approx(expected)
        assert expected > 0.8
