"""Hostile text in every column of text of every table: the page, the summary and `diff` show it and obey none of it."""

import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from tests.unit.hostile import TEXT, call
from tests.unit.test_escaping import FORBIDDEN, KNOWN, commands, steers, tokens

from layerlottery.config.results import ReportSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.paper.render import latex, markdown
from layerlottery.report.report import report
from layerlottery.report.text import summary_text
from layerlottery.store.artifacts import read_table, write_table
from layerlottery.store.schemas import PAPER_TABLES, TABLES, arrow_schema, columns
from layerlottery.upkeep.diff import differences

EVERY = TABLES | PAPER_TABLES
# columns whose few words decide what is shown, and those of which another word is refused
DECIDING = {"kind", "measure", "control", "layer", "verdict", "verdict_holm", "outcome", "quantity", "unit", "distance"}
REFUSED = {"structure", "scored_at", "rewind", "origin", "xi"}
PARTS = {"criteria": ("random", "snip"), "removed": (1, 2), "structures": ("layers", "filters"), "rewound": ("0", "4")}
PARTS |= {"fresh": (1,), "fills": ("table2", "figure3", "claims"), "kinds": ("attack", "corruption", "shift")}
OURS = "https://arxiv.org/abs/2301.10835"


def texts():
    """Names of all columns of text, single or in lists, as columns.toml has them."""
    return {
        column.name
        for name in EVERY
        for column in columns(name)
        if pa.types.is_string(column.type) or pa.types.is_list(column.type)
    }


class Page(HTMLParser):
    """Elements with the names of their attributes, the values of some, and the text of a page."""

    def __init__(self, shown):
        super().__init__()
        self.marks, self.values, self.said = set(), [], ""
        self.feed(shown)

    def handle_starttag(self, tag, attrs):
        self.marks |= {(tag, name) for name, _ in [*attrs, ("", None)]}
        self.values += attrs

    def handle_data(self, data):
        self.said += data


@pytest.fixture(scope="module")
def honest(make, tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("honest"), **PARTS)
    report(folder, folder / "index.html", ReportSettings())
    return folder


def spoilt(folder, honest, names):
    """The same tables with hostile text behind every value of these columns; what belongs together still does."""

    def worse(value):
        if isinstance(value, list):
            return [worse(one) for one in value]
        return None if value is None else value + TEXT

    folder.mkdir()
    for name in EVERY:
        table = read_table(honest / f"{name}.parquet").replace_schema_metadata(None)
        for place, field in enumerate(arrow_schema(name)):
            if field.name in names and not pa.types.is_floating(field.type):
                values = [worse(value) for value in table[field.name].to_pylist()]
                table = table.set_column(place, field, pa.array(values, field.type))
        write_table(folder / f"{name}.parquet", table, config_hash="0" * 64)
    return folder


@pytest.fixture(scope="module", params=["names", "words"])
def hostile(request, honest, tmp_path_factory):
    names = DECIDING if request.param == "words" else texts() - DECIDING - REFUSED
    assert names <= texts()
    return spoilt(tmp_path_factory.mktemp("hostile") / "tables", honest, names)


def test_the_page_gains_no_element_no_attribute_and_no_address(honest, hostile):
    known = Page((honest / "index.html").read_text())
    report(hostile, hostile / "index.html", ReportSettings(title=TEXT))
    shown = (hostile / "index.html").read_text()
    found = Page(shown)
    assert "<img src=x" in found.said, "no hostile text is on the page at all"
    assert found.marks - known.marks == set()
    assert not [name for name, _ in found.values if name.startswith("on")]
    links = [value for name, value in found.values if name.endswith(("href", "src"))]
    assert {one for one in links if not one.startswith("#")} == {OURS, ".", "../manifest.json"}
    styles = [
        value
        for name, value in found.values
        if name not in ("aria-label", "data-ticket", "data-label") and value and "url(" in value
    ]
    assert all(re.fullmatch(r"url\(#[\w.-]+\)", one) for one in styles)
    assert not steers(shown)


def test_ids_are_words_that_references_find(hostile):
    report(hostile, hostile / "index.html", ReportSettings())
    values = Page((hostile / "index.html").read_text()).values
    ids = {value for name, value in values if name == "id"}
    assert all(re.fullmatch(r"[\w.-]+", one) for one in ids)
    assert {value[1:] for name, value in values if name.endswith("href") and value.startswith("#")} <= ids


def test_the_summary_and_the_differences_steer_no_terminal(honest, hostile, tmp_path):
    assert not steers(summary_text(hostile))
    assert not any(steers(line) for line in differences(honest, hostile))
    for name, folder in (("one", honest), ("other", hostile)):
        for file in folder.glob("*.parquet"):
            table = read_table(file).replace_schema_metadata(None)
            write_table(tmp_path / name / "tables" / file.name, table, config_hash="0" * 64)
    # its exit status says that they differ
    assert call(["layerlottery", "diff", str(tmp_path / "one"), str(tmp_path / "other")]) == (1, "")
    assert call(["layerlottery", "diff", str(tmp_path / "one"), str(tmp_path / "one")]) == (0, "")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_word_on_which_the_page_depends_is_refused_in_one_line(honest, tmp_path, name):
    folder = spoilt(tmp_path / "tables", honest, {name})
    with pytest.raises(LayerLotteryError) as caught:
        report(folder, folder / "index.html", ReportSettings())
    assert name in str(caught.value)
    assert not (folder / "index.html").exists()
    status, said = call(["layerlottery", "report", "--tables", str(folder), "--output", str(folder / "index.html")])
    assert (status, said.count("\n"), steers(said)) == (1, 1, set())


def test_a_name_is_no_formula(make, tmp_path):
    names = ("random", "a$\\frac{1}$b", "#fe01ff", "#fe0200")
    tables = make(tmp_path, criteria=names, removed=(1, 2), kinds=(), rewound=("0", "4"), fills=("figure3",))
    report(tables, tables / "index.html", ReportSettings())
    said = Page((tables / "index.html").read_text()).said
    assert all(name in said for name in names)


# the paper's tables


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_the_papers_tables_are_what_they_are_of_plain_names(honest, hostile, name):
    plain, rows = (read_table(folder / f"{name}.parquet").to_pylist() for folder in (honest, hostile))
    shown, wanted = markdown(name, rows, confidence=0.95), markdown(name, plain, confidence=0.95)
    ours = tokens(wanted) & FORBIDDEN
    assert tokens(shown) & FORBIDDEN - {"html_inline"} == ours - {"html_inline"}
    assert set(re.findall(r"<[^>]*>", shown)) <= {"<sup>", "</sup>"}
    assert not steers(shown)
    rendered = [MarkdownIt("commonmark").enable("table").render(one) for one in (shown, wanted)]
    assert len({one.count("<tr") for one in rendered}) == 1
    tex, first = latex(name, rows, confidence=0.95), latex(name, plain, confidence=0.95)
    assert commands(tex) <= commands(first) | KNOWN | {"\n"}
    assert not steers(tex)
