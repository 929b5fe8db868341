"""What the networks of a benchmark left on disk, each file read once, a batch of networks at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from layerlottery import paths
from layerlottery.results.artifacts import read_facts, read_table
from layerlottery.studies import Run

Facts = dict[str, Any]
Item = TypeVar("Item")
Held = TypeVar("Held")

# rows of a batch become one row group of each table
BATCH = 500
# on a cluster's file system opening a file takes longer than reading it, and waiting costs nothing
READERS = 4


@dataclass(frozen=True)
class Network:
    """The artifacts of one trained network: `profile` is a dense network's, `ticket` and `similarity` a ticket's."""

    run: Run
    training: Facts
    curve: pa.Table
    conditions: list[pa.Table]
    profile: Facts | None = None
    ticket: Facts | None = None
    similarity: pa.Table | None = None


def read_networks(results: Path, runs: Sequence[Run]) -> Iterator[list[Network]]:
    """All networks in their order, in batches."""
    return read_ahead(partial(read_network, results), runs)


def read_network(results: Path, run: Run) -> Network:
    """One network's artifacts; raises LayerLotteryError that names the file which is missing or damaged."""
    folder = f"{results}/{run.folder}"
    profile = None if run.density else read_facts(Path(paths.profile(folder)))
    return Network(
        run,
        profile=profile,
        training=read_facts(Path(paths.training_facts(folder))),
        ticket=read_facts(Path(paths.ticket_facts(folder))) if run.density else None,
        conditions=[read_table(Path(path(folder))) for path in (paths.shift, paths.attack)],
        curve=read_table(Path(paths.curve(folder))),
        similarity=read_table(Path(paths.similarity(folder))) if run.density else None,
    )


def read_scores(results: Path, scoring: Run) -> tuple[Run, Facts]:
    """The scores of one network, criterion and draw."""
    return scoring, read_facts(Path(paths.scores(f"{results}/{scoring.scored}")))


def read_ahead(read: Callable[[Item], Held], items: Sequence[Item]) -> Iterator[list[Held]]:
    """What `read` gives for every item, in their order, in batches; the next batch is read meanwhile."""
    pool = ThreadPoolExecutor(READERS)
    try:
        reading: deque[Iterator[Held]] = deque()
        for start in range(0, len(items), BATCH):
            reading.append(pool.map(read, items[start : start + BATCH]))
            if len(reading) == 2:
                yield list(reading.popleft())
        for last in reading:
            yield list(last)
    finally:
        pool.shutdown(cancel_futures=True)
