"""What the networks of a benchmark left on disk, each file read once, a batch of networks at a time.

Reading is most of what aggregation does: several processes share it where there are many networks.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from layerlottery import paths
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.tables.writing import identified

Facts = dict[str, Any]
Item = TypeVar("Item")
Held = TypeVar("Held")

# rows of a batch become one row group of each table
BATCH = 500
# what a process of its own costs before it has read anything pays from here on
MANY = 3 * BATCH

CLEAN = ("accuracy", "nll", "brier", "ece", "temperature", "nll_scaled", "brier_scaled", "ece_scaled")
# what several files of one network fill, and those that every trained network has
FILES: dict[str, tuple[Callable[[str], str], ...]] = {
    "robustness": (paths.shift, paths.attack),
    "detection": (paths.detection,),
    "curves": (paths.curve,),
    "similarity": (paths.similarity,),
}
OF_TICKETS = frozenset({"similarity"})


@dataclass(frozen=True)
class Network:
    """The facts of one trained network: `profile` is a dense network's, `ticket` a ticket's.

    `clean` is its row for the clean test set.
    """

    run: Run
    training: Facts
    clean: Facts
    profile: Facts | None = None
    ticket: Facts | None = None


@dataclass(frozen=True)
class Batch:
    """Networks in their order; their rows of each table with their identity, and how many rows each network has."""

    networks: list[Network]
    tables: dict[str, pa.Table]
    rows: dict[str, list[int]]


def read_networks(results: Path, runs: Sequence[Run]) -> Iterator[Batch]:
    """All networks in their order, in batches."""
    return read_ahead(partial(read_batch, results), runs)


def read_batch(results: Path, runs: Sequence[Run]) -> Batch:
    """The artifacts of some networks; raises LayerLotteryError that names the file which is missing or damaged."""
    held = {name: [_read_tables(results, run, name) for run in runs] for name in FILES}
    held["robustness"] = list(map(_Distinct(), held["robustness"]))
    networks = [_network(results, run, tables[0]) for run, tables in zip(runs, held["robustness"], strict=True)]
    rows = {name: [sum(map(len, tables)) for tables in held[name]] for name in FILES}
    return Batch(networks, {name: identified(name, list(_each(runs, held[name]))) for name in FILES}, rows)


def _each(runs: Sequence[Run], held: Sequence[list[pa.Table]]) -> Iterator[tuple[Run, pa.Table]]:
    for run, tables in zip(runs, held, strict=True):
        yield from ((run, table) for table in tables)


def _read_tables(results: Path, run: Run, name: str) -> list[pa.Table]:
    if name in OF_TICKETS and not run.removed:
        return []
    folder = f"{results}/{run.folder}"
    return [read_table(Path(path(folder))) for path in FILES[name]]


class _Distinct:
    """A condition that the configuration names twice is one, the last. Most networks share their conditions."""

    def __init__(self) -> None:
        self._known: list[pa.Table] = []

    def __call__(self, tables: Sequence[pa.Table]) -> list[pa.Table]:
        return [self._distinct(table) for table in tables]

    def _distinct(self, table: pa.Table) -> pa.Table:
        named = table.select(["kind", "name", "level"])
        if any(known.equals(named) for known in self._known):
            return table
        conditions = list(zip(*(column.to_pylist() for column in named.columns), strict=True))
        last = dict(zip(conditions, range(len(table)), strict=True))
        if len(last) < len(table):
            return table.take(list(last.values()))
        self._known.append(named)
        return table


def _network(results: Path, run: Run, shift: pa.Table) -> Network:
    folder = f"{results}/{run.folder}"
    first = shift.slice(0, 1)
    if (first["kind"][0].as_py(), first["name"][0].as_py()) != ("clean", "clean"):
        raise LayerLotteryError(f"{paths.shift(folder)}: the first row is not the clean test set's; make it anew")
    clean = {name: first[name][0].as_py() for name in CLEAN if name in first.column_names}
    return Network(
        run,
        training=read_facts(Path(paths.training_facts(folder))),
        clean=clean,
        profile=None if run.removed else read_facts(Path(paths.profile(folder))),
        ticket=read_facts(Path(paths.ticket_facts(folder))) if run.removed else None,
    )


def read_scores(results: Path, scorings: Sequence[Run]) -> list[tuple[Run, Facts]]:
    """The scores of some networks, criteria and draws."""
    return [(one, read_facts(Path(paths.scores(f"{results}/{one.scored}")))) for one in scorings]


def read_ahead(read: Callable[[Sequence[Item]], Held], items: Sequence[Item]) -> Iterator[Held]:
    """What `read` gives for the items, in their order, a batch at a time; the next ones are read meanwhile."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    pool, ahead = _pool(len(items))
    try:
        reading = deque(pool.submit(read, batch) for batch in batches[: ahead + 1])
        for batch in batches[ahead + 1 :]:
            yield reading.popleft().result()
            reading.append(pool.submit(read, batch))
        while reading:
            yield reading.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(items: int) -> tuple[Executor, int]:
    """Who reads, and how many batches ahead."""
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if items <= MANY or processes < 2:
        return ThreadPoolExecutor(1), 1
    processes = min(processes, 4)
    # not forked: Arrow's threads would be missing in the copy
    return ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent), processes


def _end_with_parent() -> None:
    """A reader whose parent was killed would wait for its next batch for ever."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
