"""The results folder that these tests share, and its tables."""

import pytest
from tests.unit.results_folder import results
from tests.unit.tables.by_hand import COUNTS, settings

from layerlottery.store.artifacts import read_table
from layerlottery.store.schemas import TABLES
from layerlottery.tables.aggregate import aggregate

__all__ = ["results"]


@pytest.fixture(scope="module")
def tables(results):
    assert aggregate(results, settings()) == COUNTS
    return {name: read_table(results / "tables" / f"{name}.parquet") for name in TABLES}
