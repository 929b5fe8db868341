"""Fine-tuned tickets, rounds, and shares of the filters on the page: each on its own axis, under its own name."""

import re
from dataclasses import replace

import pytest

from layerlottery.config.results import ReportSettings
from layerlottery.config.studies import Run
from layerlottery.report.accuracy import accuracy_picture, difference_picture
from layerlottery.report.cost import cost_grids, cost_of, total_grids
from layerlottery.report.explore import quantities
from layerlottery.report.facets import facets
from layerlottery.report.report import report
from layerlottery.report.tables import read_tables
from layerlottery.report.text import summary_text

SPACE = "\N{NO-BREAK SPACE}"
FACTS = {"criteria": ("snip", "random"), "removed": (1, 2), "kinds": (), "fills": (), "rounds": 3}


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    return make(tmp_path_factory.mktemp("rounds"), **FACTS)


@pytest.fixture(scope="module")
def tables(folder):
    return read_tables(folder)


def plain(text):
    return text.replace(SPACE, " ")


def test_blocks_and_percent_of_the_filters_share_no_panel(tables):
    found = {plain(one.heading): one for one in facets(tables, tables.runs, "acc")}
    assert [*found] == [
        "at initialization",
        "scored after training, fine-tuned",
        "fine-tuned, rounds of 1",
        "filters, rounds of 20 %",
    ]
    assert found["fine-tuned, rounds of 1"].removed == [1, 2, 3]
    assert found["filters, rounds of 20 %"].removed == [20, 36, 49]
    for picture in (accuracy_picture(tables), difference_picture(tables, "1")):
        blocks, shares = ("residual blocks removed", "filters removed, %")
        axes = [[words in plain(one.svg) for words in (blocks, shares)] for one in picture.panels]
        assert axes == [[True, False]] * 3 + [[False, True]]


def test_the_explorer_has_an_axis_for_each(tables):
    rows = quantities(tables)
    share = rows["structure"] == "filters_by_share"
    assert rows.loc[share, "blocks"].isna().all()
    assert set(rows.loc[share, "share"]) == {20, 36, 49}
    tickets = ~share & (rows["removed"] > 0)
    assert rows.loc[tickets, "share"].isna().all()
    assert (rows.loc[tickets, "blocks"] == rows.loc[tickets, "removed"]).all()


def test_a_network_of_two_names_has_one_page(folder, tables):
    report(folder, folder / "index.html", ReportSettings())
    pages = {str(path.relative_to(folder / "pages")) for path in folder.rglob("pages/**/*.html")}
    runs = [Run(**row) for row in tables.runs[[*Run.__dataclass_fields__]].convert_dtypes().to_dict("records")]
    folders = {f"{run.folder.removeprefix('networks/')}.html" for run in runs if run.removed}
    assert len(folders) == len([run for run in runs if run.removed]) - 2 * 3
    assert folders <= pages
    (third,) = (
        folder / "pages" / one
        for one in pages
        if re.search(r"seed=0/.*=snip/.*/round=2/round=3\.html", one) and "layers" in one
    )
    text = plain(third.read_text(encoding="utf-8"))
    assert "snip (fine-tuned, rounds of 1), 3 removed" in text
    assert "trained weights of the round before, fine-tuned" in text
    assert 'href="../../../' in text
    assert "the round before</a>" in text
    assert "with all trainings it rests on" in text


def test_the_cost_of_all_trainings_stands_beside_the_own(tables):
    (grid,) = total_grids(tables, "1")
    rows = {plain(row[0].text): [cell.text for cell in row[1:]] for row in grid.rows}
    own, whole, speed, in_all, *_ = rows["snip (fine-tuned, rounds of 1), 3 removed"]
    assert (own, whole) != ("", own)
    assert float(speed[:-1]) > 1 > float(in_all[:-1])
    # without anything to rest on both are one
    own, whole, speed, in_all, *_ = rows["snip, 1 removed"]
    assert (own, speed) == (whole, in_all)


def test_savings_of_protocols_stand_apart(tables):
    (grid,) = cost_grids(cost_of(tables, "1"))
    places = {(plain(row[0].text), plain(row[1].text)) for row in grid.rows}
    assert ("digits · resnet32, fine-tuned, rounds of 1", "3") in places
    assert ("digits · resnet32, filters, rounds of 20 %", "36 %") in places
    assert ("digits · resnet32", "2") in places


def test_tickets_that_go_on_from_other_trainings_save_what_all_of_them_leave(tables):
    costs = cost_of(tables, "1").assign(place=lambda rows: rows["place"].map(plain)).set_index(["place", "removed"])
    third = costs.loc[("digits · resnet32, fine-tuned, rounds of 1", 3)].set_index("quantity")["mean"]
    rows = tables.summary[(tables.summary["step"] == 1) & (tables.summary["removed"] == 3)]
    rows = rows[rows["xi"] == "1"]
    assert third["training time"] == pytest.approx(rows["total_speedup"].prod() ** (1 / len(rows)))
    assert third["training time"] < 1
    whole = tables.runs.loc[tables.runs["structure"] == "none", "energy_kwh"].mean()
    assert third["energy"] == pytest.approx(100 * (1 - rows["total_kwh"].mean() / whole))
    assert third["energy"] < 0


def test_the_dense_network_that_is_fine_tuned_as_a_control_is_no_saving(tables):
    changed = tables.summary["structure"].mask(tables.summary["step"] == 1, "dense_tuned")
    costs = cost_of(replace(tables, summary=tables.summary.assign(structure=changed)), "1")
    assert not costs["place"].str.contains("rounds of 1").any()


def test_the_text_fits_and_names_shares_and_rounds(folder):
    lines = summary_text(folder).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.match(r"snip \(by 20%\) +36% ", line) for line in lines)
    assert any(re.match(r"snip \(tuned, by 1\) +3 ", line) for line in lines)
    assert "%: of the filters." in lines
