"""A page for each network says what the tables know of it, and lies where its folder's name says."""

import re

import pytest

from layerlottery.report.pages import page_of, run_of, write_pages
from layerlottery.report.tables import read_tables


@pytest.fixture(scope="module")
def pages(planted, tmp_path_factory):
    tables, folder = read_tables(planted), tmp_path_factory.mktemp("report")
    write_pages(tables, folder / "index.html", "my results")
    return tables, folder


def words(shown):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", shown, flags=re.S)))


def test_a_page_for_each_network(pages):
    tables, folder = pages
    rows = tables.runs.to_dict("records")
    assert {path.relative_to(folder / "pages").as_posix() for path in folder.rglob("*.html")} == {
        page_of(run_of(row)) for row in rows
    }
    assert len(rows) == 51


def test_it_says_what_the_tables_say(pages):
    tables, folder = pages
    row = next(one for one in tables.runs.to_dict("records") if one["criterion"] == "snip" and one["removed"] == 3)
    shown = (folder / "pages" / page_of(run_of(row))).read_text(encoding="utf-8")
    said = words(shown)
    assert f"accuracy {row['accuracy']:.1f}" in said
    assert f"removed blocks {', '.join(row['removed_blocks'])}" in said
    assert f"{row['config_hash']}" in said
    assert f"snakemake --cores all &#39;my results&#39;/{run_of(row).folder}/weights.safetensors" in said
    assert "nan" not in said.lower().split()
    # a bar for each block, the removed ones filled
    assert shown.count("<rect") == 15
    # scores of the first seed alone are in these tables
    assert shown.count('class="gone"') == 3
    assert shown.count("<polyline") == 2


def test_links_lead_to_files_that_are_there(pages):
    _, folder = pages
    (folder / "index.html").write_text("", encoding="utf-8")
    for path in folder.rglob("pages/**/*.html"):
        for address in re.findall(r'href="([^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / address.replace("%3D", "=")).resolve().exists(), address


def test_older_pages_go(pages, planted):
    tables, folder = pages
    old, own = folder / "pages" / "dataset=gone" / "x.html", folder / "pages" / "notes.txt"
    old.parent.mkdir()
    old.write_text("", encoding="utf-8")
    own.write_text("", encoding="utf-8")
    write_pages(tables, folder / "index.html", "results")
    assert not old.exists()
    assert own.exists()


def test_a_name_that_is_a_path_has_no_page(make, tmp_path):
    groups = (("../../away", "net"), ("a/b", "net"), ("fine", "net"))
    folder = make(
        tmp_path / "tables", groups=groups, criteria=("snip",), removed=(1,), kinds=(), similar=False, fills=()
    )
    write_pages(read_tables(folder), tmp_path / "report" / "index.html", "results")
    kept = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*.html")}
    assert kept == {("report", "pages", "dataset=fine")}
