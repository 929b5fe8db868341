"""The stage: from the folder of result tables to the paper's tables beside them."""

import subprocess
import sys

import pyarrow as pa
import pytest

from layerlottery.config.studies import TabulateSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.paper.tabulate import READ, read_paper_tables, tabulate
from layerlottery.paths import PAPER
from layerlottery.store.artifacts import read_table, write_table
from layerlottery.store.schemas import PAPER as COLUMNS
from layerlottery.store.schemas import arrow_schema

STUDY = {
    "name": "both",
    "datasets": ["cifar10"],
    "networks": ["resnet32"],
    "seeds": [0, 1],
    "criteria": ["snip"],
    "removed": [1],
    "fills": ["table2", "table4", "table5", "figure3"],
}


def settings(**changes):
    return TabulateSettings.model_validate({"studies": [STUDY], "training": {"epochs": 8}} | changes)


@pytest.fixture
def tables(tmp_path, run, condition, score):
    savings = {"macs_reduction": 6.826, "memory_reduction": 9.0, "energy_reduction": 10.0, "train_speedup": 1.1}
    rows = {
        "runs": [run(0.1 * seed, seed=seed, **savings) for seed in (0, 1)],
        "robustness": [condition(0.5, "corruption", "contrast", 1.0, seed=seed) for seed in (0, 1)],
        "scores": [score("stage1.1", 2.0, seed=seed) for seed in (0, 1)],
    }
    for name in READ:
        write_table(
            tmp_path / f"{name}.parquet",
            pa.Table.from_pylist(rows.get(name, []), arrow_schema(name)),
            config_hash=name,
        )
    return tmp_path


def test_every_table_is_written_in_three_forms_with_the_columns_of_the_dictionary(tables):
    tabulate(tables, settings())
    for name in PAPER:
        assert read_table(tables / f"{name}.parquet").column_names == [column.name for column in COLUMNS]
        assert (tables / f"{name}.md").read_text(encoding="utf-8").startswith("**")
        assert r"\end{table}" in (tables / f"{name}.tex").read_text(encoding="utf-8")
    frames = read_paper_tables(tables)
    assert list(frames) == list(PAPER)
    counts = {name: len(frame) for name, frame in frames.items()}
    # table 5's printed figures of p = 3 and 5 were not measured; no study fills tables 1 and 3
    assert {name: counts[name] for name in PAPER[:5]} == {
        "table1": 0,
        "table2": 10,
        "table3": 0,
        "table4": 12,
        "table5": 6,
    }
    measured = frames["table2"].dropna(subset=["measured"])
    assert measured[["measured", "paper", "seeds"]].to_numpy().tolist() == [[pytest.approx(0.05), 0.08, 2]]


def test_the_same_tables_give_the_same_files(tables):
    tabulate(tables, settings())
    first = {path.name: path.read_bytes() for path in tables.iterdir()}
    tabulate(tables, settings())
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == first


def test_the_hash_follows_settings_and_inputs(tables, run):
    def made_by(**changes):
        tabulate(tables, settings(**changes))
        return read_table(tables / "table1.parquet").schema.metadata[b"config_hash"]

    first = made_by()
    assert made_by(margins={"accuracy": 0.25}) != first
    assert made_by() == first
    write_table(tables / "runs.parquet", pa.Table.from_pylist([run(1.0)], arrow_schema("runs")), config_hash="runs")
    assert made_by() != first


def test_a_missing_table_is_named(tables):
    (tables / "similarity.parquet").unlink()
    with pytest.raises(LayerLotteryError, match=r"similarity\.parquet: no such file"):
        tabulate(tables, settings())


def test_the_stage_imports_no_torch():
    code = "import sys, layerlottery.paper.tabulate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
