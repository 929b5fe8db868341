"""Results of the networks of a benchmark, each file read once, a batch of networks at a time.

Reading is most of what aggregation does: several processes share it where there are many networks.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from layerlottery import paths
from layerlottery.config.studies import Run
from layerlottery.cost.carbon import lacoste_co2
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_stamped, read_stamped_table
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import canonical, digest
from layerlottery.store.schemas import IDENTITY, arrow_schema
from layerlottery.tables.answers import check
from layerlottery.tables.writing import Row, from_rows, in_schema

Facts = dict[str, Any]
Placed = Sequence[tuple[int, Run]]  # networks with their place among all
Item = TypeVar("Item")
Held = TypeVar("Held")

# rows of a batch become one row group of each table
BATCH = 500
# what a process of its own costs before it has read anything pays from here on
MANY = 3 * BATCH

CLEAN = ("accuracy", "nll", "brier", "ece", "temperature", "nll_scaled", "brier_scaled", "ece_scaled")
CONDITION = ["kind", "name", "level"]
# read beside the columns of a result table; `place` numbers the networks
BESIDE = pa.schema(
    {"place": pa.int64(), "architecture": pa.string(), "classes": pa.int64()}
    | {"temperature": pa.float64(), "function": pa.string()}
    | {"answers": pa.binary(), "images_hash": pa.string(), "predicted": pa.binary()}
)
# what several files of one network fill
FILES: dict[str, tuple[Callable[[str], str], ...]] = {
    "robustness": (paths.shift, paths.attack),
    "detection": (paths.detection,),
    "curves": (paths.curve,),
    "similarity": (paths.similarity,),
}

COSTS = ("filters", "params", "macs", "memory_bytes", "latency_ms")
NO_PROFILE: Facts = {
    "dense": "",
    "architectures": [{"architecture": ""} | dict.fromkeys(COSTS, math.nan)],
    "latency_batch": 0,
    "latency_threads": 0,
}


def read_batch(
    results: Path, lacoste: float, runs: Placed, *, unprofiled: bool = False
) -> tuple[dict[str, pa.Table], Chain]:
    """The tables that some networks fill, `costs`, the architectures in dense networks' profiles, and what files say.

    `runs` lacks what comes from the dense network: costs and differences. `lacoste` is an intensity, kg a kWh.
    `unprofiled`: the dense network of a benchmark that has not ended may lack its profile, and so all costs.
    Raises LayerLotteryError that names the file which is missing, damaged or made from others.
    """
    chain = Chain()
    tables = {name: identified(name, list(_read(results, runs, name, chain))) for name in FILES}
    tables["robustness"] = _distinct(tables["robustness"])
    dense = [run for _, run in runs if not run.removed]
    files = {run: paths.profile(f"{results}/{run.folder}") for run in dense}
    left_out = [run for run, file in files.items() if unprofiled and not Path(file).exists()]
    profiles = {run: NO_PROFILE if run in left_out else _facts(file, chain) for run, file in files.items()}
    rows = [
        vars(run) | {"place": place} | _network(results, run, profiles.get(run), lacoste, chain) | clean
        for (place, run), clean in zip(runs, _clean(results, runs, tables["robustness"]), strict=True)
    ]
    tables["runs"] = from_rows(rows, read_schema("runs"))
    tables["costs"] = pa.Table.from_pylist([cost for run, profile in profiles.items() for cost in _costs(run, profile)])
    return tables, chain


def _facts(path: str, chain: Chain) -> Facts:
    facts, stamp = read_stamped(Path(path))
    chain.take(Path(path), stamp)
    return facts | {"config_hash": stamp.config_hash}


def read_schema(name: str) -> pa.Schema:
    """A result table's schema with the columns that networks and conditions are found by."""
    schema = arrow_schema(name)
    return pa.schema([*schema, *(field for field in BESIDE if field.name not in schema.names)])


def _read(results: Path, runs: Placed, name: str, chain: Chain) -> Iterator[tuple[int, Run, pa.Table]]:
    for place, run in runs:
        if name != "similarity" or run.removed:
            for file in FILES[name]:
                path = Path(file(f"{results}/{run.folder}"))
                table, stamp = read_stamped_table(path)
                check(path, table)
                chain.say(path, stamp.inputs)
                yield place, run, table


def identified(name: str, held: Sequence[tuple[int, Run, pa.Table]]) -> pa.Table:
    """Tables of many networks as one of schema `name`: each row with its network and the hash of what made it."""
    schema = read_schema(name)
    if not held:
        return schema.empty_table()
    owners = pa.array(np.repeat(np.arange(len(held)), [len(table) for _, _, table in held]))
    rows = pa.concat_tables([table for _, _, table in held], promote_options="permissive")
    columns: dict[str, Any] = dict(zip(rows.column_names, rows.columns, strict=True))
    own = {column.name: [getattr(run, column.name) for _, run, _ in held] for column in IDENTITY}
    own["place"] = [place for place, _, _ in held]
    own["config_hash"] = [table.schema.metadata[b"config_hash"].decode() for _, _, table in held]
    columns |= {field.name: pa.array(own[field.name], field.type).take(owners) for field in schema if field.name in own}
    return in_schema(columns, schema, len(rows))


def _distinct(rows: pa.Table) -> pa.Table:
    """A condition that the configuration names twice is one, the last."""
    keys = rows.select(["place", *CONDITION]).to_pandas()
    last = keys.index.to_series().groupby([keys[name] for name in keys], sort=False).last()
    return rows if len(last) == len(rows) else rows.take(last.to_numpy())


def _clean(results: Path, runs: Placed, conditions: pa.Table) -> Iterator[Row]:
    """The clean test set's row of each network: its first."""
    first = np.unique(conditions["place"].to_numpy(), return_index=True)[1]
    rows = conditions.select(["kind", "name", *CLEAN]).take(first).to_pylist()
    for (_, run), row in zip(runs, rows, strict=True):
        if (row.pop("kind"), row.pop("name")) != ("clean", "clean"):
            path = paths.shift(f"{results}/{run.folder}")
            raise LayerLotteryError(f"{path}: the first row is not the clean test set's; recreate it")
        yield row


def _network(results: Path, run: Run, profile: Facts | None, lacoste: float, chain: Chain) -> Row:
    folder = f"{results}/{run.folder}"
    training = _facts(paths.training_facts(folder), chain)
    segments = training.pop("segments")
    training["training_settings"] = _text(training.get("training_settings"))
    if profile is not None:
        chosen: Row = {"removed_blocks": [], "ties": 0, "architecture": profile["dense"]}
    else:
        ticket = _facts(paths.ticket_facts(folder), chain)
        chosen = {"removed_blocks": ticket["removed_blocks"], "ties": ticket["tied"], "budget": ticket["budget"]}
        chosen["architecture"] = digest(ticket["architecture"])
        chosen["classes"] = ticket["architecture"].get("classes")
        chosen["criterion_settings"] = _text(ticket["criterion_settings"])
    return chosen | training | _used(segments, lacoste)


def _text(settings: Facts | None) -> str | None:
    return None if settings is None else canonical(settings)


def _used(segments: Sequence[Row], lacoste: float) -> Row:
    """Energy, times and machines of a training, all pieces of a resumed one."""

    def joined(name: str) -> str | None:
        return ", ".join(dict.fromkeys(one[name] for one in segments if one.get(name))) or None

    return {f"{part}_kwh": sum(one[f"{part}_kwh"] for one in segments) for part in ("cpu", "gpu", "ram")} | {
        "energy_kwh": sum(one["kwh"] for one in segments),
        "co2_lacoste_kg": sum(lacoste_co2(one["design_watts"], one["seconds"], lacoste) for one in segments),
        "power_source": segments[-1]["power_source"],
        "segments": len(segments),
        "started": segments[0].get("started"),
        "ended": segments[-1].get("ended"),
        "host": joined("host"),
        "slurm_job_id": joined("slurm_job_id"),
    }


def _costs(run: Run, profile: Facts) -> Iterator[Row]:
    """The cost of each architecture of a family."""
    family = {"dataset": run.dataset, "network": run.network, "seed": run.seed}
    for cost in profile["architectures"]:
        yield family | cost | {name: profile[name] for name in ("latency_batch", "latency_threads")}


def read_scores(results: Path, scorings: Sequence[Run]) -> tuple[pa.Table, Chain]:
    """The scores of some networks, criteria and draws, with the criterion's `function`, and what their files say."""
    chain = Chain()
    found = [(one, _facts(paths.scores(f"{results}/{one.scored}"), chain)) for one in scorings]
    rows = [
        vars(one) | block | {"block": block["name"], "function": facts["settings"]["function"]}
        for one, facts in found
        for block in facts["blocks"]
    ]
    return from_rows(rows, read_schema("scores")), chain


def read_ahead(read: Callable[[Sequence[Item]], Held], items: Sequence[Item]) -> Iterator[Held]:
    """The results of `read`, in order, a batch at a time; the next batches are read meanwhile."""
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
    # they start by python -c, which would find a user's random.py in the current folder
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        # not forked: Arrow's threads would be missing in the copy
        return ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent), processes
    except (OSError, ImportError):
        # its semaphores need a /dev/shm that can be written
        return ThreadPoolExecutor(1), 1


def _end_with_parent() -> None:
    """A reader whose parent was killed would wait for its next batch for ever."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
