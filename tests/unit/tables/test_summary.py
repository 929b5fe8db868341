"""The summary of toy tables: draws are averaged within seeds, and 20 tickets without effect do not win."""

import numpy as np
import pytest
from scipy import stats
from tests.unit.tables.toy import inferred, placed, records

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.statistics import saved
from layerlottery.tables.summary import summary

DENSE = {"structure": "none", "criterion": None, "scored_at": None, "removed": 0, "rewind": "0"}
TICKET = {"structure": "layers", "criterion": "snip", "scored_at": "init", "removed": 1, "rewind": "0"}
COST = dict.fromkeys(("train_speedup", "total_speedup", "latency_speedup"), 1.0)
COST |= dict.fromkeys(("total_seconds", "total_kwh", "total_co2_kg"), 0.0)
COST |= {f"{saving}_reduction": 0.0 for saving in ("macs", "params", "memory", "energy")}
# differences under the conditions of each kind
UNTESTED = {f"{kind}_{part}": 0 for kind in ("attack", "corruption", "shift") for part in ("sum", "count")}


def dense(seeds, network="resnet20"):
    return [
        {"dataset": "digits", "network": network, "seed": seed, "draw": 0, "accuracy": 90.0, "delta_accuracy": 0.0}
        | DENSE
        | COST
        | UNTESTED
        for seed in seeds
    ]


def ticket(deltas, network="resnet20", **changes):
    """Rows of one ticket; `deltas` holds (seed, difference to dense) of every draw."""
    return [
        {"dataset": "digits", "network": network, "seed": seed, "draw": draw}
        | {"accuracy": 90 + delta, "delta_accuracy": delta}
        | TICKET
        | COST
        | UNTESTED
        | changes
        for draw, (seed, delta) in enumerate(deltas)
    ]


def summarize(rows, *, xi=(0.0,), **given):
    settings, networks = StatisticsSettings(xi=list(xi), resamples=199, **given), placed(rows)
    return records(summary(networks, inferred(networks, settings)[0], settings))


def test_draws_are_averaged_within_a_seed_first():
    # three draws of seed 0 and one of seed 1: their plain mean would be 2
    rows = dense([0, 1]) + ticket([(0, 1.0), (0, 2.0), (0, 0.0), (1, 5.0)])
    (row,) = summarize(rows)
    assert (row["seeds"], row["networks"], row["won"]) == (2, 4, 4)
    assert (row["delta_accuracy"], row["accuracy"]) == (3.0, 93.0)
    assert row["delta_sd"] == row["accuracy_sd"] == pytest.approx(np.std([1.0, 5.0], ddof=1))
    expected = stats.t.interval(0.95, 1, loc=3, scale=stats.sem([1.0, 5.0]))
    assert (row["delta_low"], row["delta_high"]) == pytest.approx(expected)
    assert row["p_winning"] == pytest.approx(stats.ttest_rel([91.0, 95.0], [90.0, 90.0], alternative="greater").pvalue)
    assert row["p_difference"] == pytest.approx(stats.ttest_rel([91.0, 95.0], [90.0, 90.0]).pvalue)
    assert (row["method"], row["boot_low"]) == ("seeds", None)


def test_many_draws_of_one_seed_infer_nothing():
    (row,) = summarize(dense([0]) + ticket([(0, delta) for delta in (1.0, 1.1, 1.2, 1.3)]))
    assert (row["seeds"], row["networks"], row["won"], row["verdict"]) == (1, 4, 4, "single seed")
    assert row["p_winning"] is row["delta_sd"] is row["boot_low"] is row["tickets"] is row["winning"] is None


def test_costs_are_averaged_within_a_seed_first():
    rows = ticket([(0, 0.0), (0, 0.0), (1, 0.0)])
    given = [(500, 1.0, 2.0, 10.0), (300, 4.0, 8.0, 30.0), (200, 0.5, 9.0, 50.0)]
    for row, (params, latency, speedup, energy) in zip(rows, given, strict=True):
        row |= {"params_reduction": saved(params, 1000), "latency_speedup": 4 / latency}
        row |= {"train_speedup": speedup, "energy_reduction": energy}
    (row,) = summarize(dense([0, 1]) + rows)
    # reductions of 50, 70 and 80 percent; dense networks have 1000 parameters and 4 ms
    assert row["params_reduction"] == pytest.approx((60 + 80) / 2)
    assert row["energy_reduction"] == pytest.approx((20 + 50) / 2)
    # geometric within the seed: 2 and 8 are 4, then 4 and 9 are 6
    assert row["train_speedup"] == pytest.approx(6)
    # 4 and 1 are 2, then 2 and 8 are 4
    assert row["latency_speedup"] == pytest.approx(4)


def test_robustness_is_averaged_within_a_seed_first():
    # two draws of seed 0, one under a condition more; seed 2 was not corrupted
    rows = ticket([(0, 0.0), (0, 0.0), (1, 0.0), (2, 0.0)])
    for row, deltas in zip(rows, ([-1.0, -3.0], [-8.0], [-6.0, -6.0], []), strict=True):
        row |= {"corruption_sum": sum(deltas), "corruption_count": len(deltas)}
    (row,) = summarize(dense([0, 1, 2]) + rows)
    assert row["corruption_delta"] == (-4 - 6) / 2
    assert row["attack_delta"] is row["shift_delta"] is None


def test_tickets_of_unequal_seeds_and_draws_stand_alone():
    tickets = [
        ticket([(seed, delta / 7) for seed, delta in enumerate(deltas)], removed=removed)
        for removed, deltas in enumerate(([1, 2, 3], [4, -2], [5], [3, 1, 9]), start=1)
    ]
    tickets.append(ticket([(0, 0.3), (0, 0.1), (1, 0.7)], removed=5))
    together = summarize(dense(range(3)) + [row for rows in tickets for row in rows], xi=[0.0, "sd"])
    alone = [row for rows in tickets for row in summarize(dense(range(3)) + rows, xi=[0.0, "sd"])]
    # but for what Holm's correction makes of the family
    corrected = {name for name in together[0] if name.endswith("_holm")} | {"tickets", "more_seeds", "family"}
    assert [{name: row[name] for name in row if name not in corrected} for row in together] == [
        {name: row[name] for name in row if name not in corrected} for row in alone
    ]


def planted(p_values, seeds=5):
    """Tickets whose one-sided t tests against 0 have these p values, by moving one pattern of mean 0."""
    pattern = np.array([-1.0, 0.5, 1.5, -0.5, -0.5])[:seeds]
    scale = np.std(pattern, ddof=1) / np.sqrt(seeds)
    rows = dense(range(seeds))
    for removed, p in enumerate(p_values, start=1):
        rows += ticket(list(enumerate(pattern + stats.t.isf(p, seeds - 1) * scale)), removed=removed)
    return rows


def test_of_twenty_tickets_without_effect_none_wins_after_the_correction():
    # what chance gives: p values spread evenly
    p_values = np.linspace(0.02, 0.98, 20)
    rows = summarize(planted(p_values))
    assert [row["p_winning"] for row in rows] == pytest.approx(p_values.tolist(), rel=1e-6)
    assert [row["winning"] for row in rows].count(True) == 1
    assert [[row["verdict"] for row in rows].count(one) for one in ("better", "worse")] == [1, 1]
    assert {(row["verdict_holm"], row["winning_holm"]) for row in rows} == {("undecided", False)}
    assert rows[0]["p_winning_holm"] == pytest.approx(20 * 0.02, rel=1e-6)
    assert {row["tickets"] for row in rows} == {20}


def test_a_large_effect_survives_the_correction():
    rows = summarize(planted([1e-5, *np.linspace(0.02, 0.98, 18), 1 - 1e-5]))
    assert [row["verdict_holm"] for row in rows] == ["better", *["undecided"] * 18, "worse"]
    assert [row["winning_holm"] for row in rows] == [True, *[False] * 19]


def test_holm_by_hand_within_one_network_and_tolerance():
    other = [row | {"network": "resnet32"} for row in planted([0.01])]
    rows = summarize(planted([0.01, 0.04, 0.03]) + other, xi=[0.0, 100.0])
    found = {(row["network"], row["removed"], row["xi"]): row for row in rows}
    strict = [found["resnet20", removed, "0"] for removed in (1, 2, 3)]
    assert [row["p_winning_holm"] for row in strict] == pytest.approx([0.03, 0.06, 0.06], rel=1e-6)
    assert [row["p_difference_holm"] for row in strict] == pytest.approx([0.06, 0.12, 0.12], rel=1e-6)
    assert [row["winning"] for row in strict] == [True, False, False]
    assert [row["winning_holm"] for row in strict] == [False] * 3
    alone = found["resnet32", 1, "0"]
    assert (alone["p_winning_holm"], alone["tickets"], alone["winning_holm"]) == (alone["p_winning"], 1, True)
    assert {row["verdict_holm"] for row in rows if row["xi"] == "100"} == {"equivalent"}


def test_a_small_loss_is_equivalent_and_wins():
    # a loss of 0.4 that all seeds have: proven worse, and proven less than matters
    rows = summarize(dense(range(6)) + ticket([(seed, -0.4 + seed % 2 / 50) for seed in range(6)]), xi=[0.0, 0.3, 1.0])
    found = [(row["verdict_holm"], row["winning_holm"]) for row in rows]
    assert found == [("worse", False), ("worse", False), ("equivalent", True)]


def test_a_ticket_of_one_seed_does_not_count_in_the_family():
    rows = planted([0.01, 0.04]) + ticket([(0, 3.0)], removed=9)
    found = {row["removed"]: row for row in summarize(rows)}
    assert [found[removed]["tickets"] for removed in (1, 2, 9)] == [2, 2, None]
    assert found[1]["p_winning_holm"] == pytest.approx(0.02, rel=1e-6)
    assert (found[9]["p_winning_holm"], found[9]["verdict_holm"]) == (None, "single seed")


def test_differences_that_agree_by_chance_decide_nothing():
    (row,) = summarize(dense([0, 1]) + ticket([(0, -1.5), (1, -1.5)]))
    assert row["delta_low"] is row["p_difference"] is row["winning"] is None
    assert (row["verdict"], row["verdict_holm"]) == ("undecided", "undecided")


def test_more_seeds_are_for_what_the_correction_leaves_open():
    # Holm's second step, 0.025, decides what its first, 0.0167, does not
    rows = summarize(planted([0.0001, 0.01, 0.1]))
    assert [row["p_difference"] for row in rows] == pytest.approx([0.0002, 0.02, 0.2], rel=1e-6)
    assert [row["verdict_holm"] for row in rows] == ["better", "better", "undecided"]
    assert [row["more_seeds"] is None for row in rows] == [True, True, False]


def test_rewinds_are_tickets_of_their_own():
    rows = dense([0, 1]) + [row for rewind in ("0", "25", "random") for row in ticket([(0, 1.0)], rewind=rewind)]
    assert [(row["rewind"], row["networks"]) for row in summarize(rows)] == [("0", 1), ("25", 1), ("random", 1)]
