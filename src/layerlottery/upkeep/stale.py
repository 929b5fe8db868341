"""Files of a results folder that no benchmark asks for any more: which, how large, and their removal.

What the stages make of a network is listed once, as functions of its folder. Of a folder with wildcards they give
patterns: a file is stale when it has the form of a result and no benchmark asks for it. All others are the user's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import cast

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark, Wildcards
from layerlottery.config.studies import FRESH, expand_scorings
from layerlottery.errors import LayerLotteryError
from layerlottery.store import checked, lock
from layerlottery.words import human_size

# every path here is relative to the results folder
HERE = paths.Folders(".")
# as tempfile.mkstemp names what artifacts.atomic writes
LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class Stale:
    """A stale file: its path, the folder of the network (or image set) that it belongs to, and its size in bytes."""

    path: str
    owner: str
    size: int


# what the stages make, by the folder that it is made for


def _of_dataset(folder: str) -> list[str]:
    prepared = [paths.prepared(folder), *paths.prepared_arrays(folder)]
    corrupted = [paths.corrupted_images(folder), paths.corrupted_facts(folder)]
    strangers = [paths.outlier_images(folder), paths.outlier_facts(folder)]
    return [*prepared, *corrupted, *strangers, *_logs(folder, "prepare", "corrupt", "outliers")]


def _of_dense(folder: str) -> list[str]:
    own = [paths.initial_weights(folder), paths.profile(folder), *_logs(folder, "initialize", "profile")]
    return own + _of_training(folder)


def _of_training(folder: str) -> list[str]:
    trained = [paths.trained_weights(folder), paths.curve(folder), paths.training_facts(folder)]
    evaluated = [paths.attack(folder), paths.shift(folder), paths.detection(folder)]
    logs, checkpoint = _logs(folder, "train", "attack", "shift"), HERE.checkpoint(folder)
    return [*trained, *evaluated, *logs, *paths.training_state(checkpoint), paths.attack_progress(checkpoint)]


def _of_ticket(folder: str) -> list[str]:
    pruned = [paths.initial_weights(folder), paths.ticket_facts(folder), paths.similarity(folder)]
    return [*pruned, *_logs(folder, "prune", "compare"), *_of_training(folder)]


def _of_start(dense: str, rewind: str) -> list[str]:
    start = f"{dense}/rewind={rewind}"
    made = [paths.start_weights(dense, rewind)]
    if rewind == FRESH:
        return made + _logs(start, "initialize")
    kept = paths.kept_weights(HERE.kept(dense), rewind)
    return [*made, kept, *_logs(start, "rewind"), *paths.training_state(HERE.checkpoint(start))]


def _of_scores(file: str) -> list[str]:
    return [file, *_logs(str(PurePosixPath(file).parent), "score")]


def _of_benchmark() -> list[str]:
    made = [*paths.table_files(HERE.tables), HERE.report(), HERE.manifest(), f"./{lock.NAME}"]
    return [*made, *(HERE.log(stage) for stage in ("aggregate", "tabulate", "manifest", "report"))]


def _logs(folder: str, *stages: str) -> list[str]:
    return [HERE.log(stage, str(PurePosixPath(folder))) for stage in stages]


def asked_files(benchmark: Benchmark) -> set[str]:
    """Every file that a benchmark's stages make and keep for its runs, relative to its results folder."""
    here = benchmark.model_copy(update={"results": "."})
    runs, scorings = here.runs(), expand_scorings(here.studies)
    files = _of_benchmark()
    for dataset in {run.dataset for run in runs}:
        files += _of_dataset(HERE.dataset.format(dataset=dataset))
    for run in runs:
        if not run.removed:
            files += _of_dense(f"./{run.folder}")
            continue
        dense, wanted = f"./{run.dense.folder}", cast(Wildcards, run)
        files += _of_ticket(f"./{run.folder}")
        if run.rewind != "0":
            files += _of_start(dense, run.rewind)
        for scores in [here.pruning_scores(wanted), *here.budget_scores(wanted)]:
            files += _of_scores(scores)
    for scoring in scorings:
        if scoring.structure != "weights":
            files += _of_scores(paths.scores(f"./{scoring.scored}"))
    return {_plain(file) for file in files}


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Every form that a file of any benchmark can have, and the folder that it belongs to."""
    starts = [*_of_start(HERE.dense, "{epoch}"), *_of_start(HERE.dense, FRESH)]
    scores = [file for name in (paths.scores, paths.element_scores) for file in _of_scores(name(HERE.scored))]
    owned = {
        HERE.dataset: _of_dataset(HERE.dataset),
        HERE.dense: _of_dense(HERE.dense) + starts,
        HERE.scored: scores,
        HERE.ticket: _of_ticket(HERE.ticket),
        ".": _of_benchmark(),
    }
    return [(_expression(_plain(file)), _plain(owner)) for owner, files in owned.items() for file in files]


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    texts = [f"(?P<{part}>{paths.WILDCARDS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts)]
    return re.compile("".join(texts))


def _plain(path: str) -> str:
    return str(PurePosixPath(path))


def find_stale(results: Path, benchmarks: Sequence[Benchmark]) -> tuple[list[Stale], int]:
    """Files below `results` that no benchmark asks for, by path, and the number of files that are the user's own.

    Links are the user's, and never followed.
    """
    asked = set[str]().union(*(asked_files(benchmark) for benchmark in benchmarks))
    stale, others = [], 0
    for path in _files(results):
        relative = path.relative_to(results).as_posix()
        if relative in asked or _noted(relative) in asked:
            continue
        owner = None if path.is_symlink() else _owner(relative)
        if owner is None:
            others += 1
        else:
            stale.append(Stale(relative, owner, path.lstat().st_size))
    return sorted(stale, key=lambda file: file.path), others


def _files(results: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(results):
        links = [name for name in below if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in (*names, *links))


def _noted(relative: str) -> str | None:
    """The array that a file is the note of."""
    path = PurePosixPath(relative)
    name = path.name.removeprefix(".").removesuffix(".checked")
    return str(path.with_name(name)) if name and checked.note(path.with_name(name)) == path else None


def _owner(relative: str) -> str | None:
    """The folder that a file belongs to, also what a killed process has left of it; None for a user's file."""
    path = PurePosixPath(relative)
    leftover = LEFTOVER.fullmatch(path.name)
    wanted = str(path.with_name(leftover["name"])) if leftover else _noted(relative) or relative
    for pattern, owner in _patterns():
        if found := pattern.fullmatch(wanted):
            return owner.format(**found.groupdict())
    return None


def remove(results: Path, stale: Iterable[Stale]) -> None:
    """Remove stale files and the folders that are empty then.

    Raises LayerLotteryError while a benchmark runs in the folder, or a training that is to be removed.
    """
    held = lock.acquire(results)
    try:
        stale = list(stale)
        for file in stale:
            _refuse_running(results / file.path)
        for file in stale:
            (results / file.path).unlink(missing_ok=True)
        _remove_empty(results)
    finally:
        if held is not None:
            held.release()


def _refuse_running(path: Path) -> None:
    if path.suffix != ".lock":
        return
    free = lock.try_lock(path)
    if free is None:
        raise LayerLotteryError(f"{path}: its training still runs ({lock.holder(path)}); stop it or wait until it ends")
    free.release()


def _remove_empty(results: Path) -> None:
    for top in {pattern.pattern.partition("/")[0] for pattern, _ in _patterns()}:
        for folder, _, _ in os.walk(results / top, topdown=False):
            with suppress(OSError):  # not empty
                Path(folder).rmdir()


# the command


def sweep(benchmarks: Sequence[Benchmark], *, delete: bool) -> Iterator[str]:
    """List what no benchmark asks for, a line for each network, and remove it if `delete`; yields lines of text.

    Raises LayerLotteryError when the benchmarks differ in their results folder, that folder does not exist, or a
    benchmark runs in it.
    """
    found = sorted({benchmark.results for benchmark in benchmarks})
    if len(found) > 1:
        raise LayerLotteryError(f"results: found {', '.join(found)}; the configurations must share one folder")
    folder = Path(found[0])
    if not folder.is_dir():
        raise LayerLotteryError(f"{folder}: no such folder; --results names that of a benchmark")
    if lock.held(folder):
        running = lock.holder(folder / lock.NAME)
        raise LayerLotteryError(f"{folder}: a benchmark is running in it ({running}); wait until it ends or stop it")
    stale, others = find_stale(folder, benchmarks)
    yield from _report(folder, stale, others)
    if stale and delete:
        remove(folder, stale)
        yield "removed"
    elif stale:
        yield "nothing is removed without --remove"


def _report(folder: Path, stale: Sequence[Stale], others: int) -> Iterator[str]:
    by_owner: dict[str, list[int]] = {}
    for file in stale:
        by_owner.setdefault(file.owner, []).append(file.size)
    for owner, sizes in sorted(by_owner.items()):
        yield f"{len(sizes):6} files {human_size(sum(sizes)):>9}  {owner}"
    total = human_size(sum(file.size for file in stale))
    yield f"{folder}: {len(stale)} files, {total}, that no configuration asks for"
    if others:
        yield f"{others} more files are no results of this program and stay"
