"""The results folders that these tests share."""

from tests.unit.results_folder import results
from tests.unit.trained import made

__all__ = ["made", "results"]
