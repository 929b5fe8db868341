"""The verdict says what the tables hold, and no more."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from tests.unit.cli.test_cli import call
from tests.unit.report.conftest import TUNED, write_rows

from layerlottery.config.criteria import DRAWN
from layerlottery.report.controls import control_statements
from layerlottery.report.tables import read_tables
from layerlottery.report.text import summary_text
from layerlottery.report.texts import TEXTS
from layerlottery.report.verdict import Finding, findings, headline, named
from layerlottery.store.artifacts import read_table
from layerlottery.store.lock import acquire
from layerlottery.words import MINUS, gone


def said(finding: Finding, term: str) -> str:
    return dict(finding.statements).get(term, "").replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_names_what_is_proven(planted):
    (finding,) = findings(read_tables(planted), "1")
    # of 12 tests, for the control is none: grasp with 1  removedis 1.7 above -1 with a standard error of 0.06
    assert finding.headline.startswith("1 of 12 tickets is proven to win, corrected for 12 tests (ξ")
    assert "3 seeds). Against the dense network: 1 worse, 11 und" in finding.headline
    assert said(finding, "Proven to win") == "grasp with 1 removed: not worse than dense by more than ξ."
    assert said(finding, "Worse").startswith("snip with 3 removed: less accurate")
    assert "snip with 1\N{EN DASH}2, 4 removed" in said(finding, "Undecided")
    assert said(finding, "Most blocks removed in a proven win").startswith("grasp with 1 removed, +0.7")
    assert "found with 80 % power, before correction" in said(finding, "Power")


def rows_of(*tickets, seeds=3):
    """Rows of a summary: (winning, winning after correction, verdict after correction)."""
    columns = ["winning", "winning_holm", "verdict_holm"]
    return pd.DataFrame(tickets, columns=columns).assign(
        seeds=seeds, tickets=len(tickets), xi_points=1.0, learned=None, scored_at="init"
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_where_nothing_was_learned_nothing_wins(seeds):
    rows = rows_of(*[(True, True, "equivalent")] * 2, seeds=seeds)
    rows = rows.assign(accuracy=[10.0, 12.0], delta_accuracy=[-1.0, 1.0], chance=11.5, won=1)
    assert "nothing was learned" not in headline(rows.assign(learned=True), "1").lower()
    text = headline(rows.assign(learned=False), "1")
    assert text == (
        "It is not shown that anything was learned: the dense network reaches 11.00 %, not told from chance, 11.50 %, "
        f"by {seeds} seed{'s' * (seeds > 1)}, so no ticket is judged against it."
    )


def test_a_group_at_chance_lists_no_winners(make, tmp_path):
    folder = make(tmp_path, planted={("random", 1): (0.5, 0.1), ("snip", 1): (0.6, 0.1)}, criteria=("random", "snip"))
    assert said(findings(read_tables(folder), "1")[0], "Random won too")
    rows = read_table(folder / "summary.parquet").to_pylist()
    write_rows(folder, "summary", [row | {"learned": False, "chance": 96.0} for row in rows])
    (finding,) = findings(read_tables(folder), "1")
    assert finding.headline.startswith("It is not shown that anything was learned: the dense network reaches 93.")
    terms = ("Proven to win", "Undecided", "Highest mean", "Random won too")
    assert not [term for term in terms if said(finding, term)]


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        ([(False, False, "undecided")] * 2, "No win is proven ("),
        ([(True, False, "undecided")] * 4 + [(False, False, "worse")] * 9, "No win is proven; 4 of 13 before corr"),
        ([(True, True, "equivalent")] * 3, "3 of 3 tickets are proven to win, corrected for 3 tests ("),
        ([(True, True, "better"), (True, False, "undecided")], "1 of 2 tickets is proven to win; 2 before correcting"),
    ],
)
def test_headline_says_what_survives_the_correction(tickets, expected):
    said = headline(rows_of(*tickets), "1")
    assert said.startswith(expected)
    for verdict in ("better", "equivalent", "worse", "undecided"):
        count = sum(one[2] == verdict for one in tickets)
        assert (f"{count} {verdict}" in said.partition("Against")[2]) == (count > 0)


@pytest.mark.parametrize(("late", "expected"), [(0, ""), (1, " (1 chosen after training)"), (3, "")])
def test_headline_tells_tickets_of_trained_networks_apart(late, expected):
    rows = rows_of(*[(True, True, "equivalent")] * 3).assign(scored_at=["trained"] * late + ["init"] * (3 - late))
    assert headline(rows, "1").startswith(f"3 of 3 tickets{expected} are proven to win, corrected for 3 tests (")
    rows = rows.assign(winning_holm=rows["scored_at"] == "trained")
    assert headline(rows.head(2), "1").startswith("1 of 2 tickets (chosen after training) is") == (late == 1)


def test_one_seed_infers_nothing(make, tmp_path):
    tables = make(tmp_path, seeds=(0,), kinds=())
    (finding,) = findings(read_tables(tables), "1")
    assert finding.headline.startswith("One seed, so nothing can be inferred.")
    assert "1 of 12 tickets lost no more than" in finding.headline
    assert not said(finding, "Proven to win")
    assert said(finding, "Against random") == "With one seed no ticket can be told from random removal."
    (spread_finding,) = findings(read_tables(tables), "sd")
    assert "can't be computed from one seed" in spread_finding.headline


def test_missing_controls_are_named(make, tmp_path):
    (finding,) = findings(read_tables(make(tmp_path, criteria=("snip", "grasp"), kinds=())), "1")
    text = said(finding, "Missing controls")
    assert text.startswith("Nothing was compared with random removal, so we can't tell whether a criterion matters")
    assert "nothing was compared with the same architecture with fresh weights" in text
    assert "the layer ticket of the same budget" not in text
    assert not said(finding, "Against random")


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({}, {"fresh", "architecture", "dense_at_cost", "filters_at_macs"}),
        ({"scored_at": "trained"}, {"fresh", "architecture", "filters_at_macs"}),
        ({"scored_at": "trained", "rewind": TUNED}, {"fresh", "architecture", "filters_at_macs", "dense_tuned"}),
        ({"scored_at": "trained", "step": 1}, set()),
        ({"scored_at": "trained", "step": 1, "rewind": TUNED}, {"dense_tuned"}),
        ({"criterion_settings": '{"function":"block_influence"}'}, {"fresh", "architecture", "dense_at_cost"}),
        (
            {"criterion_settings": '{"function":"angular","select":"span"}', "scored_at": "trained"},
            {"fresh", "architecture", "deepest"},
        ),
        # controls need none themselves
        ({"criterion_settings": '{"function":"angular","select":"deepest"}'}, None),
    ],
)
def test_only_controls_that_can_be_had_are_missed(changes, lacking):
    runs = RUNS[RUNS["criterion"] == "snip"].head(1).assign(**changes)
    missing = dict(control_statements(runs, compared())).get("Missing controls", "").lower()
    found = {name for name, one in TEXTS["controls"].items() if f"{one['words'].lower()}, so" in missing}
    assert found == (set() if lacking is None else {*DRAWN, *lacking})


def test_controls_that_were_trained_are_told(everything):
    (finding,) = findings(read_tables(everything), "1")
    for term in ("Against random", "Against random spread", "Against fresh weights", "Against layers"):
        assert "Corrected for" in said(finding, term)
    missing = said(finding, "Missing controls")
    assert missing.count("nothing was compared with") + missing.count("Nothing was compared with") == 3


def test_random_and_fresh_weights_that_win_are_not_hidden(make, tmp_path):
    planted = {("random", 1): (0.5, 0.1), ("snip", 1): (0.6, 0.1)}
    tables = make(tmp_path, planted=planted, criteria=("random", "snip"), fresh=(1,), kinds=())
    (finding,) = findings(read_tables(tables), "1")
    assert said(finding, "Random won too").startswith("random with 1 removed: ")
    assert "snip (fresh weights) with 1 removed" in said(finding, "Fresh weights won too")


def test_a_dense_network_that_wins_by_as_much_fine_tuning_stands_beside_the_sentence(make, tmp_path):
    planted = {("kl", 1): (0.5, 0.1), ("kl", 2): (0.5, 0.1)}
    tables = read_tables(make(tmp_path, planted=planted, criteria=("kl",), fresh=(), kinds=()))
    control = tables.summary["removed"] == 2
    changed = {"structure": tables.summary["structure"].mask(control, "dense_tuned"), "is_control": control}
    (finding,) = findings(replace(tables, summary=tables.summary.assign(**changed)), "1")
    assert said(finding, "Dense, fine-tuned as often, won too").startswith("kl with 2 removed: ")
    assert "Dense, fine-tuned as often, won too: a win of this training needs no removal" in finding.beside


RUNS = pd.DataFrame(
    {
        "structure": ["none", "layers", "layers", "filters"],
        "criterion": [None, "snip", "chance", "snip"],
        "criterion_settings": [None, '{"function":"snip"}', '{"function":"random"}', '{"function":"snip"}'],
        "scored_at": [None, "init", "init", "init"],
        "rewind": "0",
        "step": 0,
    }
)


def compared(*rows) -> pd.DataFrame:
    columns = ["family", "removed", "control", "difference", "low", "high", "outcome"]
    rows = pd.DataFrame(rows, columns=columns).assign(seeds=3, compared=float(len(rows)), structure="layers")
    return rows.assign(gone=rows["removed"].map(gone))


def test_controls_claim_only_what_stands_after_holm():
    rows = compared(
        ("snip", 1, "random", 0.5, 0.2, 0.8, "better"),
        ("snip", 2, "random", 2.5, 2.2, 2.8, "better"),
        ("snip", 3, "random", -1.0, -1.9, -0.1, "undecided"),
        ("snip", 4, "random", -0.1, -1.9, 1.7, "undecided"),
        ("grasp", 3, "random", 0.1, -0.9, 1.1, "null by construction"),
    )
    text = dict(control_statements(RUNS, rows))["Against random"].replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "Better than random removal: snip with 2 removed (+2.50 [+2.20, +2.80]), "
        "snip with 1 removed (+0.50 [+0.20, +0.80]); "
        "no ticket is proven worse than random removal; 2 of 5 comparisons undecided; null by construction, with the "
        "same blocks or architecture in every pair: grasp with 3 removed. Corrected for 5 comparisons."
    )


def test_filters_are_held_against_layers():
    rows = compared(("snip (filters)", 1, "layers", -0.9, -1.2, -0.6, "worse"))
    text = dict(control_statements(RUNS, rows))["Against layers"]
    assert text.startswith("Worse than the layer ticket of the same budget: snip (filters) with 1")
    missing = dict(control_statements(RUNS, rows.assign(control="random")))["Missing controls"]
    assert "we can't tell which structure is better" in missing


def test_long_lists_are_cut():
    rows = pd.DataFrame({"family": [f"c{index:02d}" for index in range(12) for _ in (1, 2)], "removed": [1, 2] * 12})
    rows = rows.assign(structure="layers")
    text = named(rows)
    assert text.count(" with 1") == 8
    assert text.endswith("; and 8 tickets more, listed under Every ticket")


def test_summary_text_fits_and_holds_every_ticket(planted):
    lines = summary_text(planted).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("grasp ", "snip ", "l1 ", "random ")) for line in lines) == 16
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
    # proven to win; that it is better does not stand for 12 tests
    verdict, speed = ["yes", "(better)"], f"{row['train_speedup']:.2f}×"
    assert winner.split(maxsplit=2)[2].split() == [cells[0], *cells[1].split(), *verdict, "7", "%", speed]
    assert "1 of 12 tickets is proven to win" in " ".join(lines)


def re_start(line: str, family: str, removed: int) -> bool:
    return line.split()[:2] == [family, str(removed)]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_summary_text_ends_with_what_may_be_inferred(make, tmp_path, seeds):
    tables = make(tmp_path, seeds=seeds, planted={}, criteria=("snip",), kinds=())
    said = summary_text(tables)
    # of a single ticket nothing is counted
    assert " of 1 ticket" not in said
    if len(seeds) == 1:
        assert said.endswith("One seed: nothing can be inferred.")
    else:
        assert "with its interval\nof 95 % for other seeds" in said


def test_every_column_of_the_summary_text_is_explained(planted):
    lines = summary_text(planted).splitlines()
    heads = next(line for line in lines if line.startswith("ticket "))
    explained = "\n".join(lines[-8:])
    for name in ("removed", "acc.", "Δ", "win", "verdict", "MACs", "speed"):
        assert name in heads
        assert f"{name}:" in explained
    # numbers stand under the end of their head
    row = next(line for line in lines if line.startswith("snip  "))
    end = heads.index("removed") + len("removed")
    assert row[:end].split() == ["snip", row[end - 1]]


def test_summary_text_keeps_long_names_apart(make, tmp_path):
    tables = make(tmp_path, criteria=("c" * 40,), rewound=("4", "8"), removed=(1,), kinds=())
    lines = summary_text(tables).splitlines()
    assert max(map(len, lines)) <= 80
    names = [line for line in lines if line.startswith("ccc")]
    long = "c" * 40
    assert names == [long, f"{long} (trained, rewind 4)", f"{long} (trained, rewind 8)"]
    # each above its ticket
    assert all(re.match(r" {21} 1 +\d", lines[lines.index(name) + 1]) for name in names)


def test_summary_text_shows_no_two_tickets_under_one_name(make, tmp_path):
    criteria = ("angular", "angular_deepest", "ntk_sap", "random")
    tables = make(tmp_path, criteria=criteria, removed=(), fresh=(1,), rewound=("1", TUNED), kinds=(), fills=())
    lines = summary_text(tables).splitlines()
    assert max(map(len, lines)) <= 80
    for name in criteria:
        for variant in ("fresh", "trained, rewind 1", "trained, tuned"):
            assert sum(line.startswith(f"{name} ({variant})") for line in lines) == 1
    assert not [line for line in lines if "…" in line]


def test_summary_text_judges_no_ticket_where_nothing_was_learned(make, tmp_path):
    folder = make(tmp_path, criteria=("snip",), removed=(1, 2), kinds=())
    rows = read_table(folder / "summary.parquet").to_pylist()
    write_rows(folder, "summary", [row | {"learned": False, "chance": 96.0} for row in rows])
    text = summary_text(folder)
    lines = [line.split() for line in text.splitlines() if line.startswith("snip ")]
    assert [line[-5:-3] for line in lines] == [["\N{EN DASH}"] * 2] * 2
    assert "not shown that anything was learned" in text


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ((-1.5, -2.5, -0.5), "-1.50 [-2.50, -0.50]"),
        ((-11.5, -22.25, -0.75), "-11.5 [-22.2, -0.8]"),
        ((-11.5, -122.25, 122.25), "-12 [-122, +122]"),
    ],
)
def test_summary_text_rounds_what_is_wider_than_its_column(make, tmp_path, change, shown):
    folder = make(tmp_path, criteria=("snip",), removed=(1,), kinds=())
    wide = dict(zip(("delta_accuracy", "delta_low", "delta_high"), change, strict=True)) | {"accuracy": 100.0}
    rows = read_table(folder / "summary.parquet").to_pylist()
    write_rows(folder, "summary", [row | wide for row in rows])
    lines = summary_text(folder).splitlines()
    heads, line = (next(one for one in lines if one.startswith(start)) for start in ("ticket ", "snip "))
    assert f"100.0 {shown:>20} " in line.replace(MINUS, "-")
    # so the columns after it keep their places
    assert [heads.index(head) for head in ("win", "verdict")] == [line.index(word) for word in _words(line)]


def _words(line: str) -> list[str]:
    """The win and the verdict of a line of the summary."""
    return line.split("] ")[1].split()[:2]


def test_summary_text_names_equal_costs_in_short(make, tmp_path):
    folder = make(
        tmp_path, criteria=("snip", "c" * 40), structures=("layers", "filters_at_macs"), removed=(1,), kinds=()
    )
    text = summary_text(folder)
    assert "snip (filters @MACs) " in text
    assert re.search(r"\nc{40} \(filters @MACs\)\n +1 ", text)
    (explained,) = [line for line in text.splitlines() if line.startswith("@")]
    assert "@MACs: " in explained
    assert max(map(len, text.splitlines())) <= 80
    assert "@" not in summary_text(make(tmp_path / "plain", criteria=("snip",), removed=(1,), kinds=()))


def test_summary_text_of_dense_networks_alone(make, tmp_path):
    assert "nothing to summarize" in summary_text(make(tmp_path, criteria=(), kinds=()))


def test_the_summary_of_a_folder_in_use_begins_with_that(make, tmp_path):
    make(tmp_path / "tables", criteria=("snip",), removed=(1,), kinds=())
    before = call("summary", tmp_path)
    lock = acquire(tmp_path)
    try:
        during = call("summary", tmp_path)
    finally:
        lock.release()
    line = "a benchmark is running here: these tables are of what was there before\n"
    assert (before.status, before.err) == (0, "")
    assert (during.status, during.err) == (0, line)
    assert during.out == f"{line}\n{before.out}"
