"""Links in a results folder from somebody else: files are never written through, folders only if the user says so."""

import logging
import os

import pytest
from tests.unit.hostile import call

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.links import FOLLOWED, check
from layerlottery.store import artifacts, checked


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLLOWED, raising=False)
    for folder in ("results/networks/dataset=d", "results/tables", "home/site"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "home" / "index.html").write_text("mine")
    return tmp_path / "results"


@pytest.mark.parametrize("place", ["report", "networks/dataset=d/network=n", "tables/more"])
@pytest.mark.parametrize("target", ["../../../home", "home", "home/site"])
def test_a_link_to_a_folder_outside_is_named_before_the_first_job(results, place, target, monkeypatch):
    check(results)
    link = results / place
    link.symlink_to(results.parent / "home" if target.startswith("..") else results.parent / target)
    with pytest.raises(LayerLotteryError) as caught:
        check(results)
    assert str(caught.value).startswith(f"{link}: a link to {link.resolve()}, which is not in the results folder")
    # as the line says
    monkeypatch.setenv(FOLLOWED, str(caught.value).rpartition(f"export {FOLLOWED}=")[2])
    check(results)
    monkeypatch.setenv(FOLLOWED, str(results))
    with pytest.raises(LayerLotteryError):
        check(results)


def test_links_that_lead_nowhere_else_are_followed(results, tmp_path):
    (results / "inside").symlink_to(results / "tables")
    (results / "file").symlink_to(tmp_path / "home" / "index.html")
    (results / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "scratch").symlink_to(results)
    check(results)
    check(tmp_path / "scratch")


def test_a_link_to_a_file_is_replaced_and_its_target_stays(results, tmp_path):
    mine = tmp_path / "home" / "index.html"
    written = {
        "facts.json": lambda path: artifacts.write_facts(path, {}, config_hash="0"),
        "page.html": lambda path: artifacts.write_document(path, "x", comment=("<!-- ", " -->"), config_hash="0"),
    }
    for name, write in written.items():
        (results / name).symlink_to(mine)
        write(results / name)
        assert not (results / name).is_symlink()
    assert mine.read_text() == "mine"


@pytest.fixture
def _quiet():
    package = logging.getLogger("layerlottery")
    before = package.handlers
    yield
    package.handlers = before


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("target", ["index.html", "new"])
def test_a_log_is_never_written_through_a_link(results, tmp_path, target):
    from click.testing import CliRunner

    from layerlottery.cli.main import cli

    link, mine = results / "logs" / "prepare.log", tmp_path / "home" / target
    link.parent.mkdir()
    link.symlink_to(mine)
    before = mine.read_text() if mine.exists() else None
    ran = CliRunner().invoke(cli, ["prepare", "--source", "digits", "--output", "out", "--log", str(link)])
    assert ran.exit_code == 0, ran.output
    assert (mine.read_text() if mine.exists() else None) == before
    assert link.is_file()
    assert not link.is_symlink()


def test_the_note_of_a_checked_array_is_never_written_through_a_link(results, tmp_path, monkeypatch):
    monkeypatch.setattr(checked, "LARGE", 1)
    array, mine = results / "a.npy", tmp_path / "home" / "index.html"
    array.write_bytes(b"array")
    for place in (checked.note(array), checked.note(array).with_name(f"{checked.note(array).name}.{os.getpid()}")):
        place.symlink_to(mine)
    checked.remember(array, "hash")
    assert mine.read_text() == "mine"
    assert checked.is_remembered(array, "hash")


def test_a_log_line_of_a_hostile_name_is_one_line(tmp_path):
    folder = tmp_path / "set\n2030-01-01 00:00:00 all is well\x1b[2J"
    status, said = call(
        ["layerlottery", "prepare", "--source", "folder", "--location", str(folder), "--output", str(tmp_path / "o")]
    )
    assert (status, said.count("\n"), "\x1b" in said) == (1, 1, False)
