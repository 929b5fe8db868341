"""The leaderboard: which folders meet in one table, what it says of them, and which folders it refuses."""

import shutil

import pandas as pd
import pytest
from tests.unit.hostile import TEXT, call
from tests.unit.report.folders import finished, replace
from tests.unit.report.test_hostile_text import Page
from tests.unit.test_escaping import steers

from layerlottery.report.leaderboard import leaderboard
from layerlottery.store.lock import acquire

SETTINGS = '{"epochs": 12, "precision": "auto"}'
TRAINED = {"runs": {"training_settings": SETTINGS}}
PARTS = {"criteria": ("random", "random_spread", "snip", "grasp"), "removed": (1, 3), "fresh": (1, 3), "fills": ()}
PARTS |= {"kinds": ("corruption",), "similar": False, "seeds": (0, 1, 2, 3, 4)}


@pytest.fixture(scope="module")
def folders(make, tmp_path_factory):
    """Two folders of one recipe, with grasp in both, and one that was trained for fewer epochs."""
    root = tmp_path_factory.mktemp("folders")
    whole = PARTS | {"criteria": ("random", "grasp", "l1"), "fresh": ()}
    short = {"runs": {"training_settings": SETTINGS.replace("12", "3")}}
    return [
        finished(lambda folder: make(folder, **PARTS), root / "one", columns=TRAINED),
        finished(lambda folder: make(folder, **whole), root / "two", columns=TRAINED),
        finished(lambda folder: make(folder, **PARTS), root / "short", columns=short),
    ]


@pytest.fixture(scope="module")
def board(folders, tmp_path_factory):
    """The page, and the rows beside it."""
    output = tmp_path_factory.mktemp("board") / "board.html"
    leaderboard(folders, output, "1")
    return output.read_text(encoding="utf-8"), pd.read_parquet(output.with_suffix(".parquet"))


def run(*words):
    return call(["layerlottery", "leaderboard", *map(str, words)])


def test_folders_of_one_recipe_meet_and_others_do_not(board):
    page, rows = board
    met = {tuple(sorted(own["folder"].unique())) for _, own in rows.groupby("recipe")}
    assert met == {("one", "two"), ("short",)}
    assert ("training.epochs", "12", "3") in apart(page)
    assert len(apart(page)) == 1


def apart(page):
    """The rows of the first table of what tells recipes apart."""
    table = page.split('id="table-apart-')[1].split("</table>")[0]
    cells = [row.split("<span>")[1:] for row in table.split("<tbody")[1].split("<tr ")[1:]]
    return [tuple(cell.split("</span>")[0] for cell in row) for row in cells]


def test_every_ticket_of_every_folder_has_a_row(board, folders):
    _, rows = board
    keys = ["folder", "structure", "criterion", "scored_at", "removed", "rewind"]
    summaries = [pd.read_parquet(one / "tables" / "summary.parquet").assign(folder=one.name) for one in folders]
    expected = pd.concat(summaries).query("xi == '1'").set_index(keys).sort_index()
    found = rows.set_index(keys).sort_index()
    assert found.index.equals(expected.index)
    columns = ["accuracy", "delta_accuracy", "delta_low", "delta_high", "verdict_holm", "macs_reduction", "seeds"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert found["mce"].notna().all()


def test_ranks_follow_what_was_planted(board):
    # grasp wins at 1 and snip loses at 3, with little scatter; the rest scatters
    rows = board[1].query("folder == 'one' and rewind == '0'").set_index(["criterion", "removed"])
    assert rows.loc[("grasp", 1), "rank"] == 1
    assert rows.loc[("grasp", 1), "better_than"] > 0
    assert rows.loc[("random", 1), "rank"] > 1
    for _, own in board[1].groupby(["recipe", "removed"]):
        assert (own["rank"] == 1 + own["worse_than"]).all()
        assert own["rank"].min() == 1


def test_the_page_says_which_controls_are_missing(board):
    page, _ = board
    spread = "two: the control random removal spread over stages is missing with 1, 3 removed"
    said = Page(page).said
    assert spread in said
    assert "two: the control fresh weights is missing" in said
    assert "one: the control" not in said


def test_fine_tuned_tickets_without_the_dense_network_tuned_as_often_are_told(make, tmp_path):
    tuned = finished(lambda folder: make(folder, rounds=2, **PARTS), tmp_path / "tuned", columns=TRAINED)
    leaderboard([tuned], tmp_path / "board.html", "1")
    said = Page((tmp_path / "board.html").read_text(encoding="utf-8")).said
    assert "tuned: the control of the dense network, fine-tuned as often, is missing" in said


def test_controls_are_grey_and_what_is_beside_them_is_not(board):
    page, rows = board
    assert page.count('<tr role="row" class="control">') == rows["is_control"].sum() > 0
    assert not rows["is_control"].all()


def test_it_is_readable_without_a_script_and_loads_nothing(board):
    page, _ = board
    values = Page(page).values
    assert page.count("<script") == 1
    assert not [value for name, value in values if name in ("src", "srcset")]
    assert all(value.startswith("#") for name, value in values if name == "href")
    labels = [value for name, value in values if name == "data-label"]
    assert labels
    assert all(labels)


def test_the_command_writes_the_page_and_its_rows(folders, tmp_path):
    status, said = run(folders[0], "--output", tmp_path / "page.html")
    assert (status, said) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.parquet"]


def test_a_folder_of_networks_of_one_seed_has_no_ranks(make, tmp_path):
    one = finished(lambda folder: make(folder, **PARTS | {"seeds": (0,)}), tmp_path / "one")
    leaderboard([one], tmp_path / "page.html", "1")
    rows = pd.read_parquet(tmp_path / "page.parquet")
    assert rows["rank"].isna().all()
    assert set(rows["verdict_holm"]) == {"single seed"}


def test_dense_networks_alone_make_an_empty_table(make, tmp_path):
    one = finished(lambda folder: make(folder, **PARTS | {"criteria": (), "fresh": ()}), tmp_path / "one")
    assert leaderboard([one], tmp_path / "page.html", "1") == 0
    assert "There is nothing to rank" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("text", "column"), [(TEXT, "criterion"), ("<script>alert(1)</script>", "criterion"), (TEXT, "device")]
)
def test_hostile_names_are_shown_and_obeyed_nowhere(make, tmp_path, board, text, column):
    worse = {column: lambda value: value and value + text}
    tables = ("runs", "summary", "resilience", "comparisons") if column == "criterion" else ("runs",)
    one = finished(
        lambda folder: make(folder, **PARTS), tmp_path / "a<b>&c", columns=TRAINED | dict.fromkeys(tables, worse)
    )
    leaderboard([one], tmp_path / "page.html", "1")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = Page(page)
    assert text[:20] in found.said
    assert "a<b>&c" in found.said
    assert found.marks - Page(board[0]).marks == set()
    assert page.count("<script") == 1
    assert not steers(page)
    assert all(value.startswith("#") for name, value in found.values if name == "href")


# refused, each in one line that names the folder or the file


def refused(words, *parts):
    status, said = run(*words)
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith("layerlottery: ")
    for part in parts:
        assert str(part) in said


@pytest.fixture
def good(folders, tmp_path):
    return shutil.copytree(folders[0], tmp_path / "good")


def test_no_folder_at_all(tmp_path):
    refused([tmp_path / "nowhere"], tmp_path / "nowhere", "no such folder")


def test_a_folder_without_tables(tmp_path):
    (tmp_path / "empty").mkdir()
    refused([tmp_path / "empty"], tmp_path / "empty", "found no file that a benchmark made")


def test_a_benchmark_that_has_not_ended(good):
    (good / "manifest.json").unlink()
    refused([good], good / "manifest.json", "missing, so this benchmark has not ended")


def test_a_benchmark_that_is_running(good):
    lock = acquire(good)
    refused([good], good, "in use by a benchmark")
    lock.release()


def test_a_damaged_table(good):
    path = good / "tables" / "runs.parquet"
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    refused([good], good, path, "does not pass verification")


def test_a_table_of_another_run(good):
    replace(good / "tables" / "summary.parquet", "summary", {"accuracy": 99.9})
    refused([good], good, "does not pass verification", "summary.parquet")


def test_a_table_that_is_gone(good):
    (good / "tables" / "answers.parquet").unlink()
    refused([good], good, "answers.parquet", "missing")


def test_tables_of_another_version(make, tmp_path):
    one = finished(lambda folder: make(folder, **PARTS), tmp_path / "one")
    older(one / "tables" / "summary.parquet", "summary")
    again = finished(lambda folder: None, one)
    refused([again], "summary.parquet", "a table of an earlier version")


def older(path, name):
    """The table without its last column."""
    from layerlottery.store.artifacts import read_table, write_table

    table = read_table(path).replace_schema_metadata(None)
    write_table(path, table.select(table.column_names[:-1]), config_hash="0" * 64)


def test_the_same_folder_twice(folders, tmp_path):
    refused([folders[0], folders[1], f"{folders[0]}/../one"], folders[0], "twice")
    copied = shutil.copytree(folders[0], tmp_path / "copy")
    refused([folders[0], copied], copied, f"a copy of {folders[0]}")


def test_a_tolerance_that_one_folder_lacks(folders, make, tmp_path):
    other = {"xi": lambda value: "2" if value == "1" else value}
    two = finished(lambda folder: make(folder, **PARTS), tmp_path / "two", columns={"summary": other})
    refused([folders[0], two], two / "tables" / "summary.parquet", "0, 2, sd", "ξ = 1")
    refused([folders[0], "--xi", "much"], "xi", "much")


def test_an_output_that_is_no_page(folders, tmp_path):
    refused([folders[0], "--output", tmp_path / "page.md"], "page.md", ".html")
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_table_beside_the_page_is_not_overwritten(folders, good, damaged):
    path = good / "tables" / "summary.parquet"
    if damaged:
        path.write_bytes(b"no table")
    before = path.read_bytes()
    refused([folders[0], "--output", path.with_suffix(".html")], path, "is no leaderboard's", "another name")
    assert path.read_bytes() == before
    assert not path.with_suffix(".html").exists()


def test_a_leaderboard_is_written_again(folders, tmp_path):
    for one in folders[:2]:
        assert run(one, "--output", tmp_path / "page.html") == (0, "")
    assert set(pd.read_parquet(tmp_path / "page.parquet")["folder"]) == {"two"}


def test_what_learned_nothing_has_no_rank_and_no_verdict(make, folders, tmp_path, board):
    idle = TRAINED | {"summary": {"learned": False}}
    other = finished(lambda folder: make(folder, **PARTS), tmp_path / "idle", columns=idle)
    leaderboard([folders[0], other], tmp_path / "page.html", "1")
    page, rows = (tmp_path / "page.html").read_text(), pd.read_parquet(tmp_path / "page.parquet")
    lost = rows["folder"] == "idle"
    assert rows.loc[lost, "rank"].isna().all()
    assert (rows.loc[lost, ["better_than", "worse_than"]] == 0).all(axis=None)
    assert page.count('class="muted"><span>nothing learned<') == lost.sum() > 0
    assert "It is not shown that anything was learned in idle: dense is not told from chance, so no ticket" in page
    assert "anything was learned in one" not in page
    # others are ranked as if it were not there
    leaderboard([folders[0]], tmp_path / "alone.html", "1")
    by = ["removed", "criterion", "rewind"]
    alone = pd.read_parquet(tmp_path / "alone.parquet").set_index(by)["rank"].sort_index()
    pd.testing.assert_series_equal(rows[~lost].set_index(by)["rank"].sort_index(), alone)
    leaderboard([other], tmp_path / "page.html", "1")
    assert pd.read_parquet(tmp_path / "page.parquet")["rank"].isna().all()
    assert "There is nothing to rank" in (tmp_path / "page.html").read_text()


def test_folders_of_one_name_are_told_apart_by_what_holds_them(make, tmp_path):
    held = [
        finished(lambda folder: make(folder, **PARTS), tmp_path / name / "results", columns=TRAINED)
        for name in ("ann", "bob")
    ]
    # the same twice but for the time
    replace(held[1] / "tables" / "runs.parquet", "runs", {"train_seconds": lambda value: 2 * value})
    finished(lambda folder: None, held[1])
    leaderboard(held, tmp_path / "page.html", "1")
    rows = pd.read_parquet(tmp_path / "page.parquet")
    assert set(rows["folder"]) == {"ann/results", "bob/results"}
    assert str(tmp_path) not in (tmp_path / "page.html").read_text()
    by = ["removed", "criterion", "rewind"]
    ranks = [rows[rows["folder"] == name].set_index(by)["rank"].sort_index() for name in ("ann/results", "bob/results")]
    pd.testing.assert_series_equal(*ranks)
