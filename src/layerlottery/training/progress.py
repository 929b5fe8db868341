"""How a training shows that it is alive: a bar on a terminal, a line an epoch in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def epoch_reporter(epochs: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """A function to be called with each epoch's row of the learning curve."""
    to_file = any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger("layerlottery").handlers)
    if to_file or not sys.stderr.isatty():
        yield lambda row: log.info("epoch %d/%d  %s  %.1f s", row["epoch"], epochs, _measures(row), row["seconds"])
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=epochs)
        yield lambda row: bar.update(task, completed=row["epoch"], description=_measures(row))


def _measures(row: dict[str, float]) -> str:
    return f"loss {row['train_loss']:.3f}  train {row['train_accuracy']:.1f} %  test {row['test_accuracy']:.1f} %"
