"""The claims of the text, each from figures typed by hand; the outcome is planted."""

import json

import pytest

from layerlottery.paper.claims import CLAIMS, claim_rows
from layerlottery.paper.match import AGREES, CANT_TELL, DISAGREES, MODELLED, NO_FIGURE, NOT_MEASURED

TRAINED = {"criteria": ["kl", "pls"], "scored_at": ["trained"], "rewinds": ["random"], "fills": ["table1"]}


def about(rows, words):
    """The only row whose item holds these words."""
    (row,) = [row for row in rows if words in row["item"]]
    return row


def test_without_results_every_claim_is_a_row_that_was_not_measured(context):
    rows = claim_rows(context({}))
    assert {row["verdict"] for row in rows} == {NOT_MEASURED}
    # FLOPs a block are printed for two networks
    assert len(rows) == len(CLAIMS) + 1 == 10
    printed = {(row["network"], row["paper"]) for row in rows if row["paper"] is not None}
    assert printed == {
        ("resnet32", 0.85), ("resnet32", 100.0), ("resnet32", 6.826),
        ("resnet56", 2.03), ("resnet56", 51.0), ("resnet56", 3.752),
    }  # fmt: skip


def fresh(run, value, **columns):
    return [run(value + 0.01 * seed, seed=seed, scored_at="trained", rewind="random", **columns) for seed in (0, 1, 2)]


def test_re_initialization_takes_the_criterion_with_the_greatest_mean(context, run):
    runs = fresh(run, 0.2, criterion="pls") + fresh(run, 0.7, criterion="kl")
    row = about(claim_rows(context(TRAINED, runs=runs)), "fresh weights")
    assert (row["measured"], row["paper"], row["verdict"]) == (pytest.approx(0.71), 0.85, AGREES)
    assert "kl, p = 1" in row["note"]
    assert "of 2 means" in row["note"]


def test_re_initialization_of_more_blocks_is_not_what_the_paper_printed(context, run):
    runs = fresh(run, 0.2, criterion="pls") + fresh(run, 5.0, criterion="kl", removed=2)
    row = about(claim_rows(context(TRAINED | {"removed": [1, 2]}, runs=runs)), "fresh weights")
    assert row["measured"] == pytest.approx(0.21)


def summary(ticket, verdicts, **columns):
    rows = []
    for removed, (winning, delta, se) in enumerate(verdicts, start=1):
        judged = {"xi": "1", "xi_points": 1.0, "seeds": 3, "confidence": 0.95, "verdict": "undecided"}
        judged |= {"winning": winning, "delta_accuracy": delta, "delta_se": se, "delta_df": 8.0}
        rows.append(ticket("summary", criterion="kl", scored_at="trained", removed=removed) | judged | columns)
    return rows


# winning, the difference and its standard error
WON = (True, 0.0, 0.1)


@pytest.mark.parametrize(
    ("verdicts", "share", "verdict"),
    [
        # Holm's correction is asked for losing only: that all win needs no correction
        ([WON, WON], 100, AGREES),
        ([WON, (False, -0.9, 0.5)], 50, CANT_TELL),
        # 2.35 standard errors below -1: one-sided p is 0.0233, and twice that for two tickets
        ([WON, (False, -1.235, 0.1)], 50, CANT_TELL),
        ([WON, (False, -3.0, 0.1)], 50, DISAGREES),
    ],
)
def test_every_ticket_wins_is_a_share(context, ticket, verdicts, share, verdict):
    study = TRAINED | {"rewinds": [0], "criteria": ["kl"], "removed": [1, 2]}
    row = about(
        claim_rows(context(study, summary=summary(ticket, verdicts))), "every ticket of table 1 wins (ξ = 1 pp)"
    )
    assert (row["measured"], row["verdict"], row["seeds"]) == (share, verdict, 3)


def test_one_seed_shows_of_no_ticket_that_it_wins(context, ticket):
    study = TRAINED | {"rewinds": [0], "criteria": ["kl"], "removed": [1]}
    rows = summary(ticket, [(None, 0.5, None)], seeds=1, verdict="single seed")
    row = about(claim_rows(context(study, summary=rows)), "every ticket of table 1 wins")
    assert (row.get("measured"), row["verdict"]) == (None, CANT_TELL)


def saving(run, network, removed, factor, criterion="snip"):
    savings = {"train_speedup": factor, "energy_reduction": 100 * (1 - 1 / factor)}
    shape = {"network": network, "removed": removed, "criterion": criterion}
    return [
        run(
            None,
            seed=seed,
            macs_reduction=3.752 * removed,
            **shape | {name: value + 0.001 * seed for name, value in savings.items()},
        )
        for seed in (0, 1)
    ]


def test_savings_are_compared_where_the_paper_prints_them(context, run):
    study = {"networks": ["resnet56", "resnet20"], "removed": [3, 12], "criteria": ["snip", "random"]}
    runs = saving(run, "resnet56", 3, 9.0) + saving(run, "resnet56", 12, 2.0) + saving(run, "resnet20", 3, 1.25)
    runs += saving(run, "resnet56", 12, 7.0, criterion="random")
    rows = claim_rows(context(study | {"fills": ["table4"]}, runs=runs))
    faster = {row["network"]: row for row in rows if "faster" in row["item"]}
    assert (faster["resnet56"]["measured"], faster["resnet56"]["verdict"]) == (pytest.approx(2.0005, abs=1e-4), AGREES)
    assert (faster["resnet20"]["paper"], faster["resnet20"]["verdict"]) == (None, NO_FIGURE)
    saved = {row["network"]: row for row in rows if "CO2" in row["item"]}
    assert (saved["resnet56"]["measured"], saved["resnet56"]["verdict"]) == (pytest.approx(50.0005), AGREES)


def test_energy_of_which_only_the_time_was_measured_has_no_verdict(context, run):
    study = {"networks": ["resnet56"], "removed": [12], "criteria": ["snip"], "fills": ["table4"]}
    runs = [row | {"power_source": "cpu_load"} for row in saving(run, "resnet56", 12, 2.0)]
    saved = about(claim_rows(context(study, runs=runs)), "CO2")
    assert (saved["measured"], saved["verdict"]) == (pytest.approx(50.0005), MODELLED)


def flops(rows):
    return about([row for row in rows if row["network"] == "resnet32"], "same FLOPs")


def test_a_block_saves_the_same_flops_or_the_claim_fails(context, run):
    runs = [
        run(None, removed=removed, macs_reduction=6.826 * removed, criterion=criterion)
        for removed, criterion in ((1, "snip"), (2, "grasp"), (3, "snip"))
    ]
    row = flops(claim_rows(context({}, runs=runs)))
    assert (row["measured"], row["verdict"], row["seeds"]) == (pytest.approx(6.826), AGREES, 1)
    uneven = [*runs, run(None, removed=1, macs_reduction=7.5, criterion="grasp")]
    row = flops(claim_rows(context({}, runs=uneven)))
    assert (row["low"], row["high"], row["verdict"]) == (pytest.approx(6.826), 7.5, CANT_TELL)


def test_networks_without_a_profile_save_nothing_that_is_known(context, run):
    known, unknown = (run(None, removed=removed, macs_reduction=value) for removed, value in ((2, 13.652), (1, None)))
    row = flops(claim_rows(context({}, runs=[known, unknown])))
    assert (row["measured"], row["low"], row["high"]) == (pytest.approx(6.826),) * 3
    row = flops(claim_rows(context({}, runs=[unknown])))
    assert row["verdict"] == NOT_MEASURED


def l1_scores(score, first, last):
    blocks = {"stage1.0": None, "stage1.1": first, "stage1.2": first + 0.5, "stage2.1": 5.0, "stage3.1": last}
    return [
        score(block, raw if raw is None else raw + 0.01 * seed * (block == "stage3.1"), seed=seed)
        for seed in (0, 1, 2)
        for block, raw in blocks.items()
    ]


@pytest.mark.parametrize(
    ("first", "last", "difference", "verdict", "lowest"),
    [(1.0, 8.0, 6.76, AGREES, 3), (9.0, 8.0, -1.24, DISAGREES, 0)],
)
def test_l1_and_the_first_stage(context, score, first, last, difference, verdict, lowest):
    row = about(claim_rows(context({}, scores=l1_scores(score, first, last))), "l1 scores")
    assert (row["measured"], row["verdict"]) == (pytest.approx(difference), verdict)
    assert f"lowest mean in {lowest} of 3 seeds" in row["note"]
    assert row["note"].endswith(f"below all others in {lowest}")


def closeness(similar, first, second, step, **columns):
    """CKA of two tickets a number of blocks removed; the difference is `step` at p = 1 and twice that at p = 2."""
    return [
        similar(
            0.9 + (0.01 + 1e-7 * sign) * seed + sign * step * removed / 2, seed=seed, removed=removed, **columns | which
        )
        for seed in (0, 1, 2)
        for removed in (1, 2)
        for sign, which in ((1, first), (-1, second))
    ]


@pytest.mark.parametrize(("step", "verdict"), [(0.02, AGREES), (-0.02, DISAGREES)])
def test_grasp_against_snip_is_paired_by_seed_and_removed(context, similar, step, verdict):
    rows = closeness(similar, {"criterion": "grasp"}, {"criterion": "snip"}, step)
    # blocks, other rewinds and other scorings do not count
    rows += [similar(9.0, criterion="grasp", layer="stage1.1"), similar(9.0, criterion="grasp", rewind="2")]
    rows += [similar(0.1, criterion="snip", rewind="2"), similar(0.1, criterion="snip", removed=3)]
    row = about(claim_rows(context({}, similarity=rows)), "GraSP")
    assert (row["measured"], row["verdict"], row["seeds"]) == (pytest.approx(1.5 * step, abs=1e-6), verdict, 3)
    sign = "+" if step > 0 else "\N{MINUS SIGN}"
    assert row["note"] == f"mean difference by blocks removed, p = 1: {sign}0.020, p = 2: {sign}0.040"


@pytest.mark.parametrize(("blocks", "alike"), [(["stage1.1", "stage3.1"], True), (["stage1.1", "stage1.2"], False)])
def test_one_architecture_has_no_closeness_to_find(context, run, similar, blocks, alike):
    # snip takes other blocks of the same stages, or of others
    runs = [run(0.1 * seed, seed=seed, criterion="grasp", removed=2) for seed in (0, 1)]
    runs = [row | {"removed_blocks": ["stage1.2", "stage3.2"]} for row in runs]
    runs += [row | {"criterion": "snip", "removed_blocks": blocks} for row in runs]
    near = [similar(0.8 + 0.01 * row["seed"], seed=row["seed"], criterion=row["criterion"], removed=2) for row in runs]
    row = about(claim_rows(context({}, runs=runs, similarity=near)), "GraSP")
    assert (row["verdict"] == "null by construction") == alike
    assert ("one architecture in every seed" in row["note"]) == alike


def test_layer_tickets_against_filter_tickets(context, similar):
    rows = closeness(similar, {"structure": "layers"}, {"structure": "filters"}, 0.02)
    rows += closeness(similar, {"structure": "layers"}, {"structure": "filters"}, -5.0, criterion="random")
    row = about(claim_rows(context({}, similarity=rows)), "filter tickets")
    assert (row["measured"], row["verdict"]) == (pytest.approx(0.03, abs=1e-6), AGREES)


def test_a_direction_from_one_seed_can_not_be_told(context, similar):
    rows = [similar(0.9, criterion="grasp"), similar(0.8, criterion="snip")]
    assert about(claim_rows(context({}, similarity=rows)), "GraSP")["verdict"] == CANT_TELL


@pytest.mark.parametrize(("gap", "verdict"), [(0.1, AGREES), (2.0, DISAGREES), (0.5, CANT_TELL)])
def test_signed_snip_is_a_random_pick_if_the_difference_stays_within_the_margin(context, run, gap, verdict):
    runs = [run(0.1 * seed + gap + 0.01 * seed, seed=seed, criterion="snip_signed") for seed in (0, 1, 2)]
    runs += [run(0.1 * seed, seed=seed, criterion="random") for seed in (0, 1, 2)]
    row = about(claim_rows(context({}, runs=runs)), "signed SNIP")
    assert (row["measured"], row["verdict"], row["margin"]) == (pytest.approx(gap + 0.01), verdict, 0.5)


def test_signed_snip_is_known_by_its_settings(context, run):
    chosen = {"snip_signed": 0.01, "random": 0.0}
    runs = [run(step * seed, seed=seed, criterion=name) for seed in (0, 1) for name, step in chosen.items()]
    zero_sum = json.loads(runs[0]["criterion_settings"])
    for change, verdict in (({}, AGREES), ({"batchnorm": "eval"}, NOT_MEASURED), ({"parameters": "all"}, NOT_MEASURED)):
        for one in runs:
            if one["criterion"] == "snip_signed":
                one["criterion_settings"] = json.dumps(zero_sum | change)
        assert about(claim_rows(context({}, runs=runs)), "signed SNIP")["verdict"] == verdict
