"""What the tables of a folder rest on, and what was begun after them: one fails when it is gone, the other waits."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.pages import DOCS
from tests.unit.trained import DENSE, FILTERS, TICKET, TRAINING, WEIGHTS

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.config.studies import AggregateSettings, Study
from layerlottery.tables.aggregate import aggregate
from layerlottery.upkeep.verify import described, remove, require_good, verify

STUDY = {"name": "tiny", "datasets": ["digits"], "networks": ["tiny"], "criteria": ["l1"], "removed": [2], "seeds": [0]}


@pytest.fixture(scope="module")
def tabled(made, tmp_path_factory):
    """Tables of a dense network and a ticket; two others are begun, of fewer filters and of fewer weights."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("tabled") / "results")
    aggregate(folder, AggregateSettings(studies=[Study(**STUDY)], training=TRAINING))
    return folder


@pytest.fixture
def results(tabled, tmp_path):
    return shutil.copytree(tabled, tmp_path / "results")


def test_what_is_begun_and_in_no_table_is_unfinished_and_no_damage(results):
    found = verify(results)
    # one of them is trained and tested, and was never compared
    assert found.unfinished == [results / FILTERS.folder, results / WEIGHTS.folder]
    assert found.good
    *_, line, total = described(found)
    assert line == f"{results / FILTERS.folder}: unfinished, in no table yet (and 1 more)"
    assert total == f"{found.intact} files are intact"
    require_good(results)
    assert remove(results, found) == ""


@pytest.mark.parametrize("run", [DENSE, TICKET], ids=["dense", "ticket"])
@pytest.mark.parametrize("name", [paths.shift, paths.trained_weights, paths.training_facts])
def test_a_file_that_tables_rest_on_is_missed(results, run, name):
    path = results / name(run.folder)
    path.unlink()
    found = verify(results)
    assert list(found.missing) == [path]
    assert not found.good
    assert str(path) in remove(results, found)


def test_a_whole_stage_of_a_network_is_missed(results):
    path = results / paths.profile(DENSE.folder)
    path.unlink()
    assert verify(results).missing == {path: "the tables were made from it"}


def test_a_network_that_is_gone_as_a_whole_is_missed(results):
    shutil.rmtree(results / TICKET.folder)
    gone = verify(results).missing
    assert {path.parent for path in gone} == {results / TICKET.folder}
    assert {*gone.values()} == {"the tables were made from it"}


def test_tables_without_their_networks_are_whole(results):
    shutil.rmtree(results / "networks")
    assert verify(results).good


@pytest.mark.parametrize("study", sorted(path.parent.name for path in DOCS.glob("evidence/*/manifest.json")))
def test_whichever_file_of_a_published_benchmark_is_gone_is_missed(study, tmp_path):
    folder = shutil.copytree(DOCS / "evidence" / study, tmp_path / "published")
    assert verify(folder).good
    # nothing needs the report
    for path in sorted({*filter(Path.is_file, folder.rglob("*"))} - {folder / "report" / "index.html"}):
        held = path.read_bytes()
        path.unlink()
        assert list(verify(folder).missing) == [path]
        path.write_bytes(held)


def test_each_of_several_results_folders_is_checked(tmp_path):
    for name in ("first", "second"):
        shutil.copytree(DOCS / "evidence" / "digits", tmp_path / name)
    lost = tmp_path / "first" / "manifest.json"
    lost.unlink()
    ran = CliRunner().invoke(cli, ["verify", str(tmp_path)])
    assert ran.exit_code == 1
    told = [line.partition(": ")[0] for line in ran.output.splitlines()]
    assert told == [str(lost), str(tmp_path / "first"), str(tmp_path / "second")]
    shutil.copyfile(tmp_path / "second" / "manifest.json", lost)
    assert CliRunner().invoke(cli, ["verify", str(tmp_path)]).exit_code == 0
