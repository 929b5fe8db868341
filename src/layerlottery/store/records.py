"""Records of bytes, such as encoded images, in any number: shards of bounded size, and an index that vouches for them.

The index is an npy array (store/arrays.py) with the place, size and SHA-256 of every record; its own hash stands in the
facts beside it. A record is checked whenever it is read, so that no shard has to be read whole. They are read, not
mapped into memory: of a mapped file that was cut the kernel tells by SIGBUS, which nothing survives.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store.arrays import open_array, read_array, write_array
from layerlottery.store.artifacts import Array, atomic

# bytes of a shard, unless a record alone is larger: ImageNet has 140, which a process may hold open at once
SHARD = 1 << 30
ENTRY = np.dtype([("shard", "<i4"), ("start", "<i8"), ("size", "<i8"), ("sha256", "V32")])


@dataclass
class RecordsWriter:
    """Takes records one by one; `content` is the hash of the index once all are written."""

    _index: Path
    _entries: Array
    _files: ExitStack
    _sink: BinaryIO | None = None
    _shards: int = 0
    _written: int = 0
    content: str = ""

    def write(self, record: bytes) -> None:
        """Append a record. Raises OSError naming the shard when the disk is full."""
        try:
            if self._sink is None or self._sink.tell() + len(record) > SHARD:
                self._sink = self._next_shard()
            place = (self._shards - 1, self._sink.tell(), len(record), hashlib.sha256(record).digest())
            self._entries[self._written] = place
            self._sink.write(record)
        except OSError as error:
            path = paths.shard(self._index, self._shards - 1)
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
        self._written += 1

    def _next_shard(self) -> BinaryIO:
        if self._sink is not None:
            self._sink.close()
        self._shards += 1
        temporary = self._files.enter_context(atomic(paths.shard(self._index, self._shards - 1)))
        return self._files.enter_context(temporary.open("wb"))

    def finish(self) -> None:
        if self._written != len(self._entries):
            raise ValueError(f"{self._index}: {self._written} of {len(self._entries)} records were written")


@contextmanager
def records_writer(index: Path, count: int) -> Iterator[RecordsWriter]:
    """Write `count` records in any number of shards beside `index`, with the memory of one.

    Files take their names when the block succeeds, the index last; shards of an earlier, longer set go. Raises
    ValueError when fewer records were written.
    """
    with ExitStack() as files:
        writer = RecordsWriter(index, np.zeros(count, ENTRY), files)
        yield writer
        writer.finish()
    writer.content = write_array(index, writer._entries)
    remove_shards(index, since=writer._shards)


def remove_shards(index: Path, *, since: int = 0) -> None:
    """Delete the shards of an index from this number on."""
    while (path := paths.shard(index, since)).exists():
        path.unlink()
        since += 1


@dataclass
class Records:
    """Records, open for reading by any number of threads: `records[i]` are the bytes of one."""

    index: Path
    entries: Array
    _open: dict[int, int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, place: int) -> bytes:
        """Raises LayerLotteryError naming the shard that is gone, was cut or holds other bytes."""
        entry = self.entries[place]
        number, start, size = int(entry["shard"]), int(entry["start"]), int(entry["size"])
        try:
            record = _read(self._descriptor(number), start, size)
        except OSError as error:
            raise self._broken(number, error.strerror or str(error)) from error
        if len(record) != size:
            raise self._broken(number, f"cut short: found {start + len(record)} bytes, expected {start + size} or more")
        if hashlib.sha256(record).digest() != entry["sha256"].tobytes():
            raise self._broken(number, f"record {place} does not match its hash")
        return record

    @property
    def shards(self) -> dict[int, int]:
        """The size in bytes of each shard, by number."""
        numbers, ends = self.entries["shard"], self.entries["start"] + self.entries["size"]
        sizes = np.zeros(int(numbers.max(initial=-1)) + 1, np.int64)
        np.maximum.at(sizes, numbers, ends)
        return dict(enumerate(sizes.tolist()))

    def check_sizes(self) -> None:
        """Raise LayerLotteryError naming a shard that is missing or of another size; its bytes are not looked at."""
        for number, size in self.shards.items():
            try:
                found = paths.shard(self.index, number).stat().st_size
            except OSError as error:
                raise self._broken(number, error.strerror or str(error)) from error
            if found != size:
                raise self._broken(number, f"found {found} bytes, expected {size}")

    def _descriptor(self, number: int) -> int:
        if number not in self._open:
            opened = os.open(paths.shard(self.index, number), os.O_RDONLY | os.O_CLOEXEC)
            # another thread may have been faster
            if self._open.setdefault(number, opened) != opened:
                os.close(opened)
        return self._open[number]

    def __del__(self) -> None:
        for descriptor in self._open.values():
            with suppress(OSError):
                os.close(descriptor)

    def _broken(self, number: int, reason: str) -> LayerLotteryError:
        remedy = f"delete {self.index}, then recreate both: snakemake --cores all {self.index}"
        located = paths.located(self.index)
        return LayerLotteryError(f"{paths.shard(self.index, number)}: {reason}{f'; {remedy}' if located else ''}")


def read_records(index: Path, content: str) -> Records:
    """Open the records of an index that has this hash; raises LayerLotteryError when it or a shard isn't whole."""
    return _opened(index, read_array(index, content))


def read_all(index: Path) -> Iterator[bytes]:
    """Every record of an index; none of an npy file that is no index. Raises LayerLotteryError for a damaged one."""
    entries = open_array(index)
    if entries.dtype == ENTRY:
        records = _opened(index, entries)
        yield from map(records.__getitem__, range(len(records)))


def _opened(index: Path, entries: Array) -> Records:
    if entries.dtype != ENTRY or entries.ndim != 1:
        raise LayerLotteryError(f"{index}: found an array of {entries.dtype}, not an index of records")
    held = [int(entries[name].min(initial=0)) for name in ("shard", "start", "size")]
    if min(held) < 0 or int(entries["shard"].max(initial=0)) >= max(len(entries), 1):
        raise LayerLotteryError(f"{index}: found an index of places that no shard has")
    records = Records(index, entries)
    records.check_sizes()
    return records


def _read(descriptor: int, start: int, size: int) -> bytes:
    """The bytes from `start` on; fewer than `size` at the end of the file."""
    # one call reads 2 GiB at most, and a network's file system may give less at a time
    parts: list[bytes] = []
    while size and (part := os.pread(descriptor, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
