"""Whether anything was learned, on toy networks of known chance."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from tests.unit.tables.test_agreement import kept
from tests.unit.tables.test_summary import dense, ticket
from tests.unit.tables.toy import placed

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables import chance
from layerlottery.tables.answers import Answers
from layerlottery.tables.chance import against_chance
from layerlottery.tables.inference import Measured

SETTINGS = StatisticsSettings()
LABELS = np.repeat([0, 1, 2, 3, 4], [40, 20, 20, 10, 10])
IMAGES = len(LABELS)


def judged(predicted, seeds, *, classes=5, answers=None):
    """chance and learned of as many dense networks as seeds, and the tickets after them."""
    rest = [(0, 0.0)] * (len(predicted) - seeds)
    networks = placed(dense(range(seeds)) + ticket(rest)).assign(classes=np.nan)
    networks.loc[networks["removed"] > 0, "classes"] = classes
    accuracy = 100 * (np.array(predicted) == LABELS).mean(axis=1)
    measured = Measured(accuracy, np.full(len(networks), 100 / IMAGES))
    held = kept(np.array(predicted), LABELS) if answers is None else answers
    (row,) = against_chance(networks, measured, held, SETTINGS).to_dict("records")
    return row["chance"], row["learned"]


def test_who_always_names_the_largest_class_has_learned_nothing():
    always = np.zeros(IMAGES, int)
    assert judged([always] * 3 + [LABELS], 3) == (40.0, False)
    assert judged([always, LABELS], 1) == (40.0, False)


def test_who_is_right_has_learned():
    assert judged([LABELS] * 3, 2) == (40.0, True)
    assert judged([LABELS] * 2, 1) == (40.0, True)


def test_chance_is_at_least_a_guess():
    # of the labels only one in ten is known
    guessed = np.where(np.arange(IMAGES) % 10 == 0, LABELS, (LABELS + 1) % 5)
    assert judged([guessed] * 3, 2) == (20.0, False)
    assert judged([guessed] * 3, 2, classes=2)[0] == 50.0


@pytest.mark.parametrize("some", [1, 2, 256])
def test_classes_show_where_any_network_is_right(some, monkeypatch):
    monkeypatch.setattr(chance, "SOME", some)
    parts = [np.where(one == LABELS, one, (LABELS + 1) % 5) for one in range(5)]
    assert judged(parts, 2)[0] == 40.0


def test_without_answers_chance_is_a_guess_and_without_classes_nothing_is_said():
    assert judged([LABELS] * 2, 1, answers=Answers()) == (20.0, True)
    found = judged([LABELS] * 2, 1, answers=Answers(), classes=np.nan)
    assert np.isnan(found[0])
    assert found[1] is None


def test_seeds_that_scatter_show_less_than_seeds_that_agree():
    right = {
        seed: np.where(np.arange(IMAGES) < count, LABELS, (LABELS + 1) % 5) for seed, count in enumerate((41, 58, 75))
    }
    accuracies = [100 * (one == LABELS).mean() for one in right.values()]
    # a t test over seeds alone finds no more
    assert stats.ttest_1samp(accuracies, 40, alternative="greater").pvalue > 0.025
    assert judged([*right.values(), LABELS], 3) == (40.0, False)
    assert judged([right[1]] * 3 + [LABELS], 3) == (40.0, True)


def test_networks_that_guess_seldom_seem_to_learn():
    random = np.random.default_rng(0)
    found = [judged(random.integers(0, 5, (5, IMAGES)), 3)[1] for _ in range(300)]
    assert np.mean(found) <= 0.025


def test_each_network_has_a_chance_of_its_own():
    rows = dense([0]) + ticket([(0, 0.0)]) + dense([0], network="resnet32") + ticket([(0, 0.0)], network="resnet32")
    networks = placed(rows).assign(classes=[np.nan, 4, np.nan, np.nan])
    measured = Measured(np.array([90.0, 90, 90, 90]), np.full(4, 1.0))
    found = against_chance(networks, measured, Answers(), SETTINGS)
    assert found.index.tolist() == [("digits", "resnet20"), ("digits", "resnet32")]
    assert found["learned"].tolist() == [True, None]
    assert found["chance"].iloc[0] == 25.0
    # as the table takes them
    assert pa.array(found["learned"], pa.bool_(), from_pandas=True).to_pylist() == [True, None]
