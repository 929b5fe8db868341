"""Two folders of tables: equal but for times, energy and provenance, or a line that says where they differ."""

import pyarrow as pa
import pytest

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import write_table
from layerlottery.store.schemas import arrow_schema
from layerlottery.upkeep.diff import MEASURED, differences


def write(folder, **changes):
    """Every table with two rows of plain values, and some replaced: {table: {column: values}}."""
    plain = {pa.string(): ["a", "b"], pa.int64(): [1, 2], pa.float64(): [0.5, None], pa.bool_(): [True, False]}
    plain[pa.binary()] = [b"\xff", None]
    for name in paths.TABLES + paths.PAPER:
        schema = arrow_schema(name)
        rows = {field.name: plain.get(field.type, [["x"], []]) for field in schema} | changes.get(name, {})
        write_table(folder / f"{name}.parquet", pa.table(rows, schema=schema), config_hash="made")
    return folder


def test_equal_tables_have_no_differences(tmp_path):
    assert differences(write(tmp_path / "one"), write(tmp_path / "other")) == []


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("runs", "train_seconds", [3.0, 4.0]),
        ("runs", "energy_kwh", [3.0, 4.0]),
        ("runs", "segments", [3, 1]),
        ("runs", "slurm_job_id", ["7", None]),
        ("curves", "seconds", [3.0, 4.0]),
        ("summary", "train_speedup", [3.0, 4.0]),
    ],
)
def test_times_energy_and_provenance_may_differ(tmp_path, table, column, values):
    assert differences(write(tmp_path / "one"), write(tmp_path / "other", **{table: {column: values}})) == []


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("runs", "accuracy", [0.5, 0.1]),
        ("runs", "removed_blocks", [["x"], ["y"]]),
        ("curves", "train_loss", [0.5000000000000001, None]),
        ("robustness", "config_hash", ["a", "c"]),
        ("scores", "rank", [1, 3]),
        ("table1", "measured", [0.5, 1.0]),
    ],
)
def test_any_other_value_must_agree_to_the_last_bit(tmp_path, table, column, values):
    (line,) = differences(write(tmp_path / "one"), write(tmp_path / "other", **{table: {column: values}}))
    assert line.startswith(f"{table}.{column}: 1 rows differ; the first, row ")


def test_rows_of_the_papers_tables_about_time_or_energy_may_differ(tmp_path):
    assert sorted(MEASURED) == ["CO2 saved", "training speed-up"]
    one = {"quantity": ["CO2 saved", "Δ accuracy"], "measured": [0.5, 1.0]}
    other = one | {"measured": [0.7, 1.0]}
    folders = write(tmp_path / "one", table4=one), write(tmp_path / "other", table4=other)
    assert differences(*folders) == []


def test_another_number_of_rows_is_said(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    schema = arrow_schema("curves")
    write_table(other / "curves.parquet", schema.empty_table(), config_hash="made")
    assert differences(one, other) == ["curves: 2 rows and 0"]


def test_a_missing_table_is_named(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    (other / "scores.parquet").unlink()
    with pytest.raises(LayerLotteryError, match=r"other/scores\.parquet: no such file"):
        differences(one, other)
