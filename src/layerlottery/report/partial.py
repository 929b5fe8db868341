"""The report of a benchmark that has not ended: of the networks that are there, and it says so."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.results import ReportSettings
from layerlottery.config.stages import made
from layerlottery.config.studies import AggregateSettings, Run
from layerlottery.errors import LayerLotteryError
from layerlottery.report.report import report
from layerlottery.tables.aggregate import aggregate

NOTE = (
    "{}. Files that are there count, whichever configuration made them, and costs only once they are profiled. "
    "This is an early look: what it calls proven may not hold at the end."
)


def partial_report(results: Path, benchmark: Benchmark, settings: ReportSettings, output: Path) -> str:
    """Write the page of the finished networks of `results`, from tables that are then forgotten; what it covers.

    A network is finished where all its files but weights are there, and its dense network's. Raises LayerLotteryError
    where none is.
    """
    finished = _finished(results)
    runs = benchmark.runs()
    held = [run for run in runs if finished(run)]
    note = f"Partial: {len(held)} of {len(runs)} networks are finished"
    if not held:
        raise LayerLotteryError(
            f"{results}: {len(held)} of {len(runs)} networks are finished, so there is no report yet"
        )
    with tempfile.TemporaryDirectory(prefix="layerlottery-") as folder, _named_as(folder, results):
        view = Path(folder)
        for name in ("networks", "datasets"):
            (view / name).symlink_to((results / name).resolve())
        aggregate(view, AggregateSettings.model_validate_json(benchmark.aggregate_slice()), there=finished)
        report(view / "tables", output, settings, results=results, note=NOTE.format(note))
    return note


@contextmanager
def _named_as(folder: str, results: Path) -> Iterator[None]:
    """Errors name the results, and not a folder that is gone when they are read."""
    try:
        yield
    except LayerLotteryError as error:
        raise LayerLotteryError(str(error).replace(folder, str(results))) from error


def _finished(results: Path) -> Callable[[Run], bool]:
    @cache
    def there(run: Run) -> bool:
        # a scoring is a run without removed blocks
        if run.structure != "none" and not run.removed:
            return Path(paths.scores(f"{results}/{run.scored}")).exists()
        files = made({paths.TICKET if run.removed else paths.DENSE: [run.folder]})
        # costs are profiled last, once all tickets of a seed are there
        needed = (results / file for file in files if not file.endswith((".safetensors", "/profile.json")))
        return (not run.removed or there(run.dense)) and all(file.exists() for file in needed)

    return there
