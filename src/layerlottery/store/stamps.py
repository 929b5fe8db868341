"""What every artifact says of itself: what made it, where it belongs, what it was made from.

A file of another network in this one's place is noticed when it is read, though its own seal be intact: its stamp names
the place that it was written for. A file outside of a results folder belongs nowhere, and may lie anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from layerlottery import paths
from layerlottery.store import seals
from layerlottery.store.hashing import canonical

# the one key of a safetensors file's metadata, whose order would be random
KEY = "layerlottery"
# bytes of a document's last line at most
LONGEST_LINE = 1 << 20
Inputs = Mapping[str, str]
NONE: Inputs = MappingProxyType({})


@dataclass(frozen=True)
class Stamp:
    """`config_hash` is the SHA-256 of configuration, code revision and inputs; `content` that of the values alone.

    `place` is the file's path below its results folder, None for one written elsewhere. `inputs` holds the content of
    each file of that folder that it was made from, or together with, by its place.
    """

    config_hash: str
    place: str | None = None
    inputs: Inputs = field(default_factory=dict)
    content: str = ""

    @classmethod
    def of(cls, path: Path, config_hash: str, inputs: Inputs = NONE, content: str = "") -> Stamp:
        """The stamp of a file that is written to `path`; outside of a results folder it names no inputs."""
        place = paths.place(path)
        return cls(config_hash, place, dict(inputs) if place else {}, content)

    @classmethod
    def from_facts(cls, held: Mapping[str, Any]) -> Stamp:
        """The stamp in JSON; raises KeyError or TypeError for anything else."""
        inputs = held.get("inputs", {})
        return cls(str(held["config_hash"]), held.get("place"), {**inputs}, str(held.get("content", "")))

    @classmethod
    def from_pairs(cls, held: Mapping[bytes, bytes]) -> Stamp:
        """The stamp in a table's metadata; raises KeyError for a table of others."""
        place = held[b"place"].decode() if b"place" in held else None
        # of a table only whole files can be told apart
        content = held.get(b"seal", b"").decode().removeprefix(seals.MARK)
        return cls(held[b"config_hash"].decode(), place, json.loads(held.get(b"inputs", b"{}")), content)

    def facts(self) -> dict[str, Any]:
        """What is known, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def pairs(self) -> dict[str, str]:
        """What is known, for a table's metadata."""
        held = {"config_hash": self.config_hash} | ({"place": self.place} if self.place else {})
        return held | ({"inputs": canonical(self.inputs)} if self.inputs else {})

    def text(self, first: Mapping[str, Any] = NONE, last: Mapping[str, Any] = NONE) -> str:
        """JSON on one line, with other entries before and after; the last in canonical form."""
        parts = (canonical({**part})[1:-1] for part in (first, self.facts(), last))
        return f"{{{','.join(part for part in parts if part)}}}"

    @property
    def hash(self) -> str:
        """The hash that others know this file by: of its content, of what made it where there is none."""
        return self.content or self.config_hash

    def is_of(self, content: str) -> bool:
        """Whether this file is the one that another's `inputs` call by this hash: of its values, or of what made it."""
        return content in (self.content, self.config_hash)

    def misplaced(self, path: Path) -> str | None:
        """Why the file at `path` can't be this stamp's; None where it lies in its place, or in none."""
        expected = paths.place(path)
        if expected is None or expected == self.place:
            return None
        if self.place is None:
            return "says not where it belongs: written by an earlier version, or outside of a results folder"
        pairs = zip_longest(self.place.split("/"), expected.split("/"))
        found, wanted = zip(*(pair for pair in pairs if pair[0] != pair[1]), strict=True)
        return f"a file of another place: found {_joined(found)}, expected {_joined(wanted)}"


def _joined(parts: tuple[str | None, ...]) -> str:
    return "/".join(filter(None, parts)) or "nothing more"


def read_stamp(path: Path) -> Stamp:
    """The stamp of an artifact of any format, from its first or last bytes: whether it is intact is not asked.

    Raises BrokenSeal for a file without one.
    """
    try:
        return _read(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _foreign(error) from error


def _read(path: Path) -> Stamp:
    with path.open("rb") as file:
        head = file.read(8 + len(seals.TENSORS_HEAD))
        if head.startswith(seals.JSON_HEAD):
            return Stamp.from_facts(_first_value(head + file.read(seals.MOST_FACTS)))
        if head[8:] == seals.TENSORS_HEAD:
            text = head[8:] + file.read(min(int.from_bytes(head[:8], "little"), seals.MOST_HEADER) - len(head) + 8)
            return Stamp.from_facts(json.loads(json.loads(text)["__metadata__"][KEY]))
    if head.startswith(b"PAR1"):
        return Stamp.from_pairs(_metadata(path))
    return _last_line(path)


def _metadata(path: Path) -> Mapping[bytes, bytes]:
    """What stands in a table's footer."""
    import pyarrow as pa  # other files are read without it
    import pyarrow.parquet as pq

    try:
        held: Mapping[bytes, bytes] = pq.read_metadata(path).metadata or {}
    except pa.ArrowException as error:
        raise _foreign(error) from error
    return held


def _foreign(error: Exception) -> seals.BrokenSeal:
    return seals.BrokenSeal(f"not a file of this project ({type(error).__name__})")


def _last_line(path: Path) -> Stamp:
    """The stamp of a document."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LONGEST_LINE, 0))
        line = file.read().rstrip().rpartition(b"\n")[2].decode()
    return Stamp.from_facts(json.JSONDecoder().raw_decode(line, line.index("{"))[0])


def _first_value(text: bytes) -> dict[str, Any]:
    """The value of a JSON object's first key, which is an object itself."""
    whole = text.decode()
    return dict(json.JSONDecoder().raw_decode(whole, whole.index("{", 1))[0])
