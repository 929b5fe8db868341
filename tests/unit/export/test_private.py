"""What published files must not tell: toys whose answer can be seen."""

from pathlib import Path

import pyarrow as pa
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.export.private import Private, absolute_paths, numbered, refuse_paths, refuse_text
from layerlottery.export.published import refuse_machine
from layerlottery.store.artifacts import read_table, write_table

CONFIGURATION = {
    "datasets": {"own": {"function": "/home/ada/code/my_set.py:load", "location": "/scratch/ada/"}},
    "networks": {"net": {"weights": ["~/weights/a.pt", "C:\\models\\b.pt", "\\\\server\\share\\c.pt"]}},
    "report": {"title": "3 / 4 of https://example.org/a", "xi": 1.0},
    "results": "results/mine",
}


def test_absolute_paths_are_found_on_every_system_and_nothing_else():
    assert list(absolute_paths(CONFIGURATION)) == [
        "/home/ada/code/my_set.py:load",
        "/scratch/ada/",
        "~/weights/a.pt",
        "C:\\models\\b.pt",
        "\\\\server\\share\\c.pt",
    ]
    assert list(absolute_paths(["a/b", "./a", "../a", "", "/", "~", "https://a/b", 3, None, True])) == []


def test_addresses_of_files_are_paths():
    given = ["//server/home/ada/set", "file:///home/ada/set", "FILE:/home/ada/set"]
    assert list(absolute_paths(given)) == given
    assert Private.of(given).value(given) == ["set"] * 3
    assert list(absolute_paths(["// ada", "profile:a/b", "http://a/b", "s3://a/b"])) == []


def test_of_a_path_the_last_part_stays():
    shown = Private.of(CONFIGURATION).value(CONFIGURATION)
    assert shown["datasets"]["own"] == {"function": "my_set.py:load", "location": "ada"}
    assert shown["networks"]["net"]["weights"] == ["a.pt", "b.pt", "c.pt"]
    assert shown["report"] == CONFIGURATION["report"]
    assert shown["results"] == "results/mine"


def test_a_path_that_another_begins_with_spoils_neither():
    private = Private.of(["/data", "/data/set/a.py"])
    assert private.text("/data and /data/set/a.py") == "data and a.py"


def test_names_are_numbered_as_they_appear():
    given = ["node7", None, "node2, node7", "node2", ""]
    assert list(numbered(given, "machine")) == ["machine1", None, "machine2, machine1", "machine2", ""]


RUNS = pa.table(
    {
        "seed": [0, 1],
        "host": ["node7", "node2, node7"],
        "slurm_job_id": pa.array([None, "41_9"], pa.string()),
        "device": ["a CPU", "a CPU"],
        "driver_version": pa.array([None, None], pa.string()),
        "criterion_settings": ['{"function":"/home/ada/c.py:own"}', None],
    }
)


@pytest.mark.parametrize("machines", [True, False])
def test_the_table_of_runs(machines, tmp_path):
    write_table(tmp_path / "runs.parquet", RUNS, config_hash="made")
    Private.of("/home/ada/c.py:own").write_runs(tmp_path / "runs.parquet", tmp_path / "new.parquet", machines=machines)
    held = read_table(tmp_path / "new.parquet")
    assert held.schema.remove_metadata() == RUNS.schema
    assert held.schema.metadata[b"config_hash"] == b"made"
    columns = held.to_pydict()
    assert columns.pop("seed") == [0, 1]
    assert columns.pop("criterion_settings") == ['{"function":"c.py:own"}', None]
    if machines:
        assert columns["host"] == ["machine1", "machine2, machine1"]
        assert columns["slurm_job_id"] == [None, "job1"]
        assert columns["device"] == ["a CPU", "a CPU"]
    else:
        assert all(column == [None, None] for column in columns.values())


def test_facts_whose_hash_would_change_are_refused():
    refuse_paths({"function": "code/a.py:own", "seed": 0}, "weights.safetensors")
    with pytest.raises(LayerLotteryError, match=r"^w: names the absolute path /home/ada/a\.py:own; allowed: paths rel"):
        refuse_paths({"architecture": {"network": {"function": "/home/ada/a.py:own"}}}, "w")


def test_a_text_that_names_a_folder_of_this_machine_is_refused():
    for text in ("see /home/ada-b/x", "x/home/ada/y", "/home/adam/", "home/ada"):
        refuse_text(text, "page", ["/home/ada"])
    with pytest.raises(LayerLotteryError, match=r"^page: names /home/ada, a folder of this machine; it must not be"):
        refuse_text("run /home/ada/results", "page", ["/home/ada"])


def test_a_folder_that_every_machine_has_tells_of_none(tmp_path):
    results = Path("/tmp/mine")  # noqa: S108 - nothing is written there
    (tmp_path / "Dockerfile").write_text("ENV XDG_CACHE_HOME=/tmp/cache\n", encoding="utf-8")
    refuse_machine(tmp_path, results)
    (tmp_path / "README.md").write_text(f"see {results}/tables\n", encoding="utf-8")
    with pytest.raises(LayerLotteryError, match=rf"^README\.md: names {results}, a folder of this machine"):
        refuse_machine(tmp_path, results)
