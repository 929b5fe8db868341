"""The results folder that these tests share."""

from tests.unit.results_folder import results

__all__ = ["results"]
