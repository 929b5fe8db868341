"""Agreement of rankings, on toy tables."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from layerlottery.tables.stability import CRITERION, stability


def rankings_of(scores, function="snip", *, network="resnet20", scored_at="init"):
    """`scores` maps (seed, draw) to the scores of the removable blocks."""
    named = {"dataset": "digits", "network": network, "criterion": function, "scored_at": scored_at}
    return [
        named | {"function": function, "seed": seed, "draw": draw, "block": f"stage1.{number}", "score": score}
        for (seed, draw), values in scores.items()
        for number, score in enumerate(values)
    ]


def stability_rows(rows):
    columns = [*CRITERION, "function", "seed", "draw", "block", "score"]
    return stability(pd.DataFrame(rows, columns=columns)).to_dict("records")


def test_blocks_and_rankings_are_counted():
    (row,) = stability_rows(rankings_of({(0, 0): [1.0, 2.0, 3.0], (1, 0): [5.0, 6.0, 9.0]}))
    assert (row["blocks"], row["rankings"], row["kendall_w"]) == (3, 2, pytest.approx(1))


def test_every_criterion_and_its_scored_weights_stand_alone():
    opposite = {(0, 0): [1.0, 2.0, 3.0], (1, 0): [3.0, 2.0, 1.0]}
    equal = {(0, 0): [1.0, 2.0, 3.0], (1, 0): [4.0, 5.0, 6.0]}
    found = stability_rows(
        rankings_of(opposite) + rankings_of(equal, scored_at="trained") + rankings_of(equal, network="resnet32")
    )
    assert [(row["network"], row["scored_at"], row["kendall_w"]) for row in found] == [
        ("resnet20", "init", 0.0),
        ("resnet20", "trained", pytest.approx(1)),
        ("resnet32", "init", pytest.approx(1)),
    ]


def test_blocks_are_matched_by_name():
    rows = rankings_of({(0, 0): [1.0, 2.0, 3.0], (1, 0): [4.0, 5.0, 6.0]})
    (row,) = stability_rows([*rows[:3], *reversed(rows[3:])])
    assert row["kendall_w"] == pytest.approx(1)


def test_seeds_and_draws_are_rankings():
    rankings = np.random.default_rng(0).normal(size=(6, 8))
    scores = {(number // 3, number % 3): ranking for number, ranking in enumerate(rankings.tolist())}
    (row,) = stability_rows(rankings_of(scores, "random"))
    # W is (1 + (m - 1) r) / m with r the mean of Spearman's correlations of all pairs
    correlations = stats.spearmanr(rankings, axis=1).statistic[np.triu_indices(6, 1)]
    assert row["rankings"] == 6
    assert row["kendall_w"] == pytest.approx((1 + 5 * correlations.mean()) / 6)
    assert row["p_value"] == pytest.approx(stats.chi2.sf(6 * 7 * row["kendall_w"], 7))


def test_a_criterion_that_draws_nothing_does_not_agree_with_itself():
    once = {(0, draw): [1.0, 2.0, 3.0] for draw in range(5)}
    (row,) = stability_rows(rankings_of(once, "l1"))
    assert row["rankings"] == 1
    assert np.isnan([row["kendall_w"], row["p_value"]]).all()
    (row,) = stability_rows(rankings_of(once | {(1, draw): [3.0, 2.0, 1.0] for draw in range(5)}, "synflow"))
    assert (row["rankings"], row["kendall_w"]) == (2, 0.0)


@pytest.mark.parametrize("scores", [{(0, 0): [1.0, 2.0, 3.0]}, {(0, 0): [1.0, 2.0], (1, 0): [1.0, 2.0]}])
def test_one_ranking_or_two_blocks_have_no_agreement(scores):
    (row,) = stability_rows(rankings_of(scores))
    assert np.isnan([row["kendall_w"], row["p_value"]]).all()


def test_nothing_scored_or_nothing_removable_is_an_empty_table():
    assert stability_rows([]) == stability_rows(rankings_of({(0, 0): []})) == []
