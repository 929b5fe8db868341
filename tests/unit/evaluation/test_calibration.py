import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from layerlottery.evaluation.calibration import calibration, expected_calibration_error, fit_temperature


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (400, 7)).astype(np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 7, 400)


def softmax(logits):
    exponentials = [[math.exp(float(value)) for value in row] for row in logits]
    return np.array([[value / sum(row) for value in row] for row in exponentials])


def test_two_images_by_hand():
    # probabilities (0.6, 0.4) with the label right and (0.2, 0.8) with the label wrong, in two of four bins
    logits = np.log([[3.0, 2.0], [1.0, 4.0]])
    found = calibration(logits, np.array([0, 0]), bins=4)
    assert found.nll == pytest.approx(-(math.log(0.6) + math.log(0.2)) / 2)
    assert found.brier == pytest.approx(((0.4**2 + 0.4**2) + (0.8**2 + 0.8**2)) / 2)
    assert found.ece == pytest.approx((abs(1 - 0.6) + abs(0 - 0.8)) / 2)


def test_images_in_one_bin_offset_each_other():
    logits = np.log([[3.0, 2.0], [1.0, 4.0]])
    found = calibration(logits, np.array([0, 0]), bins=1)
    assert found.ece == pytest.approx(abs(1 - 0.6 - 0.8) / 2)


def test_nll_agrees_with_scikit_learn(logits, labels):
    expected = log_loss(labels, softmax(logits), labels=range(7))
    assert calibration(logits, labels, bins=15).nll == pytest.approx(expected, rel=1e-9)


def test_brier_agrees_with_its_definition(logits, labels):
    expected = ((softmax(logits) - np.eye(7)[labels]) ** 2).sum(axis=1).mean()
    assert calibration(logits, labels, bins=15).brier == pytest.approx(expected, rel=1e-9)


def test_ece_agrees_with_a_loop_over_bins(logits, labels):
    probabilities = softmax(logits)
    confidences, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidences > m / 15) & (confidences <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidences[inside].mean())
    assert calibration(logits, labels, bins=15).ece == pytest.approx(expected, rel=1e-9)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin():
    # 0.5 shares the bin (0, 0.5] with 0.4, so their gaps of +0.5 and -0.4 offset each other
    found = expected_calibration_error(np.array([0.5, 0.4]), np.array([True, False]), bins=2)
    assert found == pytest.approx((0.5 - 0.4) / 2)


def test_certain_and_right_is_perfect():
    found = calibration(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([0, 1]), bins=15)
    assert (found.nll, found.brier, found.ece) == (0, 0, 0)


def test_certain_and_wrong_is_the_worst_and_finite():
    found = calibration(np.array([[1000.0, 0.0]], dtype=np.float32), np.array([1]), bins=15)
    assert (found.nll, found.brier, found.ece) == (1000, 2, 1)


def test_a_diverged_network_gives_nan():
    found = calibration(np.full((3, 4), np.nan, dtype=np.float32), np.array([0, 1, 2]), bins=15)
    assert all(math.isnan(value) for value in (found.nll, found.brier, found.ece))


def planted(temperature, images=20000):
    """Logits whose labels are drawn from their softmax at that temperature."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 3, (images, 6))
    # Gumbel noise: the largest of logits / T + noise is a draw from softmax(logits / T)
    return logits, (logits / temperature + random.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 8.0])
def test_a_planted_temperature_is_recovered(temperature):
    assert fit_temperature(*planted(temperature)) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_agrees_with_a_fine_grid():
    logits, labels = planted(1.7, images=500)
    grid = np.linspace(1, 3, 2001)
    exponentials = np.exp(logits / grid[:, None, None])
    shares = exponentials[:, np.arange(500), labels] / exponentials.sum(axis=2)
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmax(np.log(shares).sum(axis=1))], abs=6e-4)


def test_scaled_logits_scale_the_temperature():
    logits, labels = planted(1.0, images=500)
    single = fit_temperature(logits, labels)
    assert fit_temperature(7 * logits, labels) == pytest.approx(7 * single, rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_a_temperature_never_raises_the_loss_and_changes_no_answer(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 10 ** random.uniform(-2, 2), (30, 4)), random.integers(0, 4, 30)
    temperature = fit_temperature(logits, labels)
    assert 0.05 <= temperature <= 100
    before, after = (log_loss(labels, softmax(one), labels=range(4)) for one in (logits, logits / temperature))
    assert after <= before + 1e-12
    assert np.array_equal(logits.argmax(axis=1), (logits / temperature).argmax(axis=1))


def test_right_everywhere_is_as_cold_as_allowed_and_wrong_everywhere_as_hot():
    logits = np.eye(5) + np.random.default_rng(0).uniform(0, 0.5, (5, 5))
    assert fit_temperature(logits, np.arange(5)) == 0.05
    assert fit_temperature(logits, np.roll(np.arange(5), 1)) == 100


def test_logits_that_can_gain_nothing_stay_as_they_are():
    assert fit_temperature(np.eye(5) * 1e6, np.arange(5)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_network_has_no_temperature(logits, labels, value):
    logits[7, 3] = value
    assert fit_temperature(logits, labels) is None


def test_no_images_have_no_temperature():
    assert fit_temperature(np.empty((0, 4), dtype=np.float32), np.empty(0, dtype=np.int64)) is None
