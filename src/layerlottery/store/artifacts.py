"""Files that can be trusted: written atomically, stamped with hashes, checked whenever they are read.

Facts are JSON, tables are Parquet, weights are safetensors, image arrays are npy, documents are text. Nothing is
pickled. Every artifact carries a stamp (see stamps.py): what made it, where it belongs, what it was made from; and a
seal (SHA-256 of all its bytes, see seals.py). An npy file's hash stands in the facts beside it. Tensors and facts also
carry `content`, SHA-256 of the values alone: later stages are made from it.

Functions of tables import pyarrow when they are called: tickets of the library are kept without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store import seals, stamps
from layerlottery.store.hashing import digest
from layerlottery.store.regular import require_regular
from layerlottery.store.stamps import Inputs, Stamp

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Array = npt.NDArray[Any]
# rows of a table that is not worth compressing, nor reading with several threads
SMALL = 1000
# rows that a file may hold, whatever its size, and how many more for each of its bytes
MOST_ROWS, MOST_ROWS_A_BYTE = 1_000_000, 64


def as_path(path: object) -> Path:
    """The path of a file that a function of the library was given; raises LayerLotteryError for what is none."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        found = repr(path) if isinstance(path, str) else type(path).__name__
        raise LayerLotteryError(f"path: found {found}; allowed: the path of a file")
    return Path(path)


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


def broken(path: Path, reason: object) -> LayerLotteryError:
    """The error of a file that can't be trusted, with what to do about it."""
    text = " ".join(str(reason).split())
    # of the user's own files there is no rule
    remedy = f"; delete it, then recreate it: snakemake --cores all {path}" if paths.located(path) else ""
    return LayerLotteryError(f"{path}: {text}{remedy}")


def check(path: Path) -> Path:
    """The path of a file whose seal is intact; raises LayerLotteryError for any other."""
    try:
        seals.check(require_regular(path))
    except seals.BrokenSeal as found:
        raise broken(path, found) from None
    return path


def _checked(path: Path) -> bytes:
    """The bytes of a file whose seal is intact: exactly the bytes that were checked are parsed."""
    try:
        return seals.read(require_regular(path))
    except seals.BrokenSeal as found:
        raise broken(path, found) from None


def _in_place(path: Path, stamp: Stamp) -> Stamp:
    """The stamp of a file that lies where it belongs; raises LayerLotteryError for one of another place."""
    if (reason := stamp.misplaced(path)) is not None:
        raise broken(path, reason)
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
        raise broken(path, f"not a facts file of this project ({type(error).__name__})") from error
    return facts, _in_place(path, stamp)


@dataclass
class TableWriter:
    """Takes a table piece by piece; `config_hash` may be set until the last."""

    _writer: pq.ParquetWriter
    config_hash: str
    inputs: Inputs

    def write(self, piece: pa.Table | pa.RecordBatch) -> None:
        """Append rows of the table's schema."""
        import pyarrow as pa

        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        self._writer.write_table(table.replace_schema_metadata(None))


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, *, config_hash: str = "", inputs: Inputs = stamps.NONE, small: bool = False
) -> Iterator[TableWriter]:
    """Write a Parquet artifact of any size; it takes its name only when the block succeeds.

    A `small` one is written plainly: it is read faster so, and hardly larger.
    """
    import pyarrow.parquet as pq

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(_checked(path)), pre_buffer=False)
        check_rows(path, file.metadata.num_rows)
        table = file.read(use_threads=file.metadata.num_rows > SMALL)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise broken(path, f"not a readable Parquet file ({type(error).__name__})") from error
    if b"config_hash" not in (table.schema.metadata or {}):
        raise broken(path, "not a table of this project")
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
        raise broken(path, f"not a weights file of this project ({type(error).__name__})") from error


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
