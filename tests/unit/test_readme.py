"""The summary in docs/first_hour.md, README's picture and the tables in docs/demo are of one run."""

import runpy
import shutil
from pathlib import Path

import pytest
from PIL import Image

from layerlottery.report.text import summary_text
from layerlottery.store.artifacts import write_table
from layerlottery.store.schemas import TABLES, arrow_schema

HERE = Path(__file__).parents[2]
README = (HERE / "README.md").read_text(encoding="utf-8")
PAGE = (HERE / "docs" / "first_hour.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def maker():
    return runpy.run_path(str(HERE / "benchmarks" / "readme.py"))


@pytest.fixture
def tables(tmp_path):
    """The tables of that run; those that the summary does not show are empty."""
    for name in TABLES:
        kept = HERE / "docs" / "demo" / "tables" / f"{name}.parquet"
        if kept.exists():
            (tmp_path / "tables").mkdir(exist_ok=True)
            shutil.copy(kept, tmp_path / "tables")
        else:
            write_table(tmp_path / "tables" / f"{name}.parquet", arrow_schema(name).empty_table(), config_hash="0" * 64)
    return tmp_path / "tables"


def test_the_summary_is_that_of_the_tables(maker, tables):
    assert summary_text(tables) in PAGE
    assert maker["written"](PAGE, maker["block"](tables)).split("jobs at once")[0] in PAGE


def test_the_picture_is_of_the_same_run(maker):
    assert Image.open(HERE / "docs" / "images" / "report.png").text["tables"] == maker["tables_hash"]()


def test_the_texts_say_what_the_headline_says(maker, tables):
    proven = "proven to win" in " ".join(summary_text(tables).split())
    before, _, rest = PAGE.partition(maker["BEGIN"])
    for text in (README, before + rest.partition(maker["END"])[2]):
        assert ("proven to win" in " ".join(text.split())) == proven


def test_the_default_benchmark_is_the_one_that_was_run(tables):
    from layerlottery.config.loading import load_benchmark
    from layerlottery.config.reading import read_yaml
    from layerlottery.store.artifacts import read_table

    runs = load_benchmark(read_yaml(HERE / "config.yaml")).runs()
    held = read_table(tables / "runs.parquet").to_pylist()
    names = ("dataset", "network", "seed", "structure", "criterion", "draw", "scored_at", "removed", "rewind")
    assert [tuple(vars(run)[name] for name in names) for run in runs] == [
        tuple(row[name] for name in names) for row in held
    ]
