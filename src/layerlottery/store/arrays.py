"""Arrays of images and labels: npy files of any size, whose hash stands in the facts beside them.

They are written piece by piece and read as memory maps; one that was checked once is not read whole again.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from layerlottery.errors import LayerLotteryError
from layerlottery.store import checked, seals
from layerlottery.store.artifacts import Array, atomic, broken
from layerlottery.store.regular import require_regular

# MAP_NORESERVE, which Python names from 3.13 on; other systems reserve nothing
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def write_array(path: Path, array: Array) -> str:
    """Write one npy file atomically; returns the SHA-256 of its bytes, to be kept in a facts file beside it."""
    with atomic(path) as temporary:
        # into a plain file numpy writes without Python, and its error on a full disk has no number
        with temporary.open("w+b") as sink:
            np.save(sink, array, allow_pickle=False)
        return seals.file_digest(temporary)


@dataclass
class ArrayWriter:
    """Takes an array piece by piece, along its first axis; `content` is the hash of what was written."""

    _path: Path
    _sink: BinaryIO
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]
    _left: int
    _seen: Any

    @property
    def content(self) -> str:
        """SHA-256 of the file's bytes, the header included."""
        return str(self._seen.hexdigest())

    def write(self, piece: Array) -> None:
        """Append rows, (n, …) of the array's type and form."""
        if piece.dtype != self._dtype or piece.shape[1:] != self._shape[1:] or len(piece) > self._left:
            wanted = f"{self._left} rows of {self._dtype} {self._shape}"
            raise ValueError(f"{piece.dtype} {piece.shape} found; allowed: at most {wanted}")
        self._left -= len(piece)
        self._put(np.ascontiguousarray(piece).data)

    def _put(self, held: bytes | memoryview) -> None:
        self._seen.update(held)
        try:
            self._sink.write(held)
        except OSError as error:
            # of several arrays that are open at once, this one is to be named
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error


@contextmanager
def array_writer(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[ArrayWriter]:
    """Write an npy file of any size with the memory of a piece: the bytes that np.save writes of a C-ordered array.

    It takes its name when the block succeeds. Raises ValueError when the pieces do not make up `shape`.
    """
    kind, header = np.dtype(dtype), io.BytesIO()
    form = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, form)
    with atomic(path) as temporary:
        # not through a memory map, whose process a full disk kills without a word
        with temporary.open("wb") as sink:
            writer = ArrayWriter(path, sink, shape, kind, shape[0], hashlib.sha256())
            writer._put(header.getvalue())
            yield writer
        if writer._left:
            raise ValueError(f"{path}: {writer._left} of {shape[0]} rows were not written")
    checked.remember(path, writer.content)


def open_array(path: Path) -> np.memmap[Any, Any]:
    """Memory-map an npy file of the size that its header says; its content is not looked at.

    Raises LayerLotteryError for any other file.
    """
    try:
        # unlike np.load it opens no other format, such as an archive of arrays
        array = np.lib.format.open_memmap(require_regular(path), mode="r")
    except LayerLotteryError:
        raise
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise broken(path, f"not a readable npy file ({type(error).__name__})") from error
    if array.offset + array.nbytes != path.stat().st_size:
        raise broken(path, "its size does not match its header")
    return array


def read_array(path: Path, content: str) -> Array:
    """Memory-map an npy file, copy on write, after checking it against the hash that its facts file holds.

    A large file that was checked before, and was not touched since, is not read again: see checked.py.
    """
    if not path.exists():
        raise LayerLotteryError(f"{path}: no such file; recreate it: snakemake --cores all {path}")
    array = open_array(path)
    if not checked.is_remembered(path, content):
        seen = checked.state(path)
        if seals.file_digest(path) != content:
            raise broken(path, "its content does not match its hash")
        checked.remember(path, content, seen)
    return _copied_on_write(path, array)


def still_whole(path: Path, array: Array) -> Callable[[], None]:
    """A check for an array of read_array: raises LayerLotteryError once its file was cut, before anything reads it.

    What is missing would read as zeros up to the end of a page, and after that end the process by SIGBUS.
    """
    held: Any = array.base
    # by the open file: another one that takes its name meanwhile changes nothing here
    size = held.size() if isinstance(held, mmap.mmap) else 0

    def check() -> None:
        if isinstance(held, mmap.mmap) and held.size() != size:
            raise broken(path, f"found {held.size()} bytes, expected {size}: it was cut while it was in use")

    return check


def _copied_on_write(path: Path, array: np.memmap[Any, Any]) -> Array:
    """The same array, which may be written to, though no file ever is."""
    # numpy's own mode "c" asks Linux to keep memory for a copy of every page: refused where the file is larger
    with path.open("rb") as file:
        flags, protection = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        held = mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
    order: Literal["C", "F"] = "F" if np.isfortran(array) else "C"
    return np.ndarray(array.shape, array.dtype, held, array.offset, order=order)
