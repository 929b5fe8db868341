"""Criteria against a baseline, on toy tables: by statsmodels, scipy and plain loops."""

import json

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tests.unit.tables.test_comparisons import RANDOM, SNIP, in_rounds, rows_of
from tests.unit.tables.toy import Kept, OnlyAccuracy, answers_of, placed, records

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.comparisons import comparisons
from layerlottery.tables.crossed import contrast, pool
from layerlottery.tables.inference import Inference

SEEDS = range(6)


def compared(*tickets, baselines=("snip",), answers=None):
    settings = StatisticsSettings(resamples=199, baselines=list(baselines))
    networks = placed([row for rows in tickets for row in rows])
    found = comparisons(networks, OnlyAccuracy(networks).measured, Inference(networks, Kept(answers), settings))
    return {(row["criterion"], row["control"]): row for row in records(found)}


def scattered(mean, number):
    drawn = np.random.default_rng(number).normal(mean, 0.4, len(SEEDS))
    return {seed: [float(drawn[seed])] for seed in SEEDS}


MEANS = {"grasp": 93.2, "l1": 92.4, "kl": 90.5, "cka": 92.7}


def test_every_criterion_is_compared_with_the_baseline_by_paired_t_tests_and_holm():
    snip = scattered(92.5, 0)
    others = {name: scattered(mean, number) for number, (name, mean) in enumerate(MEANS.items(), start=1)}
    found = compared(rows_of(snip), *(rows_of(own, name) for name, own in others.items()))
    assert found.keys() == {(name, "baseline snip") for name in others}
    tests = [stats.ttest_rel(*([one for (one,) in side.values()] for side in (own, snip))) for own in others.values()]
    reject, holm, *_ = multipletests([one.pvalue for one in tests], alpha=0.05, method="holm")
    for name, test, corrected, differs in zip(others, tests, holm, reject, strict=True):
        row, ends = found[name, "baseline snip"], test.confidence_interval(0.95)
        assert (row["p_value"], row["p_holm"]) == pytest.approx((test.pvalue, corrected))
        assert (row["low"], row["high"]) == pytest.approx((ends.low, ends.high))
        assert row["outcome"] == (("better" if test.statistic > 0 else "worse") if differs else "undecided")
        assert row["compared"] == 4
    assert {row["outcome"] for row in found.values()} >= {"worse", "undecided"}


def test_seeds_and_images_both_count_where_answers_were_kept():
    names, images = ("snip", "grasp", "l1"), 80
    logits = 1.5 + 2 * np.random.default_rng(0).standard_normal(images) + np.zeros((len(names) * len(SEEDS), 1))
    answers = answers_of(logits, seed=3)
    accuracies = 100 * answers.mean(axis=1).reshape(len(names), len(SEEDS))
    tickets = [
        rows_of({seed: [own[seed]] for seed in SEEDS}, name) for name, own in zip(names, accuracies, strict=True)
    ]
    found = compared(*tickets, answers=answers)
    each = answers.reshape(len(names), len(SEEDS), images).astype(float)
    for place, name in enumerate(names[1:], start=1):
        row, expected = found[name, "baseline snip"], contrast(each[place] - each[0], pool(each))
        assert row["method"] == "seeds and images"
        assert row["difference"] == pytest.approx(100 * expected.estimate)
        assert (row["se"], row["df"]) == (pytest.approx(100 * expected.se), pytest.approx(expected.df))


def test_each_baseline_is_a_family_of_its_own_and_controls_stay_as_they_are():
    tickets = [rows_of(scattered(mean, number), name) for number, (name, mean) in enumerate(MEANS.items())]
    tickets += [rows_of(scattered(92.5, 9)), rows_of(scattered(91, 10), "random")]
    plain, both = compared(*tickets, baselines=()), compared(*tickets, baselines=("snip", "l1"))
    assert {key: both[key] | {"control_order": 0} for key in plain} == {
        key: row | {"control_order": 0} for key, row in plain.items()
    }
    assert {control for _, control in both} == {"random", "baseline snip", "baseline l1"}
    assert {row["compared"] for (_, control), row in both.items() if control != "random"} == {4}
    # both ways it is the same comparison
    there, back = both["l1", "baseline snip"], both["snip", "baseline l1"]
    assert there["difference"] == pytest.approx(-back["difference"])
    assert there["p_value"] == pytest.approx(back["p_value"])
    # what is drawn at random is compared with nothing
    assert not [criterion for criterion, _ in both if criterion == "random"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"dataset": "cifar10"},
        {"network": "resnet32"},
        {"removed": 2},
        {"structure": "filters"},
        {"rewind": "25"},
        {"rewind": "random"},
        {"scored_at": "trained"},
        {"structure": "dense_at_cost"},
    ],
)
def test_a_baseline_stands_at_the_same_place(elsewhere):
    found = compared(rows_of(SNIP, "grasp"), rows_of(SNIP, **elsewhere))
    assert not [control for _, control in found if control == "baseline snip"]


def test_filters_are_compared_with_filters_and_rounds_with_rounds():
    filters = [rows_of(SNIP, name, structure="filters") for name in ("snip", "grasp")]
    assert list(compared(*filters)) == [("grasp", "baseline snip")]
    rounds = [in_rounds(SNIP), in_rounds(SNIP, "grasp", blocks=("stage1.2", "stage2.2"))]
    assert list(compared(*rounds)) == [("grasp", "baseline snip")]


def test_draws_are_averaged_within_a_seed():
    found = compared(rows_of(RANDOM, "grasp"), rows_of(SNIP))["grasp", "baseline snip"]
    by_hand = [np.mean(RANDOM[seed]) - SNIP[seed][0] for seed in SNIP]
    assert (found["difference"], found["sd"]) == pytest.approx((np.mean(by_hand), np.std(by_hand, ddof=1)))


def test_the_same_blocks_are_null_by_construction():
    same = {"removed_blocks": ["stage1.1"], "architecture": "a"}
    row = compared(rows_of(SNIP, "grasp", **same), rows_of(SNIP, **same))["grasp", "baseline snip"]
    assert (row["outcome"], row["p_value"]) == ("null by construction", None)
    other = same | {"removed_blocks": ["stage1.2"]}
    row = compared(rows_of(SNIP, "grasp", **other), rows_of(RANDOM, **same))["grasp", "baseline snip"]
    # one architecture, and other weights, which a criterion chose: a difference to find
    assert (row["same_architecture"], row["outcome"]) == (1.0, "better")


@pytest.mark.parametrize("name", ["layers", "depths", "deepest", "dense_at_cost"])
def test_a_baseline_may_be_called_as_a_control_is(name):
    settings = json.dumps({"function": "snip"})
    rows = [rows_of(SNIP, name, criterion_settings=settings, structure=one) for one in ("layers", "filters")]
    others = [rows_of(RANDOM, "grasp", structure=one) for one in ("layers", "filters")]
    settings = StatisticsSettings(resamples=199, baselines=[name])
    networks = placed([row for own in (*rows, *others) for row in own])
    found = comparisons(networks, OnlyAccuracy(networks).measured, Inference(networks, Kept(), settings))
    rows = found[found["control"] == f"baseline {name}"]
    assert sorted(zip(rows["criterion"], rows["structure"], strict=True)) == [("grasp", "filters"), ("grasp", "layers")]
