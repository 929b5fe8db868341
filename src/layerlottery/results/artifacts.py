"""Files that can be trusted: written atomically, stamped with hashes, checked whenever they are read.

Facts are JSON, tables are Parquet, weights are safetensors, image arrays are npy, documents are text. Nothing is
pickled. Every artifact carries `config_hash` (SHA-256 of the configuration, code revision and inputs that made it)
and a seal (SHA-256 of all its bytes, see seals.py); an npy file's hash stands in the facts beside it. Tensors also
carry `content`, SHA-256 of the values alone: later stages are made from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery.errors import LayerLotteryError
from layerlottery.results import seals
from layerlottery.results.hashing import canonical, digest

Array = npt.NDArray[Any]
# the one key of a safetensors file's metadata, whose order would be random
STAMP = "layerlottery"
# rows of a table that is not worth compressing, nor reading with several threads
SMALL = 1000


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
    return LayerLotteryError(f"{path}: {text}; delete it, then make it anew: snakemake --cores all {path}")


def _present(path: Path) -> Path:
    if not path.is_file():
        raise LayerLotteryError(f"{path}: no such file")
    return path


def check(path: Path) -> Path:
    """The path of a file whose seal is intact; raises LayerLotteryError for any other."""
    try:
        seals.check(_present(path))
    except seals.BrokenSeal as broken:
        raise _broken(path, broken) from None
    return path


def _checked(path: Path) -> bytes:
    """The bytes of a file whose seal is intact: what was checked is what is parsed."""
    try:
        held = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        held = _present(path).read_bytes()
    try:
        seals.check_bytes(held)
    except seals.BrokenSeal as broken:
        raise _broken(path, broken) from None
    return held


@contextmanager
def _sealed(path: Path) -> Iterator[Path]:
    with atomic(path) as temporary:
        yield temporary
        seals.seal(temporary)


def write_document(path: Path, text: str, *, comment: tuple[str, str], config_hash: str) -> None:
    """Write a text file (UTF-8) whose last line, between the marks of a comment, holds its hashes."""
    first, last = comment
    line = f"{first}made by {config_hash}, {seals.BLANK}{last}\n"
    with _sealed(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n{line}", encoding="utf-8")


def write_facts(path: Path, facts: Mapping[str, Any], *, config_hash: str) -> None:
    """Write a JSON artifact: the facts and the hashes that vouch for them."""
    stamp = {"config_hash": config_hash, "seal": seals.BLANK}
    text = json.dumps({"artifact": stamp, "facts": facts}, indent=1, allow_nan=False) + "\n"
    with _sealed(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_facts(path: Path) -> dict[str, Any]:
    """Read a JSON artifact; `config_hash` joins its facts. Raises when a byte of it was changed."""
    try:
        held = json.loads(_checked(path))
        return dict(held["facts"]) | {"config_hash": held["artifact"]["config_hash"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, f"not a facts file of this project ({type(error).__name__})") from error


@dataclass
class TableWriter:
    """Takes a table piece by piece; `config_hash` may be set until the last."""

    _writer: pq.ParquetWriter
    config_hash: str

    def write(self, piece: pa.Table | pa.RecordBatch) -> None:
        """Append rows of the table's schema."""
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        self._writer.write_table(table.replace_schema_metadata(None))


@contextmanager
def table_writer(path: Path, schema: pa.Schema, *, config_hash: str = "", small: bool = False) -> Iterator[TableWriter]:
    """Write a Parquet artifact of any size; it takes its name only when the block succeeds.

    A `small` one is written plainly: it is read faster so, and hardly larger.
    """
    how = {"compression": "none", "use_dictionary": False} if small else {"compression": "zstd"}
    with _sealed(path) as temporary, pq.ParquetWriter(temporary, schema.remove_metadata(), **how) as parquet:
        writer = TableWriter(parquet, config_hash)
        yield writer
        parquet.add_key_value_metadata({"config_hash": writer.config_hash, "seal": seals.BLANK})


def write_table(path: Path, table: pa.Table, *, config_hash: str) -> None:
    """Write a Parquet artifact; its hashes stand in the file's metadata."""
    with table_writer(path, table.schema, config_hash=config_hash, small=len(table) <= SMALL) as writer:
        writer.write(table)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet artifact; `config_hash` and `seal` are its schema's metadata. Raises when it was changed."""
    try:
        file = pq.ParquetFile(pa.BufferReader(_checked(path)), pre_buffer=False)
        table = file.read(use_threads=file.metadata.num_rows > SMALL)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, f"not a readable Parquet file ({type(error).__name__})") from error
    if b"config_hash" not in (table.schema.metadata or {}):
        raise _broken(path, "not a table of this project")
    return table


def write_tensors(path: Path, tensors: Mapping[str, Array], facts: Mapping[str, Any], *, config_hash: str) -> str:
    """Write named arrays and their facts as safetensors; returns the content hash."""
    import safetensors.numpy

    kept = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = _tensors_digest(kept, facts)
    stamp = {"facts": facts, "config_hash": config_hash, "content": content, "seal": seals.BLANK}
    with _sealed(path) as temporary:
        # written here rather than by save_file, which would replace our temporary file's mode
        temporary.write_bytes(safetensors.numpy.save(kept, metadata={STAMP: canonical(stamp)}))
    return content


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read named arrays and their facts, with `content` and `config_hash` joined to the facts."""
    import safetensors

    try:
        with safetensors.safe_open(check(path), framework="numpy") as held:
            stamp = json.loads((held.metadata() or {})[STAMP])
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        facts = stamp["facts"] | {name: stamp[name] for name in ("content", "config_hash")}
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise _broken(path, f"not a weights file of this project ({type(error).__name__})") from error
    return tensors, facts


def read_weights(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and facts of a weights file, which name its architecture; a checkpoint's do not."""
    tensors, facts = read_tensors(path)
    if "architecture" not in facts:
        raise LayerLotteryError(f"{path}: holds no network; a checkpoint is no weights file")
    return tensors, facts


def _tensors_digest(tensors: Mapping[str, Array], facts: Mapping[str, Any]) -> str:
    return digest([{name: array_digest(array) for name, array in tensors.items()}, facts])


def write_array(path: Path, array: Array) -> str:
    """Write one npy file atomically; returns the SHA-256 of its bytes, to be kept in a facts file beside it."""
    with atomic(path) as temporary:
        # into a plain file numpy writes without Python, and its error on a full disk has no number
        with temporary.open("w+b") as sink:
            np.save(sink, array, allow_pickle=False)
        return seals.file_digest(temporary)


def read_array(path: Path, content: str) -> Array:
    """Memory-map an npy file, copy on write, after checking it against the hash that its facts file holds."""
    if not path.is_file():
        raise LayerLotteryError(f"{path}: no such file; make it anew: snakemake --cores all {path}")
    if seals.file_digest(path) != content:
        raise _broken(path, "its content does not match its hash")
    try:
        # unlike np.load it opens no other format, such as an archive of arrays
        array: Array = np.lib.format.open_memmap(path, mode="c")
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise _broken(path, f"not a readable npy file ({type(error).__name__})") from error
    return array
