"""The stage `manifest`: one file that says what a folder of tables was made with. Imports no torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.base import Settings
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.provenance import config_hash
from layerlottery.config.stages import STAGES
from layerlottery.store.artifacts import check, read_table, write_facts
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import digest
from layerlottery.store.seals import file_digest
from layerlottery.version import __version__

# columns of the table `runs`, of which the manifest counts the networks of each value
COUNTED = ("package_version", "git_commit", "torch_version", "cuda_version", "driver_version", "device")
READ = (*COUNTED, "host", "slurm_job_id", "started", "ended", "seed")
ABSENT = "none"

Columns = dict[str, list[Any]]


def manifest(tables: Path, output: Path, benchmark: Benchmark) -> dict[str, Any]:
    """Write the facts file `output` about the tables of a finished benchmark; returns the facts.

    Counts are numbers of networks, `none` those without a value; one that was resumed counts for each of its hosts.
    Times are UTC. A table's hash is the SHA-256 of its file. Raises when a table is missing or damaged.
    """
    runs = _columns(tables)
    configuration = json.loads(benchmark.manifest_slice())
    facts = {
        "configuration": configuration,
        "configuration_hash": digest(configuration),
        "revisions": {name: stage.revision for name, stage in STAGES.items()},
        "written_by": __version__,
        "networks": len(runs["seed"]),
        "seeds": sorted(set(runs["seed"])),
        **_machines(runs),
        "started": min(filter(None, runs["started"]), default=None),
        "ended": max(filter(None, runs["ended"]), default=None),
    }
    return _write(tables, output, facts)


def rewrite(tables: Path, output: Path, held: Mapping[str, Any]) -> dict[str, Any]:
    """Write `held`, the facts of another manifest, about tables in which other machines are named; returns the facts.

    All but machines and the hashes of the tables stays as it is. Raises when a table is missing or damaged.
    """
    return _write(tables, output, {**held, **_machines(_columns(tables))})


def _write(tables: Path, output: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    files = {Path(path).name: file_digest(check(Path(path))) for path in paths.table_files(str(tables))}
    hashes = [files[name] for name in sorted(files)]
    made_by = config_hash("manifest", Settings(), hashes, configuration=facts["configuration"])
    chain = Chain()
    chain.read(*map(Path, paths.table_files(str(tables))))
    whole = {**facts, "tables": files}
    write_facts(output, whole, config_hash=made_by, inputs=chain.inputs)
    return whole


def _machines(runs: Columns) -> dict[str, Any]:
    """Numbers of networks by what they were made with, and where."""
    return {
        **{name: _counts(value or ABSENT for value in runs[name]) for name in COUNTED},
        "host": _counts(host for value in runs["host"] for host in _parts(value or ABSENT)),
        "slurm_jobs": _jobs(runs["slurm_job_id"]),
    }


def _columns(tables: Path) -> Columns:
    """One value a network; a column that a table of an earlier version lacks is all null."""
    held = read_table(Path(paths.table(str(tables), "runs")))
    known = held.select([name for name in READ if name in held.column_names]).to_pydict()
    return {name: known.get(name, [None] * held.num_rows) for name in READ}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _parts(value: str) -> set[str]:
    """A network that was resumed names every host and every job that trained it."""
    return set(re.findall(r"[^,;\s]+", value))


def _jobs(values: Iterable[str | None]) -> dict[str, Any]:
    found = {job for value in values for job in _parts(value or "")}
    # by number: 41_10 comes after 41_9
    ids = sorted(found, key=lambda job: ([(len(number), number) for number in re.findall(r"\d+", job)], job))
    return {"count": len(ids), "ids": ids}
