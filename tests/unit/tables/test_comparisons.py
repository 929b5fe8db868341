"""Tickets against their controls, on toy tables."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.comparisons import comparisons


def rows_of(accuracies, function="snip", *, budget=None, **changes):
    """Networks of one ticket; `accuracies` maps a seed to the accuracies of its draws."""
    row = {
        "dataset": "digits",
        "network": "resnet20",
        "structure": "layers",
        "criterion": function,
        "scored_at": "init",
        "removed": 1,
        "rewind": "0",
        "criterion_settings": json.dumps({"function": function, "budget": budget}),
    }
    return [
        row | {"seed": seed, "draw": draw, "accuracy": accuracy} | changes
        for seed, draws in accuracies.items()
        for draw, accuracy in enumerate(draws)
    ]


def compare(*tickets, **given):
    settings = StatisticsSettings(resamples=199, **given)
    found = comparisons(pd.DataFrame([row for rows in tickets for row in rows]), settings)
    found = found.astype(object).where(found.notna(), None).to_dict("records")
    return {(row["criterion"], row["structure"], row["rewind"], row["control"]): row for row in found}


SNIP = {0: [91.0], 1: [94.0], 2: [96.0]}
RANDOM = {0: [90.0, 88.0], 1: [91.0, 93.0], 2: [90.0, 96.0]}


def test_draws_of_the_control_are_averaged_within_a_seed():
    found = compare(rows_of(SNIP), rows_of(RANDOM, "random"))
    assert found.keys() == {("snip", "layers", "0", "random")}
    row = found["snip", "layers", "0", "random"]
    ours, theirs = [91.0, 94.0, 96.0], [89.0, 92.0, 93.0]
    expected = stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert (row["seeds"], row["difference"], row["compared"]) == (3, pytest.approx(7 / 3), 1)
    assert row["sd"] == pytest.approx(np.std([2.0, 2.0, 3.0], ddof=1))
    assert row["p_value"] == row["p_holm"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert 2 <= row["boot_low"] <= 7 / 3 <= row["boot_high"] <= 3
    assert row["outcome"] == "better"


def test_controls_of_one_function_are_pooled_in_the_order_of_the_table():
    # 1 is lost beside 1e16, and 1 + 1 is not: the order of the sum shows in the mean
    first = rows_of({0: [1.0, 1e16]}, "random")
    second = rows_of({0: [1.0]}, "random", criterion="baseline")
    found = [
        compare(rows_of({0: [91.0]}), rows)["snip", "layers", "0", "random"]["difference"]
        for rows in ([*first, *second], [first[0], *second, first[1]])
    ]
    assert found == [91.0 - float(np.mean([1.0, 1e16, 1.0])), 91.0 - float(np.mean([1.0, 1.0, 1e16]))]
    assert found[0] != found[1]


def test_tickets_of_unequal_seeds_stand_alone():
    tickets = [
        rows_of({seed: [90 + seed / 7] for seed in range(count)}, name)
        for name, count in (("l1", 3), ("snip", 2), ("grasp", 1))
    ]
    random = rows_of(RANDOM, "random")
    together = compare(random, *tickets)
    # and but for the number of the ticket
    corrected = ("p_holm", "compared", "outcome", "ticket")
    for rows in tickets:
        for key, row in compare(random, rows).items():
            assert {name: row[name] for name in row if name not in corrected} == {
                name: together[key][name] for name in row if name not in corrected
            }


def test_pairs_are_the_seeds_that_have_both():
    found = compare(rows_of(SNIP), rows_of({1: [93.0], 2: [96.0], 7: [10.0]}, "random"))
    row = found["snip", "layers", "0", "random"]
    assert (row["seeds"], row["difference"]) == (2, 0.5)
    assert compare(rows_of(SNIP), rows_of({7: [10.0]}, "random")) == {}


def test_dense_networks_are_no_tickets():
    dense = [row | {"removed": 0, "criterion_settings": None} for row in rows_of(SNIP)]
    assert compare(dense, rows_of(RANDOM, "random")) == {}


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"dataset": "cifar10"},
        {"network": "resnet32"},
        {"removed": 2},
        {"structure": "filters"},
        {"rewind": "25"},
    ],
)
def test_a_control_stands_at_the_same_place(elsewhere):
    assert compare(rows_of(SNIP), rows_of(RANDOM, "random", **elsewhere)) == {}


def test_a_control_is_known_by_its_function_not_its_name():
    found = compare(rows_of(SNIP, criterion="random"), rows_of(RANDOM, "random", criterion="baseline"))
    assert found.keys() == {("random", "layers", "0", "random")}
    assert found["random", "layers", "0", "random"]["difference"] == pytest.approx(7 / 3)


def test_random_controls_of_the_same_scored_weights_come_first():
    late, early = rows_of({0: [80.0]}, "random", scored_at="trained"), rows_of({0: [90.0]}, "random")
    assert compare(rows_of(SNIP), late, early)["snip", "layers", "0", "random"]["difference"] == 1.0
    assert compare(rows_of(SNIP), late)["snip", "layers", "0", "random"]["difference"] == 11.0


def test_random_removal_is_compared_with_the_spread_and_with_a_fresh_start_only():
    spread = rows_of({0: [89.0]}, "random_spread")
    fresh = rows_of({0: [86.0]}, "random", rewind="random")
    found = compare(rows_of({0: [90.0]}, "random"), spread, fresh)
    assert {key: row["difference"] for key, row in found.items()} == {
        ("random", "layers", "0", "random_spread"): 1.0,
        ("random", "layers", "0", "fresh"): 4.0,
        ("random_spread", "layers", "0", "random"): -1.0,
    }


def test_a_fresh_start_is_paired_with_the_same_draw():
    # the draw chose the architecture, so only the first is the same one
    found = compare(rows_of({0: [91.0, 40.0], 1: [92.0, 40.0]}), rows_of({0: [90.0], 1: [90.0]}, rewind="random"))
    assert found.keys() == {("snip", "layers", "0", "fresh")}
    assert found["snip", "layers", "0", "fresh"]["difference"] == 1.5


def test_a_fresh_start_is_compared_with_every_rewind_of_the_same_criterion():
    fresh = rows_of({0: [90.0]}, rewind="random")
    found = compare(rows_of({0: [91.0]}), rows_of({0: [93.0]}, rewind="25"), rows_of({0: [99.0]}, "grasp"), fresh)
    differences = {key: row["difference"] for key, row in found.items()}
    assert differences == {("snip", "layers", "0", "fresh"): 1.0, ("snip", "layers", "25", "fresh"): 3.0}
    other_weights = rows_of({0: [90.0]}, rewind="random", scored_at="trained")
    assert compare(rows_of({0: [91.0]}), other_weights) == {}


def test_filters_are_compared_with_the_layers_of_their_criterion_or_budget():
    filters = rows_of({0: [89.0]}, structure="filters")
    complexity = rows_of({0: [85.0]}, "complexity", structure="filters", budget="snip", criterion="complexity_macs")
    found = compare(rows_of({0: [91.0]}), rows_of({0: [70.0]}, "grasp"), filters, complexity)
    assert {key: row["difference"] for key, row in found.items()} == {
        ("snip", "filters", "0", "layers"): -2.0,
        ("complexity_macs", "filters", "0", "layers"): -6.0,
    }


@pytest.mark.parametrize("other", [{"rewind": "25"}, {"scored_at": "trained"}, {"draw": 1}])
def test_layers_of_another_start_or_scoring_are_no_control(other):
    assert compare(rows_of({0: [91.0]}, **other), rows_of({0: [89.0]}, structure="filters")) == {}


def with_p_value(p, criterion, control=90.0):
    """A ticket whose paired t test against a control of equal accuracies has this p value."""
    pattern = np.array([-1.0, 0.0, 1.0])
    shift = stats.t.isf(p / 2, 2) / np.sqrt(3)
    return rows_of({seed: [control + shift + one] for seed, one in enumerate(pattern)}, criterion)


def test_holm_by_hand_within_one_control():
    random = rows_of({seed: [90.0] for seed in range(3)}, "random")
    tickets = [with_p_value(p, name) for p, name in ((0.01, "l1"), (0.04, "snip"), (0.03, "grasp"))]
    # another control is another family
    fresh = [row | {"accuracy": 50.0 + row["seed"], "rewind": "random"} for row in tickets[0]]
    found = compare(random, *tickets, fresh)
    rows = [found[name, "layers", "0", "random"] for name in ("l1", "snip", "grasp")]
    assert [row["p_value"] for row in rows] == pytest.approx([0.01, 0.04, 0.03])
    assert [row["p_holm"] for row in rows] == pytest.approx([0.03, 0.06, 0.06])
    assert [row["outcome"] for row in rows] == ["better", "can't tell", "can't tell"]
    assert [row["compared"] for row in rows] == [3, 3, 3]
    assert found["l1", "layers", "0", "fresh"]["compared"] == 1


def test_one_seed_infers_nothing():
    row = compare(rows_of({0: [99.0, 98.0]}), rows_of({0: [50.0, 51.0]}, "random"))["snip", "layers", "0", "random"]
    assert (row["seeds"], row["difference"], row["outcome"]) == (1, 48.0, "single seed")
    nothing = ("sd", "low", "high", "boot_low", "boot_high", "p_value", "p_holm", "compared")
    assert {row[name] for name in nothing} == {None}


@pytest.mark.parametrize(
    ("accuracy", "p", "outcome"), [(90.0, 1.0, "can't tell"), (91.0, 0.0, "better"), (89.5, 0.0, "worse")]
)
def test_equal_differences(accuracy, p, outcome):
    found = compare(rows_of({0: [accuracy], 1: [accuracy]}), rows_of({0: [90.0], 1: [90.0]}, "random"))
    row = found["snip", "layers", "0", "random"]
    assert (row["p_value"], row["outcome"], row["sd"]) == (p, outcome, 0.0)
