"""Whether the files of a results folder still are what was written, and how those that are not come back.

Every file that a stage writes is checked against its hash, its place, and the files that it was made from; what lies
beside them is left alone. Imports no torch.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from layerlottery import paths
from layerlottery.config.stages import PLACES, made
from layerlottery.errors import LayerLotteryError, what
from layerlottery.store import seals
from layerlottery.store.arrays import open_array
from layerlottery.store.artifacts import read_facts
from layerlottery.store.lock import NAME, held, holder, options_of
from layerlottery.store.records import read_all
from layerlottery.store.regular import irregular
from layerlottery.store.stamps import Stamp, read_stamp
from layerlottery.upkeep.belonging import foreign, missing, tabled, unfinished
from layerlottery.upkeep.stale import LEFTOVER

# every file of any benchmark, as patterns: a file is ours by its place, for damage may have taken every other mark
MADE = tuple(made(PLACES))
# with work on its way: Snakemake does not know it, and a job does without it. Logs and locks hold no hash
UNSEALED = (".log", ".lock")
ON_THE_WAY = tuple(file for file in made(PLACES, extras=True) if not file.endswith(UNSEALED))


def _expression(patterns: Iterable[str]) -> re.Pattern[str]:
    # a name can be given to one group only
    return re.compile("|".join(re.sub(r"\(\?P<\w+>", "(?:", paths.expression(one)) for one in patterns))


TARGET, OURS = _expression(MADE), _expression(ON_THE_WAY)


@dataclass
class Findings:
    """Findings in a results folder: files, and why the damaged ones are."""

    intact: int = 0
    damaged: dict[Path, str] = field(default_factory=dict)
    # arrays whose hash is lost with the facts beside them, and these facts
    unknown: dict[Path, Path] = field(default_factory=dict)
    # of writers that were killed
    leftovers: list[Path] = field(default_factory=list)
    # and why they are missed
    missing: dict[Path, str] = field(default_factory=dict)
    # folders of networks that are begun and in no table: no damage
    unfinished: list[Path] = field(default_factory=list)
    stamps: dict[Path, Stamp] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every file was checked and is intact."""
        return not self.damaged and not self.unknown and not self.missing


def results_folders(folder: Path) -> list[Path]:
    """The finished benchmarks right below a folder that is no results folder itself; else the folder."""
    if any((folder / name).exists() for name in (NAME, "datasets", "networks", "tables", "manifest.json")):
        return [folder]
    below = {path.parent for name in ("tables", "manifest.json") for path in folder.glob(f"*/{name}")}
    return sorted(below) or [folder]


def verify(results: Path) -> Findings:
    """Check every file that the benchmark made below a results folder, with a bar on a terminal.

    May look on while a benchmark runs there. Raises LayerLotteryError when there is no such folder, or nothing in it
    that a benchmark made.
    """
    if not results.is_dir():
        raise LayerLotteryError(f"{results}: no such folder")
    from rich.console import Console
    from rich.progress import track

    # what vanishes meanwhile, such as a writer's temporary folder, is no error here
    files = sorted(Path(folder, name) for folder, *names in os.walk(results) for name in chain(*names))
    # shards are checked with the index that holds their hashes
    ours = [path for path in files if _is_of(OURS, results, path) and paths.index(path) is None]
    found, running = Findings(), held(results)
    bar = {"console": Console(stderr=True), "transient": True, "disable": not sys.stderr.isatty()}
    # rich types each keyword, and these differ
    for path in track(ours, "checking", **bar):  # type: ignore[arg-type]
        _check(path, found)
    # of a running benchmark files are on their way: what they are to be made from may have changed already
    if not running:
        found.leftovers = [path for path in files if path.is_file() and _is_leftover(results, path)]
        networks = tabled(results, found.stamps)
        found.missing = missing(results, found.stamps, networks)
        found.unfinished = unfinished(results, found.stamps, networks)
        found.damaged |= foreign(results, found.stamps)
        found.intact -= len(found.damaged.keys() & found.stamps.keys())
        # a benchmark that ended before its first file leaves its lock
        if found == Findings() and not (results / NAME).exists():
            raise LayerLotteryError(f"{results}: found no file that a benchmark made; allowed: a results folder")
    return found


def described(found: Findings) -> list[str]:
    """The findings in words: a line for each damaged file and each leftover, and a total."""
    lines = [f"{path}: {reason}" for path, reason in found.damaged.items()]
    lines += [f"{path}: not checked, no intact {facts.name} holds its hash" for path, facts in found.unknown.items()]
    lines += [f"{path}: missing; {reason}" for path, reason in found.missing.items()]
    lines += [f"{path}: left behind by a writer that was killed" for path in found.leftovers]
    if found.unfinished:
        first, *more = found.unfinished
        others = f" (and {len(more)} more)" if more else ""
        lines.append(f"{first}: unfinished, in no table yet{others}")
    counts = {"damaged": len(found.damaged), "not checked": len(found.unknown)}
    counts |= {"missing": len(found.missing), "left behind": len(found.leftovers)}
    total = [f"{found.intact} files are intact", *(f"{count} {name}" for name, count in counts.items() if count)]
    return [*lines, ", ".join(total)]


def require_good(results: Path) -> None:
    """Raise LayerLotteryError, in one line, unless a finished benchmark lies there and every file of it is good."""
    if held(results):
        raise LayerLotteryError(f"{results}: in use by a benchmark ({holder(results / NAME)}); wait for its end")
    found = verify(results)
    if not found.good:
        first, *others = described(found)[:-1]
        more = f" (and {len(others)} more lines of layerlottery verify)" if others else ""
        raise LayerLotteryError(f"{results}: does not pass verification: {first}{more}")


def require_unused(results: Path) -> None:
    """Raise LayerLotteryError while a benchmark runs in a results folder."""
    if held(results):
        raise LayerLotteryError(f"{results}: in use by a benchmark ({holder(results / NAME)}); run --remove afterwards")


def remove(results: Path, found: Findings) -> str:
    """Delete damaged files and leftovers; returns the command that recreates what Snakemake makes, "" for nothing.

    Raises LayerLotteryError while a benchmark runs there.
    """
    require_unused(results)
    for path in (*found.damaged, *found.leftovers):
        # a folder in a file's place may hold anything
        if not path.is_dir():
            path.unlink(missing_ok=True)
    wanted = dict.fromkeys((*found.damaged, *found.unknown.values(), *found.missing))
    targets = [str(path) for path in wanted if _is_of(TARGET, results, path)]
    return shlex.join(["snakemake", "--cores", "all", *targets, *options_of(results)]) if targets else ""


def _is_of(files: re.Pattern[str], results: Path, path: Path) -> bool:
    # results of an earlier version are checked all the same
    return any(files.fullmatch(one) for one in paths.spellings(path.relative_to(results).as_posix()))


def _is_leftover(results: Path, path: Path) -> bool:
    name = LEFTOVER.fullmatch(path.name)
    return name is not None and _is_of(OURS, results, path.with_name(name["name"]))


def _check(path: Path, found: Findings) -> None:
    try:
        if (kind := irregular(path)) is not None:
            raise seals.BrokenSeal(f"found {kind}; allowed: a regular file")
        if path.suffix != ".npy":
            found.stamps[path] = _stamped(path)
        elif not _is_hashed(path, facts := _facts(path)):
            found.unknown[path] = facts
            return
        else:
            _check_records(path)
    except FileNotFoundError:
        return  # a checkpoint whose training has just ended
    except seals.BrokenSeal as broken:
        found.damaged[path] = str(broken)
    except OSError as error:
        found.damaged[path] = error.strerror or str(error)
    else:
        found.intact += 1


def _stamped(path: Path) -> Stamp:
    """The stamp of an intact file in its place; raises BrokenSeal for another."""
    seals.check(path)
    stamp = read_stamp(path)
    if (reason := stamp.misplaced(path)) is not None:
        raise seals.BrokenSeal(reason)
    return stamp


def _is_hashed(array: Path, facts: Path) -> bool:
    """Whether the facts hold an array's hash; raises BrokenSeal unless it is the array's."""
    content = _stated(array, facts)
    if content is not None:
        # a header that names fewer bytes than there are spares the reading of all that follows
        try:
            open_array(array)
        except LayerLotteryError as error:
            raise seals.BrokenSeal(what(error).removeprefix(f"{array}: ")) from None
    if content is not None and seals.file_digest(array) != content:
        raise seals.BrokenSeal("its content does not match its hash")
    return content is not None


def _check_records(index: Path) -> None:
    """Raise BrokenSeal naming the first shard of an index whose records are not those that were written."""
    try:
        for _ in read_all(index):
            pass
    except LayerLotteryError as error:
        raise seals.BrokenSeal(what(error)) from None


def _facts(array: Path) -> Path:
    """The facts that hold an npy file's hash."""
    folder = str(array.parent)
    apart = {paths.corrupted_images(folder): paths.corrupted_facts, paths.outlier_images(folder): paths.outlier_facts}
    return Path(apart.get(str(array), paths.prepared)(folder))


def _stated(array: Path, facts: Path) -> str | None:
    try:
        held = read_facts(facts)
        return str(held["arrays"][array.name] if "arrays" in held else held["array"])
    except (LayerLotteryError, KeyError):
        return None
