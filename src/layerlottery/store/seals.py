"""A seal in every file: the SHA-256 of all its bytes, taken while the seal's own digits are zeros.

So one changed, missing or added byte anywhere in a file is noticed before any parser sees it, whatever the format.
The format says where the seal stands, a mark and 64 hexadecimal digits: first in JSON and in a safetensors header, in
the last pair of ours in a Parquet footer, last in a document. The mark may occur anywhere else: it means nothing there.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path

MARK = "layerlottery-sha256:"
DIGITS = 64
# a file's placeholder until it is sealed
BLANK = MARK + DIGITS * "0"
# what stands before the seal, in JSON as `json.dumps` indents it and in a safetensors header
JSON_HEAD = b'{\n "artifact": {\n  "seal": "'
TENSORS_HEAD = b'{"__metadata__":{"layerlottery":"{\\"seal\\":\\"'
# and in a Parquet footer: Thrift's compact form of a key and the length of its value
PARQUET_KEY = b"\x18\x04seal\x18" + bytes([len(BLANK)])
# what may follow it in a document, up to the end
ENDINGS = (b" -->\n", b"\n")
# bytes: far more than facts ever take, and than a header may (safetensors' own limit)
MOST_FACTS, MOST_HEADER = 1 << 30, 100_000_000
# bytes: a file of so many is read at once
SMALL = 1 << 20
# earlier versions put the first mark of a file here
EARLIER = 1 << 20

Held = bytes | mmap.mmap


class BrokenSeal(Exception):  # noqa: N818 - said in the words of the artifact that it belongs to
    """The file holds no seal, or another one than its bytes have."""


def seal(path: Path) -> None:
    """Write the digest of a file that holds BLANK in the place of its format into it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as held:
        start = _digits(held)
        held[start : start + DIGITS] = _digest(held, start).encode()
        held.flush()


def check(path: Path) -> None:
    """Raise BrokenSeal unless the file's bytes are those that were sealed."""
    with _mapped(path) as held:
        _compare(held, _found(held))


def read(path: Path) -> bytes:
    """The bytes of a file, exactly those that were checked; raises BrokenSeal unless they were sealed."""
    if path.stat().st_size <= SMALL:
        taken = path.read_bytes()
        _compare(taken, _found(taken))
        return taken
    with _mapped(path) as held:
        # before the bytes are read: a file may be larger than the memory, and hold nothing of ours
        start = _found(held)
        taken = held[:]
    _compare(taken, start)
    return taken


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise BrokenSeal("not a file of this project: it is empty") from None


def _compare(held: Held, start: int) -> None:
    if held[start : start + DIGITS] != _digest(held, start).encode():
        raise BrokenSeal("its content does not match its hash")


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, for formats without a place for a seal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _found(held: Held) -> int:
    """The place of the digits, also in a file of an earlier version."""
    try:
        return _digits(held)
    except BrokenSeal:
        found = held.find(MARK.encode(), 0, EARLIER)
        if found < 0 or (len(held) > MOST_FACTS and len(held) != _tensors_size(held)):
            raise
        return found + len(MARK)


def _digits(held: Held) -> int:
    """Where the format has the seal's digits; raises BrokenSeal where there is none, or the end is missing.

    A format is known by both its ends: a document may begin with anything.
    """
    if held[: len(JSON_HEAD)] == JSON_HEAD and held[-3:] == b"\n}\n" and len(held) <= MOST_FACTS:
        start = len(JSON_HEAD)
    elif held[:4] == held[-4:] == b"PAR1":
        footer = len(held) - 8 - int.from_bytes(held[-8:-4], "little")
        start = held.rfind(PARQUET_KEY + MARK.encode(), max(footer, 0)) + len(PARQUET_KEY)
    elif held[8 : 8 + len(TENSORS_HEAD)] == TENSORS_HEAD and len(held) == _tensors_size(held):
        start = 8 + len(TENSORS_HEAD)
    else:
        start = next((len(held) - len(end) for end in ENDINGS if held[-len(end) :] == end), 0) - len(BLANK)
    if start < 0 or held[start : start + len(MARK)] != MARK.encode():
        raise BrokenSeal("not a file of this project, or its end is missing")
    return start + len(MARK)


def _tensors_size(held: Held) -> int:
    """The size that a safetensors file has by its header; -1 where that is none."""
    length = int.from_bytes(held[:8], "little")
    try:
        header = json.loads(held[8 : 8 + min(length, MOST_HEADER)])
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        return 8 + length + int(max(ends, default=0))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return -1


def _digest(held: Held, start: int) -> str:
    with memoryview(held) as view:
        seen = hashlib.sha256(view[:start])
        seen.update(DIGITS * b"0")
        seen.update(view[start + DIGITS :])
    return seen.hexdigest()
