"""Networks that are the same training under several names, as far as their initial weights are known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.studies import Run
from layerlottery.store.seals import BrokenSeal
from layerlottery.store.stamps import read_stamp


@dataclass(frozen=True)
class Alike:
    """Networks whose initial weights are there, how many of them differ, and the folders of those that are copied."""

    known: int
    distinct: int
    copies: frozenset[str]


def alike(benchmark: Benchmark, missing: Collection[str]) -> Alike:
    """Compare the networks of a benchmark by what they start from; `missing` are files that are still to be made."""
    first: dict[tuple[object, ...], str] = {}
    folders = []
    for run in benchmark.runs():
        start = _start(benchmark.results, run)
        try:
            content = None if start in missing else read_stamp(Path(start)).content
        except (BrokenSeal, OSError):
            continue
        if content is not None:
            folder = f"{benchmark.results}/{run.folder}"
            folders.append(
                (folder, first.setdefault((run.dataset, run.network, run.seed, content, *_how(run)), folder))
            )
    copies = frozenset(folder for folder, original in folders if folder != original)
    return Alike(len(folders), len(first), copies)


def _start(results: str, run: Run) -> str:
    folder = run.folder if run.removed else paths.NETWORK.format(**vars(run))
    return paths.initial_weights(f"{results}/{folder}")


def _how(run: Run) -> tuple[str, int]:
    """The settings of a training, as its path has their hash, and its first epoch."""
    tuned = paths.TUNED.fullmatch(run.rewind)
    return tuned["recipe"] if tuned else run.recipe.rpartition("-")[2], run.start_epoch
