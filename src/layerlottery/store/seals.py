"""A seal in every file: the SHA-256 of all its bytes, taken while the seal's own digits are zeros.

So one changed, missing or added byte anywhere in a file is noticed before any parser sees it, whatever the format:
a mark and 64 hexadecimal digits stand in JSON, in the metadata of Parquet and safetensors, in a comment of a page.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

MARK = "layerlottery-sha256:"
DIGITS = 64
# a file's placeholder until it is sealed
BLANK = MARK + DIGITS * "0"


class BrokenSeal(Exception):  # noqa: N818 - said in the words of the artifact that it belongs to
    """The file holds no seal, or another one than its bytes have."""


def seal(path: Path) -> None:
    """Write the digest of a file that holds BLANK into it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as held:
        start = _digits(held)
        held[start : start + DIGITS] = _digest(held, start).encode()
        held.flush()


def check(path: Path) -> None:
    """Raise BrokenSeal unless the file's bytes are those that were sealed."""
    with path.open("rb") as file:
        try:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise BrokenSeal("not a file of this project: it is empty") from None
        with held:
            check_bytes(held)


def check_bytes(held: bytes | mmap.mmap) -> None:
    """`check` of a file that has been read."""
    start = _digits(held)
    if bytes(held[start : start + DIGITS]) != _digest(held, start).encode():
        raise BrokenSeal("its content does not match its hash")


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, for formats without a place for a seal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digits(held: bytes | mmap.mmap) -> int:
    found = held.find(MARK.encode())
    if found < 0 or found + len(BLANK) > len(held):
        raise BrokenSeal("not a file of this project, or its end is missing")
    return found + len(MARK)


def _digest(held: bytes | mmap.mmap, start: int) -> str:
    with memoryview(held) as view:
        seen = hashlib.sha256(view[:start])
        seen.update(DIGITS * b"0")
        seen.update(view[start + DIGITS :])
    return seen.hexdigest()
