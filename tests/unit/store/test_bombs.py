"""Small files that stand for more than the memory holds are refused before they are unpacked."""

import io
import json
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.unit.hostile import SEAL, call, plant

from layerlottery.errors import LayerLotteryError
from layerlottery.store import seals
from layerlottery.store.artifacts import check_rows, read_table

ROWS = 20_000_000


def equal_rows(column, values, rows=ROWS, **metadata):
    """A Parquet file of few bytes: its rows are all the same."""
    table = pa.table({column: values}) if isinstance(values, pa.Array) else values
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(rows // len(table)):
            writer.write_table(table)
        writer.add_key_value_metadata({"seal": seals.BLANK, "config_hash": "0"} | metadata)
    return sink.getvalue()


def grown(before):
    """Kilobytes that this process has come to hold at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.fixture(scope="module")
def table():
    return equal_rows("seed", pa.array(np.zeros(2_000_000, dtype=np.int64)))


def test_a_table_of_equal_rows_is_not_read(tmp_path, table):
    assert len(table) < 100_000
    plant(tmp_path / "runs.parquet", table)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LayerLotteryError, match=rf"runs\.parquet: found {ROWS} rows in {len(table)} bytes"):
        read_table(tmp_path / "runs.parquet")
    assert grown(before) < 200_000


def test_an_image_set_of_equal_rows_is_not_read(tmp_path, table):
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(table)
    settings = json.dumps({"location": str(tmp_path), "source": "parquet", "label_column": "seed"})
    status, said = call(["layerlottery", "prepare", "--settings", settings, "--output", str(tmp_path / "out")])
    assert (status, said.count("\n")) == (1, 1)
    assert f"{tmp_path}/train.parquet: found {ROWS} rows in" in said


@pytest.mark.parametrize(("rows", "size"), [(1_000_000, 0), (10_000_000, 400_000), (1, 1)])
def test_tables_as_benchmarks_write_them_are_read(tmp_path, rows, size):
    # at the least a number of eight bytes a row, which compresses by half
    (tmp_path / "x").write_bytes(bytes(size))
    check_rows(tmp_path / "x", rows)


def test_deep_metadata_of_an_image_set_gives_no_names(tmp_path):
    image = io.BytesIO()
    Image.new("L", (8, 8)).save(image, "PNG")
    table = pa.Table.from_pylist([{"image": {"bytes": image.getvalue(), "path": None}, "label": i} for i in (0, 1)])
    deep = table.replace_schema_metadata({"huggingface": "[" * 100_000})
    for name in ("train", "test"):
        pq.write_table(deep, tmp_path / f"{name}.parquet")
    settings = json.dumps({"location": str(tmp_path), "source": "parquet"})
    assert call(["layerlottery", "prepare", "--settings", settings, "--output", str(tmp_path / "out")])[0] == 0
    assert json.loads((tmp_path / "out" / "facts.json").read_text())["facts"]["classes"] == ["0", "1"]


def test_the_seal_is_looked_for_before_any_of_it_is_parsed(tmp_path):
    plant(tmp_path / "x.parquet", b"[" * 1_000_000 + SEAL)
    with pytest.raises(LayerLotteryError, match="not a readable Parquet file"):
        read_table(tmp_path / "x.parquet")
