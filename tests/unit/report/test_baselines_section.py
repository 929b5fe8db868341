"""The baselines on the page and in the summary."""

import re

import pandas as pd
import pytest

from layerlottery.config.results import ReportSettings
from layerlottery.report.baselines import baseline_grids, baseline_plots, baseline_statements
from layerlottery.report.report import report
from layerlottery.report.tables import read_tables
from layerlottery.report.text import WIDTH, summary_text
from layerlottery.words import ABSENT, interval


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    planted = {("grasp", 1): (2.5, 0.05), ("snip", 1): (0.1, 0.05), ("l1", 1): (-3.0, 0.05)}
    given = {"baselines": ("snip", "grasp"), "removed": (1, 2), "planted": planted, "kinds": (), "fills": ()}
    return make(tmp_path_factory.mktemp("baselines"), **given)


@pytest.fixture(scope="module")
def rows(folder):
    return pd.read_parquet(folder / "comparisons.parquet").query("control == 'baseline snip'")


@pytest.fixture(scope="module")
def page(folder):
    report(folder, folder / "index.html", ReportSettings())
    return (folder / "index.html").read_text(encoding="utf-8")


def test_each_baseline_has_a_forest_with_a_row_for_every_other_ticket(folder, rows):
    plots = {plot.words["title"]: plot.forest for plot in baseline_plots(read_tables(folder))}
    assert list(plots) == [f"Accuracy minus that of {name}, percentage points" for name in ("grasp", "snip")]
    ((_, marks, edges),) = plots["Accuracy minus that of snip, percentage points"].groups
    assert edges == ()
    told = {mark.name.replace("\N{NO-BREAK SPACE}", " "): mark for mark in marks}
    assert told.keys() == {f"{one}, {size} removed" for one in ("grasp", "l1") for size in (1, 2)}
    for row in rows.itertuples():
        mark = told[f"{row.criterion}, {row.removed} removed"]
        assert mark.text == interval(row.difference, row.low, row.high)
        assert (mark.verdict, mark.filled) == (row.outcome, row.outcome in ("better", "worse"))
    assert {mark.filled for mark in marks} == {True, False}


def test_the_page_has_a_section_of_them(page):
    section = re.search(r'<section id="baselines">.*?</section>', page, re.DOTALL)[0]
    assert re.findall(r'<figure id="(figure-[\w]+)">', section) == ["figure-baseline0", "figure-baseline1"]
    assert "minus snip" in section
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "<dt>Against snip</dt>" in page


def test_without_baselines_the_page_says_nothing_of_them(planted_page):
    assert 'id="baselines"' not in planted_page
    assert ">Baselines<" not in planted_page
    assert "Against snip" not in planted_page


def test_the_grid_holds_every_difference(folder, rows):
    (grid,) = baseline_grids(read_tables(folder))
    assert sorted(grid.columns) == ["minus grasp", "minus snip", "ticket"]
    place = grid.columns.index("minus snip")
    cells = {row[0].text.replace("\N{NO-BREAK SPACE}", " "): row[place] for row in grid.rows}
    for row in rows.itertuples():
        cell = cells[f"{row.criterion}, {row.removed} removed"]
        assert cell.text == interval(row.difference, row.low, row.high)
    # the baseline itself has no difference to itself
    assert cells["snip, 1 removed"].text == ABSENT


def test_the_summary_says_what_is_better_and_what_was_not_compared(folder, planted):
    text = summary_text(folder)
    (said,) = re.findall(r"Against snip: (.*?)\n(?=Against|\n)", text + "\n\n", re.DOTALL)
    assert said.startswith("Better than snip: grasp with")
    assert "Corrected for 4 comparisons." in said.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not re.search(r"Against \w+:", summary_text(planted))


def test_tickets_without_the_baseline_are_named(folder):
    tables = read_tables(folder)
    fewer = tables.comparisons[~((tables.comparisons["criterion"] == "l1") & (tables.comparisons["removed"] == 2))]
    ((term, said), _) = baseline_statements(tables.runs, fewer, ["snip", "grasp"])
    assert term == "Against snip"
    said = said.replace("\N{NO-BREAK SPACE}", " ")
    assert "Not compared, since snip did not remove as much from the same start: l1 with 2 removed." in said
    ((_, none),) = baseline_statements(tables.runs, fewer[:0], ["snip"])
    assert none.startswith("Not compared, since snip did not")
