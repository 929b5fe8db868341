"""The files of one results folder belong together: each says what it was made from, and all must mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import digest
from layerlottery.store.regular import irregular
from layerlottery.store.seals import BrokenSeal
from layerlottery.store.stamps import Stamp, read_stamp

# what is no file among inputs
SETTINGS = "settings/"
# digits of a hash that a message shows
SHOWN = 12


@dataclass
class Chain:
    """What is said of the content of each place, and which file said so; `inputs` are the places that were read."""

    inputs: dict[str, str] = field(default_factory=dict)
    said: dict[str, tuple[str, Path]] = field(default_factory=dict)

    def add(self, path: Path, content: str, stamp: Stamp | None = None) -> None:
        """Take a file in that was read; raises LayerLotteryError when it does not belong to those before.

        With its `stamp`, what it was made from must be what others say, and what is there now.
        """
        found = paths.located(path)
        if found is not None:
            self.inputs[found[1]] = content
            self.say(path, {found[1]: content})
        if stamp is not None:
            self.say(path, stamp.inputs)
            if found is not None:
                _compare(path, stamp, Path(found[0]))

    def set(self, stage: str, settings: str) -> None:
        """Count the settings of a stage among the inputs: networks of one benchmark share them."""
        self.inputs[f"{SETTINGS}{stage}"] = digest(settings)

    def read(self, *files: Path) -> None:
        """Take in files that are there, by their stamps alone; raises as `add` does, and for a file without one."""
        for path in files:
            try:
                stamp = read_stamp(path)
            except BrokenSeal as broken:
                raise LayerLotteryError(f"{path}: {broken}; recreate it: snakemake --cores all {path}") from None
            if (reason := stamp.misplaced(path)) is not None:
                raise LayerLotteryError(f"{path}: {reason}; recreate it: snakemake --cores all {path}")
            self.add(path, stamp.hash, stamp)

    def take(self, path: Path, stamp: Stamp) -> None:
        """Take in a file by what it says, whatever is there now: of thousands of files each is looked at once."""
        place = paths.place(path)
        self.say(path, stamp.inputs if place is None else {place: stamp.hash} | {**stamp.inputs})

    def say(self, path: Path, inputs: Mapping[str, str]) -> None:
        """Take in what the file at `path` says; raises LayerLotteryError when another file says otherwise."""
        for place, content in inputs.items():
            known, other = self.said.setdefault(place, (content, path))
            if known != content:
                raise _other(path, place, content, known, f"as {other} has it")

    def join(self, more: Chain) -> None:
        """Take in what another chain was told."""
        for place, (content, path) in more.said.items():
            self.say(path, {place: content})


def _compare(path: Path, stamp: Stamp, results: Path) -> None:
    """Raise unless the files that are there now are those that a file was made from; one that is gone says nothing."""
    for place, content in stamp.inputs.items():
        try:
            if irregular(results / place) is not None or (held := read_stamp(results / place)).is_of(content):
                continue
        except (BrokenSeal, OSError):
            continue
        raise _other(path, place, content, held.hash, f"as in {results / place}")


def _other(path: Path, place: str, found: str, expected: str, why: str) -> LayerLotteryError:
    stage = place.removeprefix(SETTINGS)
    made = f"from another {place}" if stage == place else f"with other settings of {stage}"
    return LayerLotteryError(
        f"{path}: made {made}: found {found[:SHOWN]}, expected {expected[:SHOWN]}, {why};"
        f" delete it, then recreate it: snakemake --cores all {path}"
    )
