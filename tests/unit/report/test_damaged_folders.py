"""Commands on a results folder that lacks a table, or whose manifest is damaged: one line, and how it comes back."""

import shutil

import pandas as pd
import pytest
from click.testing import CliRunner
from tests.unit.report.folders import finished

from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.export.archive import publish
from layerlottery.export.published import Published
from layerlottery.report.publication import Asked, publication

TITLE = "a title of its own"


@pytest.fixture(scope="module")
def good(make, tmp_path_factory):
    parts = {"criteria": ("random", "snip"), "removed": (1,), "seeds": (0, 1)}
    folder = tmp_path_factory.mktemp("good") / "results"
    return finished(lambda tables: make(tables, **parts), folder, report={"title": TITLE})


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "results")


def refused(*words):
    ran = CliRunner().invoke(cli, [str(word) for word in words])
    assert isinstance(ran.exception, LayerLotteryError), ran.output
    assert "\n" not in str(ran.exception)
    return str(ran.exception)


def changed(manifest):
    manifest.write_text(manifest.read_text().replace(TITLE, "another"))


def cut(manifest):
    manifest.write_bytes(manifest.read_bytes()[:100])


def folder_instead(manifest):
    manifest.unlink()
    manifest.mkdir()


@pytest.mark.parametrize("damage", [changed, cut, folder_instead])
def test_a_damaged_manifest_is_told_by_all_that_read_it(folder, tmp_path, damage):
    damage(folder / "manifest.json")
    for words in (
        ["report", "--results", folder],
        ["summary", folder],
        ["leaderboard", folder, "--output", tmp_path / "board.html"],
        ["publish", folder, "--output", tmp_path / "a.zip"],
    ):
        assert str(folder / "manifest.json") in refused(*words), words
    assert not (folder / "report").exists()
    assert not (tmp_path / "a.zip").exists()
    # who names the tolerance needs no manifest
    assert CliRunner().invoke(cli, ["summary", str(folder), "--xi", "1"]).exit_code == 0


def test_a_folder_is_reported_as_a_word_or_by_results(folder):
    assert CliRunner().invoke(cli, ["report", str(folder)]).exit_code == 0
    page = (folder / "report" / "index.html").read_text()
    assert CliRunner().invoke(cli, ["report", "--results", str(folder)]).exit_code == 0
    assert (folder / "report" / "index.html").read_text() == page
    line = refused("report", folder, "--results", folder)
    assert line == f"--results: found {folder} beside FOLDER {folder}; allowed: one of them"
    line = refused("report", folder, "--tables", folder / "tables")
    assert line == f"--results: found {folder} beside --tables {folder / 'tables'}; allowed: one of them"


def test_a_person_gets_the_folders_own_title_and_a_job_its_own_settings(folder):
    (folder / "report").mkdir()
    page = folder / "report" / "index.html"
    tables = ["--tables", str(folder / "tables")]
    assert CliRunner().invoke(cli, ["report", *tables]).exit_code == 0
    assert f"<title>{TITLE}" in page.read_text()
    # a title that is the default again, while the manifest is still that of before
    assert CliRunner().invoke(cli, ["report", "--settings", "{}", *tables]).exit_code == 0
    assert TITLE not in page.read_text()


def test_without_a_manifest_the_report_is_that_of_the_defaults(folder):
    (folder / "manifest.json").unlink()
    assert CliRunner().invoke(cli, ["report", "--results", str(folder)]).exit_code == 0


@pytest.mark.parametrize("table", ["summary", "runs"])
@pytest.mark.parametrize("command", ["summary", "table"])
def test_a_table_that_is_missing_is_named_with_what_recreates_it(folder, command, table):
    path = folder / "tables" / f"{table}.parquet"
    path.unlink()
    said = refused(command, "--results", folder)
    assert said == f"{path}: missing; recreate the tables: snakemake --cores all"


def test_the_report_says_so_too(folder):
    path = folder / "tables" / "summary.parquet"
    path.unlink()
    assert refused("report", "--results", folder).startswith(f"{path}: missing; recreate the tables: snakemake")


@pytest.mark.parametrize("place", ["a.zip", "report/a.zip", "../results/tables/a.zip"])
def test_an_archive_does_not_lie_among_the_results(folder, place, monkeypatch):
    before = sorted(folder.rglob("*"))
    with pytest.raises(LayerLotteryError, match=f"^--output: found .*; allowed: a place outside of {folder}$"):
        publish(Published(folder), folder / place)
    monkeypatch.chdir(folder)
    assert "allowed: a place outside of" in refused("publish", ".", "--output", "a.zip")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("value", ["accuracy", "delta"])
def test_a_caption_states_the_dense_accuracy_of_the_seeds_compared(make, tmp_path, value):
    tables = make(tmp_path / "tables", criteria=("snip",), removed=(1,), seeds=(0, 1, 2), kinds=(), fills=())
    runs = pd.read_parquet(tables / "runs.parquet")
    dense = runs[runs["criterion"].isna()].set_index("seed")["accuracy"]
    rows = _without_ticket(tables, seed=2)
    assert len(rows) == len(runs) - 1
    caption = publication(tables, Asked("criterion", "removed", value)).caption
    expected = dense.loc[[0, 1]]
    assert abs(expected.mean() - dense.mean()) > 0.005
    assert f"Dense networks: {expected.mean():.2f} ± {expected.std(ddof=1):.2f} %." in caption


def _without_ticket(tables, *, seed):
    """Take the ticket of a seed out of the table of runs, as where a study asks for its dense network alone."""
    from layerlottery.store.artifacts import read_table, write_table

    table = read_table(tables / "runs.parquet").replace_schema_metadata(None)
    kept = [row["seed"] != seed or row["criterion"] is None for row in table.to_pylist()]
    write_table(tables / "runs.parquet", table.filter(kept), config_hash="0" * 64)
    return [row for row in kept if row]
