"""How a results folder is read: in batches, by several processes; and what is wrong with one. Readers of its tables."""

import shutil
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.tables.by_hand import COUNTS, STUDY, TICKET, settings

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table, write_facts, write_table
from layerlottery.store.schemas import TABLES
from layerlottery.tables import collect
from layerlottery.tables.aggregate import aggregate


def test_a_missing_file_is_named(results):
    with pytest.raises(LayerLotteryError, match=r"seed=2/recipe=[^/]+/shift\.parquet: no such file$"):
        aggregate(results, settings(studies=[STUDY | {"seeds": [0, 1, 2]}]))


def test_a_profile_without_the_tickets_architecture_is_named(results, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    ticket = tmp_path / paths.ticket_facts(TICKET.folder)
    write_facts(ticket, read_facts(ticket) | {"architecture": {"depth": 8}}, config_hash="t")
    with pytest.raises(LayerLotteryError, match=r"seed=0/recipe=[^/]+/profile\.json: .*rewind=0 is not among its 3$"):
        aggregate(tmp_path, settings())


def test_batches_give_the_same_rows_in_the_same_order(results, tables, monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 3)
    assert aggregate(results, settings()) == COUNTS
    for name, table in tables.items():
        found = read_table(results / "tables" / f"{name}.parquet")
        assert found.equals(table), name
        assert found.schema.metadata[b"config_hash"] == table.schema.metadata[b"config_hash"]


def test_many_networks_are_read_by_several_processes(results, tables, monkeypatch):
    monkeypatch.setattr(collect, "MANY", 2)
    monkeypatch.setattr(collect.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(collect, "BATCH", 3)
    seen = []
    monkeypatch.setattr(collect, "ThreadPoolExecutor", lambda *given: seen.append(given))
    assert aggregate(results, settings()) == COUNTS
    assert seen == []
    for name, table in tables.items():
        assert read_table(results / "tables" / f"{name}.parquet").equals(table), name


def test_networks_are_read_once_and_leave_a_row_group_a_batch(results, monkeypatch):
    opened = Counter()
    for name in ("read_stamped", "read_stamped_table"):
        read = getattr(collect, name)
        monkeypatch.setattr(collect, name, lambda path, read=read: (opened.update([path]), read(path))[1])
    monkeypatch.setattr(collect, "BATCH", 3)
    aggregate(results, settings())
    # eight networks of five files; two profiles; six tickets of two files more; four scorings
    assert (opened.total(), max(opened.values())) == (8 * 5 + 2 + 6 * 2 + 4, 1)
    for name in ("runs", "robustness", "curves"):
        assert pq.ParquetFile(results / "tables" / f"{name}.parquet").num_row_groups == 3


def test_a_damaged_network_leaves_no_table(results, tmp_path):
    shutil.copytree(results / "networks", tmp_path / "networks")
    damaged = tmp_path / paths.attack(TICKET.folder)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(LayerLotteryError, match=r"rewind=0/attack\.parquet: "):
        aggregate(tmp_path, settings())
    assert list((tmp_path / "tables").iterdir()) == []


def test_answers_that_disagree_with_the_accuracy_are_named(results, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / paths.attack(TICKET.folder)
    rows = [row | {"answers": bytes(7), "images_hash": "a"} for row in read_table(path).to_pylist()]
    write_table(path, pa.Table.from_pylist(rows), config_hash="a")
    with pytest.raises(
        LayerLotteryError, match=r"rewind=0/attack\.parquet: answers: found 0 of 50 right; the accuracy"
    ):
        aggregate(tmp_path, settings())


def test_a_condition_that_the_dense_network_lacks_is_named(results, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / paths.attack(TICKET.dense.folder)
    write_table(path, read_table(path).slice(0, 2), config_hash="a")
    with pytest.raises(LayerLotteryError, match=r"rewind=0: tested under \('attack', 'fgsm', 3\.0\), its dense"):
        aggregate(tmp_path, settings())


def test_a_condition_that_is_named_twice_is_one(results, tables, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    path = tmp_path / paths.attack(TICKET.folder)
    table = read_table(path)
    made_by = table.schema.metadata[b"config_hash"].decode()
    write_table(path, pa.concat_tables([table, table.slice(1, 1)]), config_hash=made_by)
    aggregate(tmp_path, settings())
    for name in ("robustness", "summary", "resilience"):
        assert read_table(tmp_path / "tables" / f"{name}.parquet").equals(tables[name]), name


@pytest.mark.parametrize("name", TABLES)
def test_three_readers_agree(results, tables, name):
    import duckdb
    import polars

    path = results / "tables" / f"{name}.parquet"
    expected = tables[name].to_pylist()
    assert polars.read_parquet(path).to_dicts() == expected
    found = duckdb.sql(f"select * from read_parquet('{path}')")  # noqa: S608
    columns = found.columns
    assert [dict(zip(columns, row, strict=True)) for row in found.fetchall()] == expected
    frame = pd.read_parquet(path)
    assert list(frame.columns) == tables[name].column_names
    for column in frame:
        kept = frame[column].map(lambda value: value.tolist() if hasattr(value, "tolist") else value)
        found = [None if isinstance(value, float) and pd.isna(value) else value for value in kept]
        assert found == [row[column] for row in expected], column


def test_removed_is_a_list_everywhere(results):
    import duckdb
    import polars

    path = results / "tables" / "runs.parquet"
    expected = [[], [], ["stage1.1"], ["stage1.1"], ["stage3.2"], ["stage3.2"], [], []]
    assert polars.read_parquet(path)["removed_blocks"].to_list() == expected
    found = duckdb.sql(f"select len(removed_blocks) from '{path}'").fetchall()  # noqa: S608
    assert [one for (one,) in found] == [len(names) for names in expected]
    assert pd.read_parquet(path)["removed_blocks"].map(len).tolist() == [
        len(removed_blocks) for removed_blocks in expected
    ]
