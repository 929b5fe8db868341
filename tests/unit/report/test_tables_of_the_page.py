"""What stands in the cells of the page's tables, checked against the result tables."""

import pytest
from tests.unit.report.conftest import paper_rows, write_rows

from layerlottery.report.accuracy import summary_grids
from layerlottery.report.blocks import stability_grids
from layerlottery.report.controls import control_grids
from layerlottery.report.cost import cost_of
from layerlottery.report.grids import Grid
from layerlottery.report.paper import figure3_picture, paper_grids, paper_note, read_paper
from layerlottery.report.rewinding import rewinding_grids, rewinding_picture
from layerlottery.report.similarity import layer_picture, removal_picture, similarity_grids
from layerlottery.report.structures import structures_grids, structures_picture
from layerlottery.report.tables import read_tables
from layerlottery.store.artifacts import read_table

MINUS, DASH, TIMES = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"


@pytest.fixture(scope="module")
def held(everything):
    return read_tables(everything)


def cells(grid: Grid) -> dict[str, dict[str, str]]:
    """Text of every cell by row and column."""
    return {
        plain(row[0].text): {plain(head): cell.text for head, cell in zip(grid.columns[1:], row[1:], strict=True)}
        for row in grid.rows
    }


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def tone(grid: Grid, row: str, column: str) -> str:
    heads = [plain(head) for head in grid.columns]
    (found,) = [one for one in grid.rows if plain(one[0].text) == row]
    return found[heads.index(column)].tone


def rows_of(folder, table, **wanted):
    rows = read_table(folder / f"{table}.parquet").to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def difference(mean, low, high) -> str:
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", MINUS)


def test_every_ticket_has_its_row_and_verdict(planted):
    (grid,) = summary_grids(read_tables(planted))
    shown = cells(grid)
    assert len(shown) == 16
    (row,) = rows_of(planted, "summary", criterion="snip", removed=3, xi="1")
    assert shown["snip, 3 removed"]["Δ [low, high], pp"] == difference(
        row["delta_accuracy"], row["delta_low"], row["delta_high"]
    )
    assert shown["snip, 3 removed"]["ξ = 1 pp"] == "worse"
    assert shown["random, 1 removed"]["ξ = 1 pp"] == "worse"
    assert tone(grid, "snip, 3 removed", "ξ = 1 pp") == "lose"


def test_wins_are_told_beside_the_verdict(make, tmp_path):
    (grid,) = summary_grids(read_tables(make(tmp_path, draws=2, criteria=("grasp",), removed=(1,), kinds=())))
    shown = cells(grid)["grasp, 1 removed"]
    assert (shown["seeds"], shown["ξ = 1 pp"], shown["ξ = 0 pp"]) == ("3", "equivalent, wins", "better, wins")


def test_controls_show_the_paired_difference(everything, held):
    (grid,) = control_grids(held)
    assert [plain(head) for head in grid.columns[1:]] == [
        "against random", "against random spread", "against fresh weights", "against layers",
    ]  # fmt: skip
    same = {"criterion": "grasp", "structure": "layers", "scored_at": "init", "rewind": "0", "removed": 1}
    (row,) = rows_of(everything, "comparisons", control="random", **same)
    assert cells(grid)["grasp, 1 removed"]["against random"] == difference(row["difference"], row["low"], row["high"])
    assert tone(grid, "grasp, 1 removed", "against random") == {"better": "win", "undecided": "muted"}[row["outcome"]]
    assert cells(grid)["grasp, 2 removed"]["against fresh weights"] == DASH


def test_rewinding_has_a_column_per_start(everything, held):
    (grid,) = rewinding_grids(held, "1")
    assert grid.columns == ["ticket", "θ0", "θ4", "θ8", "fresh"]
    shown = cells(grid)
    (row,) = rows_of(everything, "summary", criterion="kl", scored_at="trained", rewind="8", removed=1, xi="1")
    assert shown["kl (trained), 1 removed"]["θ8"] == difference(
        row["delta_accuracy"], row["delta_low"], row["delta_high"]
    )
    assert shown["kl (trained), 1 removed"]["fresh"] == DASH
    assert shown["kl, 1 removed"]["fresh"] != DASH
    assert "kl, 2 removed" not in shown, "only sizes with several starts"
    assert [panel.title for panel in rewinding_picture(held, "1").panels] == [
        "1\N{NO-BREAK SPACE}removed, at initialization",
        "1\N{NO-BREAK SPACE}removed, scored after training",
    ]


def test_one_start_is_no_rewinding(planted):
    tables = read_tables(planted)
    assert rewinding_grids(tables, "1") == []
    assert rewinding_picture(tables, "1").panels == ()


def test_structures_stand_beside_their_layer_ticket(everything, held):
    (grid,) = structures_grids(held, "1")
    assert grid.columns == ["ticket", "layers, Δ pp", "filters, Δ pp", "filters to layers, pp"]
    shown = cells(grid)
    assert len(shown) == 12
    same = {"criterion": "random", "scored_at": "init", "rewind": "0", "removed": 1, "structure": "filters"}
    (row,) = rows_of(everything, "summary", xi="1", **same)
    (paired,) = rows_of(everything, "comparisons", control="layers", **same)
    assert shown["random, 1 removed"]["filters, Δ pp"] == difference(
        row["delta_accuracy"], row["delta_low"], row["delta_high"]
    )
    assert shown["random, 1 removed"]["filters to layers, pp"] == difference(
        paired["difference"], paired["low"], paired["high"]
    )
    assert [panel.title for panel in structures_picture(held, "1").panels][-1] == "random_spread"


def test_layers_alone_are_no_comparison_of_structures(planted):
    tables = read_tables(planted)
    assert structures_grids(tables, "1") == []
    assert structures_picture(tables, "1").panels == ()


def test_similarity_is_the_mean_over_seeds(everything, held):
    (grid,) = similarity_grids(held)
    same = {"criterion": "grasp", "structure": "filters", "removed": 2, "layer": "penultimate"}
    values = [row["cka"] for row in rows_of(everything, "similarity", **same)]
    assert len(values) == 3
    assert cells(grid)["grasp (filters)"]["2 removed"] == f"{sum(values) / 3:.3f}"
    assert cells(grid)["grasp (trained, rewind 8)"]["2 removed"] == DASH
    assert [panel.title for panel in removal_picture(held).panels] == [
        "at initialization",
        "scored after training",
        "filters",
    ]
    assert [panel.title.split(",")[0] for panel in layer_picture(held).panels] == [
        f"{p}\N{NO-BREAK SPACE}removed" for p in (2, 1, 2)
    ]


def test_stability_shows_kendalls_w(held):
    (grid,) = stability_grids(held)
    assert list(cells(grid)) == ["grasp", "kl", "l1", "snip", "random", "random_spread"]
    assert cells(grid)["kl"] == {"Kendall's W": "0.88", "p value": "< 0.001", "rankings": "3", "blocks": "12"}


def test_rewound_tickets_do_not_pass_for_savings(make, tmp_path):
    tables = read_tables(make(tmp_path, criteria=("l1",), removed=(2,), rewound=("4",), kinds=()))
    assert set(cost_of(tables, "1")["removed"]) == {2}


def test_paper_grid_by_hand(planted):
    paper = read_paper(planted)
    assert list(paper) == ["table2", "figure3"]
    (grid,) = paper_grids(paper)
    shown = cells(grid)
    assert shown["snip, 1 removed"] == {
        "paper, pp": "+0.08",
        "measured, pp": f"{MINUS}0.42 [{MINUS}1.00, +0.16]",
        "seeds": "3",
        "verdict": "can't tell at this scale",
        "random, pp": f"{MINUS}0.91",
        "against random": "undecided",
    }
    assert shown["grasp, 9 removed"]["verdict"] == "not measured"
    assert {shown["grasp, 9 removed"][name] for name in ("measured, pp", "seeds", "random, pp", "against random")} == {
        DASH
    }
    tones = {row: tone(grid, row, "verdict") for row in shown}
    assert list(tones.values()) == ["muted", "win", "lose", "muted"]
    assert grid.note == "Margins: Δ accuracy 0.5 pp."
    assert grid.remarks == (("grasp, 1 removed; grasp, 5 removed", "one note"), ("grasp, 1 removed", "another"))


def test_paper_note_names_the_scale_once_and_what_nobody_fills(planted):
    note = paper_note(read_paper(planted))
    assert note.count("reduced: 30 of 200 epochs") == 1
    assert note.endswith("Not filled by this benchmark: table 1, table 3, table 4, table 5, claims.")


def test_connected_papers_are_shown_where_measured_and_never_missed(make, tmp_path):
    paper = read_paper(make(tmp_path, criteria=("l1",), removed=(1,), kinds=(), fills=("pons",)))
    assert list(paper) == ["pons"]
    assert paper_note(paper).endswith(": table 1, table 2, table 3, table 4, table 5, figure 3, claims.")


def test_a_table_of_which_no_figure_is_known_shows_all_that_was_measured(make, tmp_path):
    folder = make(tmp_path, criteria=("l1",), removed=(1,), kinds=(), fills=())
    for name in ("pons", "complexity"):
        write_rows(folder, name, [row | {"paper": None} for row in paper_rows(name)])
    assert {name: len(frame) for name, frame in read_paper(folder).items()} == {"complexity": 4}


def test_several_quantities_have_a_column_and_their_units(held, everything):
    table4 = next(grid for grid in paper_grids(read_paper(everything)) if grid.name == "table4")
    row = table4.rows[-1]
    assert table4.columns[1] == "quantity"
    assert [cell.text for cell in row[:5]] == [
        "grasp, 1 removed",
        "training speed-up",
        f"1.10{TIMES}",
        f"1.08{TIMES} [1.05, 1.11]",
        "1",
    ]


def test_figure3_has_a_mark_per_block(planted):
    (panel,) = figure3_picture(read_paper(planted)).panels
    assert panel.title == "cifar10 · resnet32, l1"
    assert panel.unit == "mean absolute kernel sum"
    assert [panel.svg.count(stage) for stage in ("stage1<", "stage2<", "stage3<")] == [1, 1, 1]
    assert panel.svg.count("<use ") - panel.svg.count("ytick") >= 5
