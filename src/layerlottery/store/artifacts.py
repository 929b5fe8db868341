"""Files that can be trusted: written atomically, stamped with hashes, checked whenever they are read.

Facts are JSON, tables are Parquet, weights are safetensors, image arrays are npy, documents are text. Nothing is
pickled. Every artifact carries a stamp (see stamps.py): what made it, where it belongs, what it was made from; and a
seal (SHA-256 of all its bytes, see seals.py). An npy file's hash stands in the facts beside it. Tensors and facts also
carry `content`, SHA-256 of the values alone: later stages are made from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store import checked, seals, stamps
from layerlottery.store.hashing import digest
from layerlottery.store.regular import require_regular
from layerlottery.store.stamps import Inputs, Stamp

Array = npt.NDArray[Any]
# rows of a table that is not worth compressing, nor reading with several threads
SMALL = 1000
# rows that a file may hold, whatever its size, and how many more for each of its bytes
MOST_ROWS, MOST_ROWS_A_BYTE = 1_000_000, 64
# MAP_NORESERVE, which Python names from 3.13 on; other systems reserve nothing
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def array_digest(array: Array) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    seen = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name only when the block succeeds.

    An OSError that names no file, as a full disk's, is raised in the system's words and names `path`.
    """
    try:
        with _temporary(path) as temporary:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            # mkstemp makes private files; shared clusters expect what the umask allows
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        other = error.filename is not None and not Path(error.filename).name.startswith(f".{path.name}.")
        if other or error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def share(path: Path, other: Path) -> None:
    """Give a file a second name, or a copy where the file system has no second names; replaces what is there."""
    with atomic(other) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, temporary)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _broken(path: Path, reason: object) -> LayerLotteryError:
    text = " ".join(str(reason).split())
    # of the user's own files there is no rule
    remedy = f"; delete it, then recreate it: snakemake --cores all {path}" if paths.located(path) else ""
    return LayerLotteryError(f"{path}: {text}{remedy}")


def check(path: Path) -> Path:
    """The path of a file whose seal is intact; raises LayerLotteryError for any other."""
    try:
        seals.check(require_regular(path))
    except seals.BrokenSeal as broken:
        raise _broken(path, broken) from None
    return path


def _checked(path: Path) -> bytes:
    """The bytes of a file whose seal is intact: exactly the bytes that were checked are parsed."""
    try:
        return seals.read(require_regular(path))
    except seals.BrokenSeal as broken:
        raise _broken(path, broken) from None


def _in_place(path: Path, stamp: Stamp) -> Stamp:
    """The stamp of a file that lies where it belongs; raises LayerLotteryError for one of another place."""
    if (reason := stamp.misplaced(path)) is not None:
        raise _broken(path, reason)
    return stamp


@contextmanager
def _sealed(path: Path) -> Iterator[Path]:
    with atomic(path) as temporary:
        yield temporary
        seals.seal(temporary)


def write_document(
    path: Path, text: str, *, comment: tuple[str, str], config_hash: str, inputs: Inputs = stamps.NONE
) -> None:
    """Write a text file (UTF-8) whose last line, between the marks of a comment, holds its stamp and its seal."""
    first, last = comment
    line = f"{first}{Stamp.of(path, config_hash, inputs).text()} {seals.BLANK}{last}\n"
    with _sealed(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n{line}", encoding="utf-8")


def write_facts(path: Path, facts: Mapping[str, Any], *, config_hash: str, inputs: Inputs = stamps.NONE) -> None:
    """Write a JSON artifact: the facts, and first of all the stamp that vouches for them."""
    stamp = {"seal": seals.BLANK} | Stamp.of(path, config_hash, inputs, digest(facts)).facts()
    text = json.dumps({"artifact": stamp, "facts": facts}, indent=1, allow_nan=False) + "\n"
    with _sealed(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """Read a JSON artifact; `config_hash` joins its facts. Raises when it was changed or misplaced."""
    facts, stamp = read_stamped(path)
    return facts | {"config_hash": stamp.config_hash}


def read_stamped(path: Path) -> tuple[dict[str, Any], Stamp]:
    """Facts of a JSON artifact, and its stamp."""
    try:
        held = json.loads(_checked(path))
        facts, stamp = dict(held["facts"]), Stamp.from_facts(held["artifact"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, f"not a facts file of this project ({type(error).__name__})") from error
    return facts, _in_place(path, stamp)


@dataclass
class TableWriter:
    """Takes a table piece by piece; `config_hash` may be set until the last."""

    _writer: pq.ParquetWriter
    config_hash: str
    inputs: Inputs

    def write(self, piece: pa.Table | pa.RecordBatch) -> None:
        """Append rows of the table's schema."""
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        self._writer.write_table(table.replace_schema_metadata(None))


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, *, config_hash: str = "", inputs: Inputs = stamps.NONE, small: bool = False
) -> Iterator[TableWriter]:
    """Write a Parquet artifact of any size; it takes its name only when the block succeeds.

    A `small` one is written plainly: it is read faster so, and hardly larger.
    """
    how = {"compression": "none", "use_dictionary": False} if small else {"compression": "zstd"}
    with _sealed(path) as temporary, pq.ParquetWriter(temporary, schema.remove_metadata(), **how) as parquet:
        writer = TableWriter(parquet, config_hash, inputs)
        yield writer
        # the seal comes last: see seals.py
        pairs = Stamp.of(path, writer.config_hash, writer.inputs).pairs() | {"seal": seals.BLANK}
        parquet.add_key_value_metadata(pairs)


def write_table(path: Path, table: pa.Table, *, config_hash: str, inputs: Inputs = stamps.NONE) -> None:
    """Write a Parquet artifact; its stamp stands in the file's metadata."""
    how: dict[str, Any] = {"config_hash": config_hash, "inputs": inputs, "small": len(table) <= SMALL}
    with table_writer(path, table.schema, **how) as writer:
        writer.write(table)


def check_rows(path: Path, rows: int) -> None:
    """Raise LayerLotteryError for a Parquet file of a few bytes that would fill the memory with equal rows."""
    size = path.stat().st_size
    if rows > MOST_ROWS + MOST_ROWS_A_BYTE * size:
        raise LayerLotteryError(f"{path}: found {rows} rows in {size} bytes; no table is as uniform")


def read_table(path: Path) -> pa.Table:
    """Read a Parquet artifact; stamp and seal are its schema's metadata. Raises when it was changed or misplaced."""
    return read_stamped_table(path)[0]


def read_stamped_table(path: Path) -> tuple[pa.Table, Stamp]:
    """Rows of a Parquet artifact, and its stamp."""
    try:
        file = pq.ParquetFile(pa.BufferReader(_checked(path)), pre_buffer=False)
        check_rows(path, file.metadata.num_rows)
        table = file.read(use_threads=file.metadata.num_rows > SMALL)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, f"not a readable Parquet file ({type(error).__name__})") from error
    if b"config_hash" not in (table.schema.metadata or {}):
        raise _broken(path, "not a table of this project")
    return table, _in_place(path, Stamp.from_pairs(table.schema.metadata))


def read_result_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table of this schema; raises LayerLotteryError for one that an earlier version wrote."""
    table = read_table(path)
    if not table.schema.remove_metadata().equals(schema):
        raise LayerLotteryError(f"{path}: a table of an earlier version; recreate it: snakemake --cores all {path}")
    return table


def write_tensors(
    path: Path,
    tensors: Mapping[str, Array],
    facts: Mapping[str, Any],
    *,
    config_hash: str,
    inputs: Inputs = stamps.NONE,
) -> str:
    """Write named arrays and their facts as safetensors; returns the content hash."""
    import safetensors.numpy

    kept = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = _tensors_digest(kept, facts)
    text = Stamp.of(path, config_hash, inputs, content).text({"seal": seals.BLANK}, {"facts": facts})
    with _sealed(path) as temporary:
        # written here rather than by save_file, which would replace our temporary file's mode
        temporary.write_bytes(safetensors.numpy.save(kept, metadata={stamps.KEY: text}))
    return content


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read named arrays and their facts, with `content` and `config_hash` joined to the facts."""
    tensors, facts, stamp = read_stamped_tensors(path)
    return tensors, facts | {"content": stamp.content, "config_hash": stamp.config_hash}


def read_stamped_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any], Stamp]:
    """Named arrays, their facts, and the stamp of the file."""
    import safetensors

    try:
        with safetensors.safe_open(check(path), framework="numpy") as held:
            facts = json.loads((held.metadata() or {})[stamps.KEY])
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        stamp = Stamp.from_facts(facts)
        return tensors, dict(facts["facts"]), _in_place(path, stamp)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise _broken(path, f"not a weights file of this project ({type(error).__name__})") from error


def read_weights(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and facts of a weights file, which name its architecture; a checkpoint's do not.

    `content`, `config_hash` and `stamp` join the facts.
    """
    tensors, facts, stamp = read_stamped_tensors(path)
    if "architecture" not in facts:
        raise LayerLotteryError(f"{path}: holds no network; a checkpoint is no weights file")
    if "removed" in facts["architecture"]:
        raise LayerLotteryError(f"{path}: written by an earlier version; recreate it: snakemake --cores all {path}")
    return tensors, facts | {"content": stamp.content, "config_hash": stamp.config_hash, "stamp": stamp}


def _tensors_digest(tensors: Mapping[str, Array], facts: Mapping[str, Any]) -> str:
    return digest([{name: array_digest(array) for name, array in tensors.items()}, facts])


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


def fits_header(path: Path) -> bool:
    """Whether an npy file is as long as its header says."""
    try:
        array = np.lib.format.open_memmap(require_regular(path), mode="r")
    except Exception:  # as in read_array
        return False
    return bool(array.offset + array.nbytes == path.stat().st_size)


def read_array(path: Path, content: str) -> Array:
    """Memory-map an npy file, copy on write, after checking it against the hash that its facts file holds.

    A large file that was checked before, and was not touched since, is not read again: see checked.py.
    """
    if not path.exists():
        raise LayerLotteryError(f"{path}: no such file; recreate it: snakemake --cores all {path}")
    try:
        # unlike np.load it opens no other format, such as an archive of arrays
        array = np.lib.format.open_memmap(require_regular(path), mode="r")
        if array.offset + array.nbytes != path.stat().st_size:
            raise _broken(path, "its size does not match its header")
    except LayerLotteryError:
        raise
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise _broken(path, f"not a readable npy file ({type(error).__name__})") from error
    if not checked.is_remembered(path, content):
        seen = checked.state(path)
        if seals.file_digest(path) != content:
            raise _broken(path, "its content does not match its hash")
        checked.remember(path, content, seen)
    return _copied_on_write(path, array)


def _copied_on_write(path: Path, array: np.memmap[Any, Any]) -> Array:
    """The same array, which may be written to, though no file ever is."""
    # numpy's own mode "c" asks Linux to keep memory for a copy of every page: refused where the file is larger
    with path.open("rb") as file:
        flags, protection = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        held = mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
    order: Literal["C", "F"] = "F" if np.isfortran(array) else "C"
    return np.ndarray(array.shape, array.dtype, held, array.offset, order=order)
