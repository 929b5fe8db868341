"""The Parquet set that tests of its room share."""

from tests.unit.data.parquet_files import place

__all__ = ["place"]
