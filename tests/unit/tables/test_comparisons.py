"""Tickets against their controls, on toy tables."""

import json

import numpy as np
import pytest
from scipy import stats
from tests.unit.tables.toy import Kept, OnlyAccuracy, placed, records

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.comparisons import comparisons
from layerlottery.tables.inference import Inference


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


def compare(*tickets, answers=None, **given):
    settings = StatisticsSettings(resamples=199, **given)
    networks = placed([row for rows in tickets for row in rows])
    accuracy = OnlyAccuracy(networks).measured
    found = records(comparisons(networks, accuracy, Inference(networks, Kept(answers), settings)))
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
    assert row["outcome"] == "better"


def test_controls_of_one_function_are_pooled():
    first, second = rows_of({0: [80.0, 86.0]}, "random"), rows_of({0: [89.0]}, "random", criterion="baseline")
    found = compare(rows_of({0: [91.0]}), first, second)
    assert found["snip", "layers", "0", "random"]["difference"] == pytest.approx(91 - (80 + 86 + 89) / 3)


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


def test_controls_have_no_controls():
    spread = rows_of({0: [89.0]}, "random_spread")
    fresh = rows_of({0: [86.0]}, "random", rewind="random")
    assert compare(rows_of({0: [90.0]}, "random"), spread, fresh) == {}
    cost = rows_of({0: [87.0]}, structure="dense_at_cost")
    found = compare(rows_of({0: [91.0]}), cost, spread)
    assert {key: row["difference"] for key, row in found.items()} == {
        ("snip", "layers", "0", "random_spread"): 2.0,
        ("snip", "layers", "0", "dense_at_cost"): 4.0,
    }


def test_the_deepest_blocks_are_a_control_of_every_criterion():
    settings = json.dumps({"function": "angular", "select": "deepest"})
    deepest = rows_of({0: [90.0, 88.0]}, "angular", criterion="angular_deepest", criterion_settings=settings)
    found = compare(rows_of({0: [91.0]}), rows_of({0: [92.0]}, "angular"), deepest, rows_of({0: [87.0]}, "random"))
    assert {key: row["difference"] for key, row in found.items() if key[3] == "deepest"} == {
        ("snip", "layers", "0", "deepest"): 2.0,
        ("angular", "layers", "0", "deepest"): 3.0,
    }
    # and have none
    assert "angular_deepest" not in {criterion for criterion, *_ in found}
    tuned = rows_of({0: [93.0]}, "angular", rewind="trained-1a2b3c4d")
    assert compare(tuned, deepest) == {}


def test_all_architectures_of_a_size_are_one_control():
    first = rows_of({0: [88.0]}, "depths", criterion="depths_1_0_0", rewind="random")
    second = rows_of({0: [92.0]}, "depths", criterion="depths_0_1_0", rewind="random")
    row = compare(rows_of({0: [91.0]}), first, second)["snip", "layers", "0", "architecture"]
    assert (row["difference"], row["same_architecture"]) == (1.0, 0.0)


def depths(accuracies, architecture):
    name = f"depths_{architecture}"
    return rows_of(accuracies, "depths", criterion=name, rewind="random", architecture=architecture)


def test_the_tickets_own_architecture_is_no_other_one():
    # each seed chose another
    snip = [row | {"architecture": "ab"[row["seed"]]} for row in rows_of({0: [91.0], 1: [95.0]})]
    first, second = depths({0: [50.0], 1: [90.0]}, "a"), depths({0: [88.0], 1: [50.0]}, "b")
    row = compare(snip, first, second)["snip", "layers", "0", "architecture"]
    assert (row["seeds"], row["difference"], row["same_architecture"]) == (2, (3 + 5) / 2, 0.0)
    assert row["outcome"] != "null by construction"


def test_each_draw_has_its_own_other_architectures():
    snip = [row | {"architecture": "ab"[row["draw"]]} for row in rows_of({0: [91.0, 95.0]})]
    controls = [depths({0: [accuracy]}, name) for name, accuracy in (("a", 90.0), ("b", 88.0), ("c", 84.0))]
    row = compare(snip, *controls)["snip", "layers", "0", "architecture"]
    by_hand = np.mean([91 - 88, 91 - 84, 95 - 90, 95 - 84])
    assert (row["difference"], row["same_architecture"]) == (pytest.approx(by_hand), 0.0)


@pytest.mark.parametrize("changes", [{}, {"scored_at": "trained"}, {"rewind": "25"}])
def test_without_another_architecture_there_is_nothing_to_find(changes):
    snip = rows_of(SNIP, architecture="a", **changes)
    row = compare(snip, depths(SNIP, "a"))["snip", "layers", changes.get("rewind", "0"), "architecture"]
    assert (row["outcome"], row["same_architecture"], row["p_value"]) == ("null by construction", 1.0, None)


def test_a_seed_without_another_architecture_does_not_count():
    snip = [row | {"architecture": "ab"[row["seed"] > 0]} for row in rows_of(SNIP)]
    row = compare(snip, depths({0: [50.0], 1: [90.0], 2: [91.0]}, "a"))["snip", "layers", "0", "architecture"]
    assert (row["seeds"], row["difference"]) == (2, pytest.approx((4 + 5) / 2))


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
    fresh = [row | {"accuracy": 50.0 + row["seed"] ** 2, "rewind": "random"} for row in tickets[0]]
    found = compare(random, *tickets, fresh)
    rows = [found[name, "layers", "0", "random"] for name in ("l1", "snip", "grasp")]
    assert [row["p_value"] for row in rows] == pytest.approx([0.01, 0.04, 0.03])
    assert [row["p_holm"] for row in rows] == pytest.approx([0.03, 0.06, 0.06])
    assert [row["outcome"] for row in rows] == ["better", "undecided", "undecided"]
    assert [row["compared"] for row in rows] == [3, 3, 3]
    assert found["l1", "layers", "0", "fresh"]["compared"] == 1


def test_one_seed_infers_nothing():
    row = compare(rows_of({0: [99.0, 98.0]}), rows_of({0: [50.0, 51.0]}, "random"))["snip", "layers", "0", "random"]
    assert (row["seeds"], row["difference"], row["outcome"]) == (1, 48.0, "single seed")
    nothing = ("sd", "low", "high", "boot_low", "boot_high", "p_value", "p_holm", "compared")
    assert {row[name] for name in nothing} == {None}


def test_differences_that_agree_by_chance_decide_nothing():
    found = compare(rows_of({0: [91.0], 1: [91.0]}), rows_of({0: [90.0], 1: [90.0]}, "random"))
    row = found["snip", "layers", "0", "random"]
    assert (row["p_value"], row["low"], row["outcome"], row["sd"]) == (None, None, "undecided", 0.0)


@pytest.mark.parametrize(
    ("changes", "null"),
    [
        ({}, True),
        # trained weights are no random draw, nor is a choice that saw them
        ({"rewind": "25"}, False),
        ({"scored_at": "trained"}, False),
        ({"architecture": "other"}, False),
    ],
)
def test_equal_architectures_of_random_weights_have_no_difference_to_find(changes, null):
    snip = rows_of(SNIP, **{"architecture": "3-2-2"} | changes)
    random = rows_of(RANDOM, "random", **{"architecture": "3-2-2"} | {"rewind": changes.get("rewind", "0")})
    row = compare(snip, random)["snip", "layers", "0" if "rewind" not in changes else "25", "random"]
    assert (row["outcome"] == "null by construction") == null
    assert row["same_architecture"] == (0.0 if "architecture" in changes else 1.0)
    assert (row["p_value"] is None) == (row["compared"] is None) == null


def test_fresh_weights_share_the_architecture_and_are_a_difference_to_find():
    row = compare(rows_of(SNIP, architecture="a"), rows_of(SNIP, rewind="random", architecture="a"))
    assert row["snip", "layers", "0", "fresh"]["same_architecture"] == 1.0
    assert row["snip", "layers", "0", "fresh"]["outcome"] == "undecided"


def test_the_same_blocks_are_the_same_network():
    # of one seed of three draws of random removal each second one is the ticket
    snip = rows_of({0: [91.0], 1: [92.0]}, removed_blocks=["stage1.1"], rewind="25")
    drawn = rows_of({0: [91.0, 90.0], 1: [92.0, 89.0]}, "random", rewind="25")
    for row in drawn:
        row["removed_blocks"] = ["stage1.1"] if row["draw"] == 0 else ["stage2.2"]
    row = compare(snip, drawn)["snip", "layers", "25", "random"]
    assert (row["same_blocks"], row["outcome"]) == (0.5, "undecided")
    row = compare(snip, [row for row in drawn if row["draw"] == 0])["snip", "layers", "25", "random"]
    assert (row["same_blocks"], row["outcome"]) == (1.0, "null by construction")


@pytest.mark.parametrize("control", ["dense_at_cost", "filters_at_macs"])
def test_what_costs_as_much_as_the_layer_ticket_is_no_control_of_filters_or_weights(control):
    same_cost = rows_of({0: [87.0]}, structure=control)
    others = [rows_of({0: [90.0]}, structure=structure) for structure in ("filters", "weights")]
    found = compare(rows_of({0: [91.0]}), *others, same_cost)
    assert {key[1] for key in found if key[3] == control} == {"layers"}


TUNED = "trained-1a2b3c4d"


def in_rounds(accuracies, function="snip", *, number=2, blocks=("stage1.1", "stage2.1"), rewind=TUNED):
    facts = {"step": 1, "round": number, "removed": number, "scored_at": "trained", "rewind": rewind}
    return rows_of(accuracies, function, **facts, removed_blocks=list(blocks), architecture="same")


def test_rounds_are_compared_with_rounds():
    at_once = in_rounds(RANDOM, "random")
    at_once = [row | {"step": 0, "round": 1} for row in at_once]
    assert not compare(in_rounds(SNIP), at_once)
    found = compare(in_rounds(SNIP), at_once, in_rounds(RANDOM, "random", blocks=("stage3.1", "stage3.2")))
    assert [(row["criterion"], row["step"], row["control"]) for row in found.values()] == [("snip", 1, "random")]


@pytest.mark.parametrize(
    ("rewind", "number", "null"),
    [("0", 2, True), (TUNED, 2, False), (TUNED, 1, True)],
    ids=["same weights", "the order of removals counts", "one removal"],
)
def test_the_same_blocks_from_weights_of_the_rounds_before_are_no_null(rewind, number, null):
    single = {seed: own[:1] for seed, own in RANDOM.items()}
    changes = {"number": number, "blocks": ["stage1.1"] * number, "rewind": rewind}
    (row,) = compare(in_rounds(SNIP, **changes), in_rounds(single, "random", **changes)).values()
    assert (row["same_blocks"], row["outcome"] == "null by construction") == (1, null)


def test_percent_of_the_filters_are_no_number_of_blocks():
    share = {"structure": "filters_by_share", "removed": 20}
    layers = rows_of(SNIP, removed=20)
    assert not compare(rows_of(SNIP, **share), layers)
    found = compare(rows_of(SNIP, **share), layers, rows_of(RANDOM, "random", **share))
    assert found.keys() == {("snip", "filters_by_share", "0", "random")}
