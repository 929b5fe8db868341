"""The jobs of a benchmark by Snakemake's own account: which are left, and what finished ones took."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.stages import STAGE_OF_RULE
from layerlottery.cost.machine import where
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.recovery import STATE, marked, said
from layerlottery.store.artifacts import read_facts

# a dry run takes no lock and writes nothing into the results folder
SUMMARY = ("--cores", "1", "--nolock", "--dry-run", "--summary")
FIELDS, LEFT = 6, "update pending"  # of a line: output, date, rule, logs, status, plan
SPAN = "starttime", "endtime"  # of a job, in Snakemake's record of each output
Name = tuple[str, str]  # of a network: its data set's, and its own


@dataclass(frozen=True)
class Job:
    """One job of a rule: its files, and the wildcards that they name, such as dataset, network and seed."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]
    left: bool

    @property
    def stage(self) -> str:
        return STAGE_OF_RULE[self.rule].name

    @property
    def network(self) -> Name | None:
        """The network that the job is about; None for what all networks share."""
        return (self.wildcards["dataset"], self.wildcards["network"]) if "network" in self.wildcards else None


@dataclass(frozen=True)
class Record:
    """A finished job, its seconds on the clock, and the energy of a training in kWh."""

    job: Job
    seconds: float
    kwh: float = 0.0


def jobs_of(configfile: Path, values: Sequence[str], results: str) -> list[Job]:
    """Every job of the benchmark that `snakemake --configfile FILE --config VALUES` runs in this folder.

    Raises LayerLotteryError with the last line of what Snakemake complained about.
    """
    command = [sys.executable, "-P", "-m", "snakemake", *SUMMARY, "--configfile", str(configfile)]
    command += ["--config", *values] if values else []
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:backslashreplace"}
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if ran.returncode:
        said = " ".join((ran.stdout + ran.stderr).strip().splitlines()[-1:])
        raise LayerLotteryError(f"snakemake --summary: {said or f'exit status {ran.returncode}'}")
    return parse(ran.stdout, results)


def parse(summary: str, results: str) -> list[Job]:
    """The jobs in the table of `snakemake --summary`, which has a line for each output file."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[str, bool]]] = {}
    for fields in (line.split("\t") for line in summary.splitlines()):
        if len(fields) == FIELDS and fields[2] in STAGE_OF_RULE:
            job = fields[2], wildcards_of(fields[0].removeprefix(f"{results}/"))
            found.setdefault(job, []).append((fields[0], fields[-1] == LEFT))
    return [
        Job(rule, dict(wildcards), tuple(file for file, _ in files), any(left for _, left in files))
        for (rule, wildcards), files in found.items()
    ]


def wildcards_of(output: str) -> tuple[tuple[str, str], ...]:
    """What a path says, so that it can be a key."""
    return tuple(paths.wildcards(output).items())


def records(jobs: Iterable[Job], results: str) -> Iterator[Record]:
    """Times of finished jobs on this machine, and what all networks share when it was last made.

    Jobs about networks that were trained elsewhere, or through SLURM, are left out.
    """
    files = {output: path for path, output in marked(results, STATE / "metadata")}
    here = cache(_trained_here)
    for job in (job for job in jobs if job.network is None or not job.left):
        if job.stage == "train":
            # a resumed training has several segments; those of a copied one are another's
            if segments := [] if _is_copy(job) else here(str(Path(job.outputs[0]).parent)):
                yield Record(job, *(sum(segment[name] for segment in segments) for name in ("seconds", "kwh")))
        elif _is_of_here(results, job, here):
            named = [(files[output], name) for output in job.outputs for name in SPAN if output in files]
            if times := [float(value) for value in (said(*one) for one in named) if value]:
                yield Record(job, max(times) - min(times))


def _is_copy(training: Job) -> bool:
    """Whether a finished training's results are another network's."""
    return _facts(str(Path(training.outputs[0]).parent)).get("copied_from") is not None


def _is_of_here(results: str, job: Job, here: Callable[[str], list[dict[str, Any]]]) -> bool:
    """Whether a job's dense network was trained here; of a job that needs no recipe, any or none of its trainings."""
    if job.network is None:
        return True
    network, recipe = Path(results, paths.NETWORK.format(**job.wildcards)), job.wildcards.get("recipe")
    found = [network / f"recipe={recipe}"] if recipe else sorted(network.glob("recipe=*"))
    return not found or any(here(str(one)) for one in found)


def _trained_here(folder: str) -> list[dict[str, Any]]:
    """The segments of a training that this machine did alone and not through SLURM, else none."""
    segments: list[dict[str, Any]] = _facts(folder).get("segments", [])
    alone = all(one["host"] == where()["host"] and one["slurm_job_id"] is None for one in segments)
    return segments if alone else []


def _facts(folder: str) -> dict[str, Any]:
    """What a training says of itself; nothing unless its file is intact."""
    try:
        return read_facts(Path(paths.training_facts(folder)))
    except LayerLotteryError:
        return {}
