"""Files of a results folder that no benchmark asks for any more: which, how large, and their removal.

A file is stale when it has the form of a result (config/stages.py) and no benchmark asks for it. All others are the
user's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path, PurePosixPath

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.stages import OWNERS, PLACES, made
from layerlottery.errors import LayerLotteryError
from layerlottery.store import checked, lock
from layerlottery.words import human_size

# as tempfile.mkstemp names what artifacts.atomic writes
LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class Stale:
    """A stale file: its path, the folder of the network (or image set) that it belongs to, and its size in bytes."""

    path: str
    owner: str
    size: int


def asked_files(benchmark: Benchmark) -> set[str]:
    """Every file that a benchmark's stages make and keep for its runs, relative to its results folder."""
    # a lock that is named after a training's fingerprint lies there only while it runs
    return {lock.NAME, *(file for file in made(benchmark.places(), extras=True) if "{" not in file)}


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Every form that a file of any benchmark can have, and the folder that it belongs to."""
    owned = [(file, place) for place in sorted(PLACES) for file in made({place: [place]}, extras=True)]
    patterns = [(re.compile(paths.expression(file)), OWNERS.get(place, place) or ".") for file, place in owned]
    return [*patterns, (re.compile(re.escape(lock.NAME)), ".")]


def find_stale(results: Path, benchmarks: Sequence[Benchmark]) -> tuple[list[Stale], int]:
    """Files below `results` that no benchmark asks for, by path, and the number of files that are the user's own.

    Links are the user's, and never followed. Views of results are neither (paths.VIEWS).
    """
    asked = set[str]().union(*(asked_files(benchmark) for benchmark in benchmarks))
    stale, others = [], 0
    for path in _files(results):
        relative = path.relative_to(results).as_posix()
        if relative in asked or _array(relative) in asked or relative.startswith(paths.VIEWS):
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


def _array(relative: str) -> str | None:
    """The array that a file is the note of, or whose records it holds."""
    index = paths.index(PurePosixPath(relative))
    return _noted(relative) if index is None else str(index)


def _noted(relative: str) -> str | None:
    path = PurePosixPath(relative)
    name = path.name.removeprefix(".").removesuffix(".checked")
    return str(path.with_name(name)) if name and checked.note(path.with_name(name)) == path else None


def _owner(relative: str) -> str | None:
    """The folder that a file belongs to, also what a killed process has left of it; None for a user's file."""
    path = PurePosixPath(relative)
    leftover = LEFTOVER.fullmatch(path.name)
    wanted = str(path.with_name(leftover["name"])) if leftover else _noted(relative) or relative
    for spelled, (pattern, owner) in product(paths.spellings(wanted), _patterns()):
        if found := pattern.fullmatch(spelled):
            folder = owner.format(**found.groupdict()).replace(paths.EARLIER, "")
            # files of an earlier version are listed by their own names
            return folder.replace("/removed=", "/density=") if "/density=" in wanted else folder
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
        yield f"{others} more files belong to no stage here (other programs, other benchmarks) and stay"
