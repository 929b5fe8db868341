"""Whether the files of a results folder belong together: each was made from those that lie there now, and none is gone.

Where a file and what was made from it disagree, the majority decides which of them came from elsewhere. Tables rest on
the networks that they have rows of; other networks are unfinished, or another benchmark's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from itertools import chain
from pathlib import Path

from layerlottery import paths
from layerlottery.config.stages import BENCHMARK, STAGES
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_result_table
from layerlottery.store.chain import SETTINGS, SHOWN
from layerlottery.store.schemas import IDENTITY, arrow_schema
from layerlottery.store.stamps import Stamp

Stamps = Mapping[Path, Stamp]
NETWORKS = {pattern: re.compile(paths.expression(pattern)) for pattern in (paths.DENSE, paths.TICKET)}


def foreign(results: Path, stamps: Stamps) -> dict[Path, str]:
    """The files that were made from others than lie in the folder now, or are others themselves; and why.

    `stamps` are those of all intact files. A file whose users all mean another one is foreign itself: to recreate it
    makes Snakemake recreate them, too.
    """
    found: dict[Path, str] = {}
    for path, users in _users(results, stamps).items():
        if path not in stamps:
            continue
        held, place = stamps[path], path.relative_to(results).as_posix()
        other = {user: content for user, content in users.items() if not held.is_of(content)}
        # what one job wrote together agrees with itself wherever it comes from
        agree = [one for one in users.keys() - other.keys() if stamps[one].config_hash != held.config_hash]
        if other and not agree:
            first, content = min(other.items())
            text = f"found {held.hash[:SHOWN]}, expected {content[:SHOWN]}, of which {first} was made"
            found[path] = f"another file than {_counted(len(other))} made from it: {text}"
            continue
        for user, content in other.items():
            text = f"found {content[:SHOWN]}, expected {held.hash[:SHOWN]}"
            found.setdefault(user, f"made from another {place}: {text}")
    return found


def tabled(results: Path, stamps: Stamps) -> set[str]:
    """The folders of the networks that the tables were made from, none where no intact table of this version says."""
    path = Path(paths.table(str(results / "tables"), "runs"))
    if path not in stamps:
        return set()
    try:
        rows = read_result_table(path, arrow_schema("runs")).select([column.name for column in IDENTITY])
    except LayerLotteryError:
        return set()
    return {Run(**row).folder for row in rows.to_pylist()}


def missing(results: Path, stamps: Stamps, tabled: Set[str]) -> dict[Path, str]:
    """Files that are gone, though others were made from them, or by the same job; and which.

    `tabled` are the folders of the networks that the tables were made from.
    """
    found = {path: f"{min(users)} was made from it" for path, users in _users(results, stamps).items()}
    for path, other in _incomplete(results, stamps, tabled):
        found[path] = "the tables were made from it" if other is None else f"{other} was made with it"
    manifest, report = (results / STAGES[name].files(BENCHMARK, "")[0] for name in ("manifest", "report"))
    # tables that are compared with others need a manifest and no report
    if report in stamps and not _networks(results, stamps):
        found[manifest] = f"{report} comes with it"
    return {path: reason for path, reason in sorted(found.items()) if not path.exists()}


def unfinished(results: Path, stamps: Stamps, tabled: Set[str]) -> list[Path]:
    """The folders of networks that are begun, and not in the tables that there are."""
    begun = _networks(results, stamps).difference(tabled) if tabled else ()
    return [
        results / folder
        for folder in sorted(begun)
        if not stamps.keys() >= {*chain.from_iterable(_jobs(results, folder))}
    ]


def _users(results: Path, stamps: Stamps) -> dict[Path, dict[Path, str]]:
    """By each file that others were made from: these, and the content that they know it by."""
    users: dict[Path, dict[Path, str]] = {}
    for path, stamp in stamps.items():
        for place in (place for place in stamp.inputs if not place.startswith(SETTINGS)):
            users.setdefault(results / place, {})[path] = stamp.inputs[place]
    return users


def _incomplete(results: Path, here: Stamps, tabled: Set[str]) -> Iterator[tuple[Path, Path | None]]:
    """Files of networks beside which one lies that the same job has written; with None, those that tables came of."""
    begun = _networks(results, here)
    # tables that were published without their networks are whole
    for folder in begun | tabled if begun else ():
        for made in _jobs(results, folder):
            there = next((path for path in made if path in here), None)
            if there is not None or folder in tabled:
                yield from ((path, there) for path in made if path not in here)


def _networks(results: Path, here: Stamps) -> set[str]:
    """The folders of networks of which a file is there."""
    folders = {path.parent.relative_to(results).as_posix() for path in here}
    return {folder for folder in folders if any(known.fullmatch(folder) for known in NETWORKS.values())}


def _jobs(results: Path, folder: str) -> Iterator[list[Path]]:
    """The files of a network, stage by stage."""
    for pattern in (pattern for pattern, known in NETWORKS.items() if known.fullmatch(folder)):
        for stage in STAGES.values():
            yield [results / file for file in stage.files(pattern, folder)]


def _counted(files: int) -> str:
    return "the one file that was" if files == 1 else f"the {files} files that were"
