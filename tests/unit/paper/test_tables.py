"""Rows of the paper's tables from result tables typed by hand."""

import math
from dataclasses import replace

import pytest

from layerlottery.paper.match import AGREES, CANT_TELL, DISAGREES, NO_FIGURE, NOT_MEASURED
from layerlottery.paper.measure import Results
from layerlottery.paper.printed import AS_FIVE, PRINTED
from layerlottery.paper.tables import figure3_rows, table_rows

T_975_TWO_DEGREES = 4.302653  # quantile of Student's t, from a printed table


def by_item(rows):
    held = {(row["item"], row["quantity"]): row for row in rows}
    assert len(held) == len(rows)
    return held


def accuracy(rows, item):
    return by_item(rows)[item, "Δ accuracy"]


def test_draws_are_averaged_within_a_seed_and_the_interval_is_over_seeds(context, run):
    values = {0: (0.0, 0.2), 1: (0.2, 0.4), 2: (0.5,)}  # means 0.1, 0.3, 0.5
    runs = [run(value, seed=seed, draw=draw) for seed, drawn in values.items() for draw, value in enumerate(drawn)]
    row = accuracy(table_rows("table2", context({"fills": ["table2"]}, runs=runs)), "snip, p = 1")
    reach = T_975_TWO_DEGREES * 0.2 / math.sqrt(3)
    assert row["measured"] == pytest.approx(0.3)
    assert (row["low"], row["high"]) == pytest.approx((0.3 - reach, 0.3 + reach), abs=1e-5)
    assert (row["seeds"], row["paper"], row["margin"]) == (3, 0.08, 0.5)
    assert row["verdict"] == CANT_TELL  # 0.3 ± 0.5 reaches out of 0.08 ± 0.5


def test_a_narrow_interval_agrees_and_a_narrower_margin_disagrees(context, run):
    runs = [run(0.2 + 0.01 * seed, seed=seed) for seed in range(3)]
    study = {"fills": ["table2"]}
    assert table_rows("table2", context(study, runs=runs))[0]["verdict"] == AGREES
    strict = context(study, runs=runs, margins={"accuracy": 0.05})
    assert table_rows("table2", strict)[0]["verdict"] == DISAGREES


def test_a_single_seed_tells_nothing(context, run):
    row = table_rows("table2", context({"fills": ["table2"]}, runs=[run(0.08)]))[0]
    assert (row["measured"], row["low"], row["high"], row["seeds"]) == (0.08, None, None, 1)
    assert row["verdict"] == CANT_TELL


def test_printed_figures_without_a_ticket_are_rows_without_a_measurement(context, run):
    rows = table_rows("table2", context({"fills": ["table2"]}, runs=[run(0.08)]))
    missing = [row for row in rows if row["verdict"] == NOT_MEASURED]
    assert len(rows) == 10
    assert {(row["criterion"], row["removed"]) for row in missing} == {
        (criterion, removed) for criterion in ("snip", "grasp") for removed in range(1, 6)
    } - {("snip", 1)}
    assert all(row.get("measured") is None and row["seeds"] == 0 for row in missing)
    assert sorted(row["paper"] for row in missing) == [-1.0, -0.53, -0.5, 0.0, 0.12, 0.34, 0.4, 0.41, 0.72]


def test_a_ticket_of_another_study_does_not_fill_the_table(context, run):
    other = {"criteria": ["grasp"]}
    runs = [run(0.08), run(0.4, criterion="grasp")]
    row = accuracy(table_rows("table2", context({"fills": ["table2"]}, other, runs=runs)), "grasp, p = 1")
    assert (row["verdict"], row["paper"], row.get("measured")) == (NOT_MEASURED, 0.4, None)


def test_networks_that_no_study_uses_are_left_out(context, run):
    runs = [run(None, macs_reduction=6.826, memory_reduction=9.0, energy_reduction=10.0, train_speedup=1.1)]
    rows = table_rows("table4", context({"fills": ["table4"]}, runs=runs))
    assert {row["network"] for row in rows} == {"resnet32"}
    assert len(rows) == 3 * 4


def test_other_datasets_have_no_printed_figure(context, run):
    study = {"fills": ["table2"], "datasets": ["digits"]}
    rows = table_rows("table2", context(study, runs=[run(0.08, dataset="digits")]))
    assert [(row["verdict"], row["paper"], row["margin"]) for row in rows] == [(NO_FIGURE, None, None)]


def test_a_table_that_no_study_fills_is_empty(context, run):
    assert table_rows("table2", context({}, runs=[run(0.08)])) == []


def test_table_1_matches_by_the_share_of_the_training(context, run):
    study = {"fills": ["table1"], "criteria": ["kl"], "scored_at": ["trained"], "rewinds": [0, 1, 2, 4, "random"]}
    runs = [run(0.0, criterion="kl", scored_at="trained", rewind=rewind) for rewind in ("0", "1", "2", "4", "random")]
    rows = table_rows("table1", context(study, runs=runs, training={"epochs": 8}))
    papers = {row["rewind"]: row["paper"] for row in rows if row["criterion"] == "kl"}
    # θ75 of 200 is epoch 3 of 8, which was not trained; epoch 4 and the fresh draw have no figure
    assert papers == {"0": 0.74, "1": 0.46, "2": -0.03, "4": None, "random": None, "3": -0.17}
    items = {row["item"]: row["verdict"] for row in rows if row["criterion"] == "kl"}
    assert items["kl, p = 1, rewind 75 of 200"] == NOT_MEASURED
    assert items["kl, p = 1, fresh weights"] == items["kl, p = 1, rewind 4 of 8"] == NO_FIGURE
    assert len(rows) == 20 + 2


def test_an_unmatched_rewind_never_shows_the_ticket_of_another_share(context, run):
    study = {"fills": ["table1"], "criteria": ["kl"], "scored_at": ["trained"], "rewinds": [25]}
    runs = [run(5.0, criterion="kl", scored_at="trained", rewind="25")]
    rows = table_rows("table1", context(study, runs=runs, training={"epochs": 50}))
    assert [(row["rewind"], row["paper"]) for row in rows if row.get("measured") is not None] == [("25", None)]
    assert sum(row["verdict"] == NOT_MEASURED for row in rows) == 20


def test_random_removal_and_its_outcome_stand_beside_each_ticket(context, run, ticket):
    study = {"fills": ["table1"], "criteria": ["kl", "random"], "scored_at": ["trained"]}
    trained = {"scored_at": "trained"}
    runs = [run(0.7, criterion="kl", **trained)]
    runs += [run(value, criterion="random", draw=draw, **trained) for draw, value in enumerate((0.1, 0.3))]
    # random removal of another rewind, number of blocks or structure is no control
    runs += [run(9.0, criterion="random", **trained | change) for change in CHANGES]
    compared = [ticket("comparisons", criterion="kl", **trained) | {"control": "random", "outcome": "better"}]
    held = context(study, runs=runs, comparisons=compared)
    rows = {row["criterion"]: row for row in table_rows("table1", held) if row["seeds"]}
    assert rows["kl"]["random"] == pytest.approx(0.2)
    assert rows["kl"]["against_random"] == "better"
    assert rows["random"].get("random") is None
    assert (rows["random"]["paper"], rows["random"]["verdict"]) == (0.38, CANT_TELL)


CHANGES = ({"rewind": "1"}, {"removed": 2}, {"structure": "filters"}, {"network": "resnet56"})


def test_random_removal_drawn_for_other_weights_serves_where_there_is_no_other(context, run):
    kl, study = run(0.7, criterion="kl", scored_at="trained"), {"criteria": ["kl"], "scored_at": ["trained"]}
    other, same = (run(delta, criterion="random", scored_at=at) for delta, at in ((0.1, "init"), (0.3, "trained")))
    for drawn, mean in (([other], 0.1), ([other, same], 0.3)):
        rows = table_rows("table1", context(study | {"fills": ["table1"]}, runs=[kl, *drawn]))
        assert accuracy(rows, "kl, p = 1, rewind 0 of 8")["random"] == mean


def test_table_3_names_budgets_and_further_controls(context, run, ticket):
    study = {"fills": ["table3"], "structures": ["filters", "layers", "weights"]}
    runs = [run(0.0, filters=1200)]
    runs += [run(-0.5, structure="filters", filters=1199 + seed, budget=1200, seed=seed) for seed in (0, 1)]
    runs += [run(-0.1, structure="weights", params=448_000, budget=448_000)]
    compared = [ticket("comparisons", structure="filters") | {"control": "layers", "outcome": "worse"}]
    rows = table_rows("table3", context(study, runs=runs, comparisons=compared))
    notes = {row["structure"]: row["note"] for row in rows if row["seeds"]}
    assert notes["layers"] == "1,200 filters left"
    assert notes["filters"].startswith("1,199 to 1,200 filters left, budget 1,200; against the layer ticket")
    assert notes["filters"].endswith(": worse")
    assert notes["weights"] == "448,000 parameters left, budget 448,000"
    papers = {row["structure"]: row["paper"] for row in rows if row["criterion"] == "snip"}
    assert papers == {"layers": 0.08, "filters": -0.79, "weights": None}


def saving(run, seeds=(0, 1), **columns):
    known = {"macs_reduction": 34.13, "memory_reduction": 30.0, "energy_reduction": 33.0, "train_speedup": 1.5}
    return [run(None, seed=seed, removed=5, **known | columns) for seed in seeds]


FIVE = {"fills": ["table4"], "removed": [5]}


def test_the_row_printed_as_p_4_is_compared_with_p_5(context, run):
    rows = by_item(table_rows("table4", context(FIVE, runs=saving(run))))
    flops = rows["snip, p = 5", "FLOPs saved"]
    assert (flops["paper"], flops["verdict"]) == (34.13, AGREES)
    assert AS_FIVE in flops["note"]


def test_counted_flops_need_no_second_seed(context, run):
    rows = by_item(table_rows("table4", context(FIVE, runs=saving(run, seeds=[0]))))
    flops, memory = (rows["snip, p = 5", name] for name in ("FLOPs saved", "memory saved"))
    assert (flops["low"], flops["high"], flops["verdict"]) == (34.13, 34.13, AGREES)
    assert (memory["low"], memory["verdict"]) == (None, CANT_TELL)


def test_flops_off_by_more_than_the_margin_disagree(context, run):
    rows = by_item(table_rows("table4", context(FIVE, runs=saving(run, macs_reduction=34.16))))
    assert rows["snip, p = 5", "FLOPs saved"]["verdict"] == DISAGREES


def test_speed_ups_have_a_geometric_mean_and_an_interval_on_the_logarithmic_scale(context, run):
    runs = [one for seed, factor in enumerate((1.0, 2.0, 4.0)) for one in saving(run, [seed], train_speedup=factor)]
    row = by_item(table_rows("table4", context(FIVE, runs=runs)))["snip, p = 5", "training speed-up"]
    reach = T_975_TWO_DEGREES * math.log(2) / math.sqrt(3)
    assert row["measured"] == pytest.approx(2.0)
    assert (row["low"], row["high"]) == pytest.approx((2 * math.exp(-reach), 2 * math.exp(reach)), rel=1e-5)
    assert row["unit"] == "factor"


def test_random_tickets_answer_no_figure_but_are_the_control_of_others(context, run):
    runs = saving(run, [0, 1, 2], memory_reduction=30.0) + saving(
        run, [0, 1, 2], criterion="random", memory_reduction=25.0
    )
    for place, one in enumerate(runs):
        one["memory_reduction"] += 0.1 * (place % 3) ** 2 + 0.001 * place**2
    rows = by_item(table_rows("table4", context(FIVE | {"criteria": ["snip", "random"]}, runs=runs)))
    snip, random = (rows[f"{name}, p = 5", "memory saved"] for name in ("snip", "random"))
    assert (random["paper"], random["verdict"]) == (None, NO_FIGURE)
    assert (snip["paper"], snip["against_random"]) == (30.11, "better")
    assert snip["random"] == pytest.approx(25 + 0.5 / 3 + 0.05 / 3)
    assert rows["snip, p = 5", "FLOPs saved"].get("against_random") is None


def test_corruptions_are_averaged_and_named(context, run, condition):
    kinds = [("contrast", 1.0, 1.0), ("contrast", 5.0, 2.0), ("fog", 1.0, 3.0), ("fog", 5.0, 6.0)]
    robustness = [
        condition(delta + 0.1 * seed, "corruption", name, level, seed=seed)
        for seed in (0, 1)
        for name, level, delta in kinds
    ]
    robustness += [condition(50.0, "attack", "fgsm", 8.0), condition(50.0, "clean", "clean")]
    study = {"fills": ["table5"]}
    row = by_item(table_rows("table5", context(study, runs=[run(0.0)], robustness=robustness)))[
        "snip, p = 1", "CIFAR-10-C"
    ]
    assert row["measured"] == pytest.approx(3.05)
    assert (row["paper"], row["seeds"], row["margin"]) == (1.13, 2, 1.0)
    assert "contrast, fog, at severity 1, 5, on 100 images" in row["note"]


@pytest.mark.parametrize("name", ["cifar10.2", "cifar10_2", "CIFAR-10.2"])
def test_cifar_10_2_is_known_by_its_name_and_other_shifts_have_no_figure(context, run, condition, name):
    robustness = [condition(-1.0, "shift", name), condition(-2.0, "shift", "cifar10.1")]
    rows = by_item(table_rows("table5", context({"fills": ["table5"]}, runs=[run(0.0)], robustness=robustness)))
    assert (rows["snip, p = 1", "CIFAR-10.2"]["measured"], rows["snip, p = 1", "CIFAR-10.2"]["paper"]) == (-1.0, 0.0)
    assert (rows["snip, p = 1", "cifar10.1"]["measured"], rows["snip, p = 1", "cifar10.1"]["paper"]) == (-2.0, None)
    assert rows["snip, p = 1", "CIFAR-10-C"]["verdict"] == NOT_MEASURED
    assert ("any criterion, p = 1", "CIFAR-10.2") not in rows
    assert len(rows) == 3 + 2 * 2  # and p = 3 and 5, on both sets


def test_a_missing_test_set_of_a_measured_ticket_is_one_unmeasured_row(context, run):
    rows = by_item(table_rows("table5", context({"fills": ["table5"]}, runs=[run(0.0)])))
    assert len(rows) == sum(one.network == "resnet32" for one in PRINTED["table5"])
    assert {row["verdict"] for row in rows.values()} == {NOT_MEASURED}


def test_rows_of_one_network_stand_together(context, run):
    study = {"fills": ["table2"], "networks": ["resnet32", "resnet20"]}
    runs = [run(0.0), run(0.0, network="resnet20")]
    networks = [row["network"] for row in table_rows("table2", context(study, runs=runs))]
    assert networks == ["resnet32"] * 10 + ["resnet20"]


@pytest.mark.parametrize(
    ("dataset", "epochs", "images", "scale"),
    [
        ("cifar10", 200, 50_000, "the paper's"),
        ("cifar10", 8, 2000, "reduced: 8 of 200 epochs, 2,000 of 50,000 images, 2 seeds"),
        ("cifar10", 200, 10_000, "reduced: 200 of 200 epochs, 10,000 of 50,000 images, 2 seeds"),
        ("digits", 7, 1437, "digits in place of CIFAR-10: 7 epochs, 1,437 images, 2 seeds"),
    ],
)
def test_the_scale_says_what_was_reduced(context, run, dataset, epochs, images, scale):
    runs = [run(0.0, seed=seed, dataset=dataset, train_images=images) for seed in (0, 1)]
    study = {"fills": ["table2"], "datasets": [dataset]}
    assert table_rows("table2", context(study, runs=runs, training={"epochs": epochs}))[0]["scale"] == scale


def test_figure_3_lists_removable_blocks_of_l1_in_network_order(context, score):
    blocks = {"stage1.0": None, "stage1.1": 1.0, "stage1.10": 2.0, "stage2.1": 3.0}
    scores = [
        score(block, raw if raw is None else raw + seed, seed=seed, scored_at=scored_at)
        for scored_at in ("trained", "init")
        for seed in (0, 1)
        for block, raw in blocks.items()
    ]
    scores += [score("stage1.1", 99.0, criterion="snip", scored_at="trained")]
    study = {"fills": ["figure3"], "criteria": ["l1", "snip"], "removed": [], "scored_at": ["trained"]}
    rows = figure3_rows(context(study, scores=scores))
    assert [row["item"] for row in rows] == [f"{name}, l1 at trained" for name in ("stage1.1", "stage1.10", "stage2.1")]
    assert [row["measured"] for row in rows] == [1.5, 2.5, 3.5]
    reach = 12.706205 * math.sqrt(0.5) / math.sqrt(2)
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx((1.5 - reach, 1.5 + reach), abs=1e-5)
    assert {(row["unit"], row["verdict"]) for row in rows} == {("mean absolute kernel sum", NO_FIGURE)}
    assert figure3_rows(context(study | {"fills": []}, scores=scores)) == []


TUNED = {"epochs": 200, "schedule": "step"}
ROUNDS = {"networks": ["resnet32"], "scored_at": ["trained"], "rewinds": ["trained"], "criteria": ["cka", "random"]}
ROUNDS |= {"removed": [], "rounds": {"blocks": 1, "until": 9}, "fills": ["pons"]}


@pytest.fixture
def rounds(context, run):
    """A function that makes a context of nine rounds; what CKA and random removal gain grows by round."""

    def make(*, dataset="cifar10", images=50_000, tuned=TUNED, epochs=200):
        held = context(ROUNDS | {"datasets": [dataset]}, training={"epochs": epochs}, tuning=tuned)
        start = held.settings.start("resnet32", "trained")
        made = {"rewind": start, "scored_at": "trained", "step": 1, "dataset": dataset, "train_images": images}
        runs = [
            run(gain + number + 0.01 * seed, seed=seed, criterion=criterion, removed=number, **made)
            for number in range(1, 10)
            for criterion, gain in (("cka", 0.0), ("random", -2.0))
            for seed in (0, 1)
        ]
        return replace(held, results=Results(runs))

    return make


def test_rounds_of_cka_stand_beside_what_pons_et_al_print(rounds):
    rows = by_item(table_rows("pons", rounds()))
    seven = rows["cka, p = 7, fine-tuned, rounds of 1", "Δ accuracy"]
    assert (seven["paper"], seven["verdict"], seven["note"]) == (0.68, DISAGREES, "printed in table 4")
    assert (seven["measured"], seven["random"]) == (pytest.approx(7.005), pytest.approx(5.005))
    flops = rows["cka, p = 7, fine-tuned, rounds of 1", "FLOPs saved"]
    assert (flops["paper"], flops["measured"], flops["verdict"]) == (47.78, pytest.approx(47.782), AGREES)
    # random removal has a column, and no rows
    assert {row["criterion"] for row in rows.values()} == {"cka"}
    assert {one for one in rows if rows[one].get("paper") is not None} == {
        (f"cka, p = {number}, fine-tuned, rounds of 1", quantity)
        for number in (7, 8, 9)
        for quantity in ("Δ accuracy", "FLOPs saved")
    }


def test_figures_of_rounds_that_were_not_run_are_rows_of_their_network_alone(context):
    short = ROUNDS | {"rounds": {"blocks": 1, "until": 7}}
    rows = table_rows("pons", context(short))
    assert {(one["item"], one["verdict"], one["network"]) for one in rows} == {
        (f"cka, p = {number}, fine-tuned, rounds of 1", NOT_MEASURED, "resnet32") for number in (7, 8, 9)
    }
    assert table_rows("pons", context(ROUNDS | {"networks": ["resnet20"]})) == []


def test_the_scale_of_rounds_is_the_papers_only_with_as_long_a_fine_tuning(rounds):
    def scale(**changes):
        (found,) = {one["scale"] for one in table_rows("pons", rounds(**changes)) if one["seeds"]}
        return found

    assert scale() == "the paper's"
    assert scale(tuned={"epochs": 40}) == (
        "reduced: 200 of 200 epochs, 40 of 200 to fine-tune, 50,000 of 50,000 images, 2 seeds"
    )
    assert scale(dataset="digits", images=800) == (
        "digits in place of CIFAR-10 and CIFAR-100: 200 epochs, 800 images, 2 seeds"
    )


def test_a_paper_whose_scale_is_not_known_has_no_run_at_its_scale(context, run):
    study = {"fills": ["complexity"], "structures": ["filters_by_share"], "criteria": ["complexity_macs"]}
    study |= {"networks": ["resnet20"], "removed": [40]}
    held = {"structure": "filters_by_share", "criterion": "complexity_macs", "network": "resnet20", "removed": 40}
    runs = [run(-1.0, macs_reduction=55.0, memory_reduction=35.0, filters=400, **held)]
    rows = by_item(table_rows("complexity", context(study, runs=runs, training={"epochs": 200})))
    item = "complexity_macs, 40\N{NO-BREAK SPACE}% of the filters"
    assert {key: row["measured"] for key, row in rows.items()} == {
        (item, "FLOPs saved"): 55.0,
        (item, "memory saved"): 35.0,
        (item, "Δ accuracy"): -1.0,
    }
    assert {row["verdict"] for row in rows.values()} == {NO_FIGURE}
    assert {row["note"] for row in rows.values()} == {"400 filters left"}
    assert {row["scale"] for row in rows.values()} == {
        "cifar10: 200 epochs, 2,000 images, 1 seed; the paper's is not known here"
    }
