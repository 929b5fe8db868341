"""The verdict says what the tables hold, and no more."""

import pandas as pd
import pytest

from layerlottery.report.controls import control_statements
from layerlottery.report.tables import read_tables
from layerlottery.report.text import summary_text
from layerlottery.report.verdict import Finding, findings, named
from layerlottery.store.artifacts import read_table


def said(finding: Finding, term: str) -> str:
    return dict(finding.statements).get(term, "").replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_names_the_planted_winner_and_loser(planted):
    (finding,) = findings(read_tables(planted), "1")
    assert finding.headline.startswith("1 of 16 tickets won, 2 lost, 13 undecided")
    assert "3 seeds" in finding.headline
    assert said(finding, "Won") == "grasp at p = 1."
    assert said(finding, "Lost") == "snip at p = 3; random at p = 1."
    assert "snip at p = 1\N{EN DASH}2, 4" in said(finding, "Undecided")
    assert said(finding, "Best and deepest").startswith("grasp at p = 1, +0.7")


def test_holm_keeps_some_wins(planted):
    (finding,) = findings(read_tables(planted), "1")
    # the fake table keeps the smallest and the largest p value: grasp at p = 1 and snip at p = 3
    text = said(finding, "After Holm's correction")
    assert text == "Of 16 tickets tested, 1 of 1 win remains and 1 of 2 losses remains (snip at p = 3)."


def test_verdict_without_wins_or_losses_says_nothing_of_holm(make, tmp_path):
    tables = make(tmp_path, planted={}, criteria=("random", "snip"), kinds=())
    (finding,) = findings(read_tables(tables), "1")
    assert not said(finding, "After Holm's correction")
    assert said(finding, "Highest mean, not a clear win").startswith("snip at p = 1, ")


def test_one_seed_infers_nothing(make, tmp_path):
    tables = make(tmp_path, seeds=(0,), kinds=())
    (finding,) = findings(read_tables(tables), "1")
    assert finding.headline.startswith("One seed, so nothing can be inferred.")
    assert "1 of 16 tickets stayed within" in finding.headline
    assert not said(finding, "Won")
    assert said(finding, "Against random") == "With one seed no ticket can be told from random removal."
    (spread_finding,) = findings(read_tables(tables), "sd")
    assert "can't be computed from one seed" in spread_finding.headline


def test_missing_controls_are_named(make, tmp_path):
    (finding,) = findings(read_tables(make(tmp_path, criteria=("snip", "grasp"), kinds=())), "1")
    text = said(finding, "Missing controls")
    assert text.startswith("Random removal was not trained, so we can't tell whether a criterion matters at all;")
    assert "random removal spread over the stages was not trained" in text
    assert "the same architecture with fresh weights was not trained" in text
    assert "layer ticket" not in text
    assert not said(finding, "Against random")


def test_no_control_is_missing_where_all_were_trained(everything):
    (finding,) = findings(read_tables(everything), "1")
    assert not said(finding, "Missing controls")
    for term in ("Against random", "Against random spread", "Against fresh weights", "Against layers"):
        assert "Holm's correction counts" in said(finding, term)


def test_random_and_fresh_weights_that_win_are_not_hidden(make, tmp_path):
    planted = {("random", 1): (0.5, 0.1), ("snip", 1): (0.6, 0.1)}
    tables = make(tmp_path, planted=planted, criteria=("random", "snip"), fresh=(1,), kinds=())
    (finding,) = findings(read_tables(tables), "1")
    assert said(finding, "Random won too").startswith("random at p = 1: ")
    assert "snip (fresh weights) at p = 1" in said(finding, "Fresh weights won too")


RUNS = pd.DataFrame(
    {
        "structure": ["none", "layers", "layers", "filters"],
        "criterion": [None, "snip", "chance", "snip"],
        "criterion_settings": [None, '{"function":"snip"}', '{"function":"random"}', '{"function":"snip"}'],
        "rewind": "0",
    }
)


def compared(*rows) -> pd.DataFrame:
    columns = ["family", "removed", "control", "difference", "low", "high", "outcome"]
    return pd.DataFrame(rows, columns=columns).assign(seeds=3, compared=float(len(rows)))


def test_controls_claim_only_what_stands_after_holm():
    rows = compared(
        ("snip", 1, "random", 0.5, 0.2, 0.8, "better"),
        ("snip", 2, "random", 2.5, 2.2, 2.8, "better"),
        ("snip", 3, "random", -1.0, -1.9, -0.1, "can't tell"),
        ("snip", 4, "random", -0.1, -1.9, 1.7, "can't tell"),
    )
    text = dict(control_statements(RUNS, rows))["Against random"].replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "Clearly better than random removal: snip at p = 2 (+2.50 [+2.20, +2.80]), snip at p = 1 (+0.50 [+0.20, "
        "+0.80]); no ticket is clearly worse than random removal; for 2 of 4 comparisons we can't tell. Holm's "
        "correction counts 4 comparisons, and 1 interval apart from zero did not survive it."
    )


def test_filters_are_held_against_layers():
    rows = compared(("snip (filters)", 1, "layers", -0.9, -1.2, -0.6, "worse"))
    text = dict(control_statements(RUNS, rows))["Against layers"]
    assert text.startswith("Clearly worse than the layer ticket of the same budget: snip (filters) at p")
    without = RUNS[RUNS["structure"] != "layers"]
    assert "we can't tell which structure is better" in dict(control_statements(without, rows))["Missing controls"]


def test_a_control_that_shares_no_seed_is_not_called_missing():
    statements = dict(control_statements(RUNS, compared()))
    assert (
        statements["Against random"] == "No other ticket shares seed and number of removed blocks with random removal."
    )


def test_long_lists_are_cut():
    rows = pd.DataFrame({"family": [f"c{index:02d}" for index in range(12) for _ in (1, 2)], "removed": [1, 2] * 12})
    text = named(rows)
    assert text.count(" at p") == 8
    assert text.endswith("; and 8 tickets more, listed under Every ticket")


def test_summary_text_fits_and_holds_every_ticket(planted):
    lines = summary_text(planted).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) == 4 + 16 + 2
    (winner,) = [line for line in lines if re_start(line, "grasp", 1)]
    (row,) = [
        row
        for row in read_table(planted / "summary.parquet").to_pylist()
        if (row["criterion"], row["removed"], row["xi"]) == ("grasp", 1, "1")
    ]
    cells = (
        f"{row['accuracy']:.2f}",
        f"{row['delta_accuracy']:+.2f} [{row['delta_low']:+.2f}, {row['delta_high']:+.2f}]",
    )
    assert winner.split(maxsplit=2)[2].startswith(f"{cells[0]}     {cells[1]}   3/3 winning*      6.8 %")


def re_start(line: str, family: str, removed: int) -> bool:
    return line.split()[:2] == [family, str(removed)]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_summary_text_ends_with_what_may_be_inferred(make, tmp_path, seeds):
    tables = make(tmp_path, seeds=seeds, planted={}, criteria=("snip",), kinds=())
    last = summary_text(tables).splitlines()[-1]
    assert last == "One seed: nothing can be inferred." if len(seeds) == 1 else last.startswith("No win or loss stands")


def test_summary_text_keeps_long_names_apart(make, tmp_path):
    tables = make(tmp_path, criteria=("c" * 40,), rewound=("4", "8"), removed=(1,), kinds=())
    lines = summary_text(tables).splitlines()
    assert max(map(len, lines)) <= 100
    names = [line[:29] for line in lines if line.startswith("ccc")]
    assert len(set(names)) == len(names) == 3


def test_summary_text_of_dense_networks_alone(make, tmp_path):
    assert "nothing to summarize" in summary_text(make(tmp_path, criteria=(), kinds=()))
