"""Files that can be trusted: written atomically, stamped with hashes, checked whenever they are read.

Facts are JSON, tables are Parquet, weights are safetensors, image arrays are npy. Nothing is pickled.
Every artifact carries `content` (SHA-256 of what it holds) and `config_hash` (SHA-256 of the
configuration, code revision and inputs that made it).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery.errors import LayerLotteryError
from layerlottery.results.hashing import canonical, digest

Array = npt.NDArray[Any]


def array_digest(array: Array) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    seen = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name only when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; shared clusters expect what the umask allows
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_facts(path: Path, facts: Mapping[str, Any], *, config_hash: str) -> None:
    """Write a JSON artifact: the facts and the hashes that vouch for them."""
    stamp = {"config_hash": config_hash, "content": digest(facts)}
    write_text(path, json.dumps({"artifact": stamp, "facts": facts}, indent=1, allow_nan=False) + "\n")


def read_facts(path: Path) -> dict[str, Any]:
    """Read a JSON artifact; `config_hash` joins its facts. Raises when the content was changed."""
    try:
        held = json.loads(_present(path).read_text(encoding="utf-8"))
        facts, stamp = held["facts"], held["artifact"]
        intact = stamp["content"] == digest(facts)
        facts["config_hash"] = stamp["config_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path, f"not a facts file of this project ({type(error).__name__})") from error
    if not intact:
        raise _broken(path, "its content does not match its hash")
    return dict(facts)


def write_table(path: Path, table: pa.Table, *, config_hash: str) -> None:
    """Write a Parquet artifact; both hashes stand in the schema's metadata."""
    stamp = {"config_hash": config_hash, "content": _table_digest(table)}
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(stamp), temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a Parquet artifact. Raises when it is not one or its content was changed."""
    try:
        table = pq.ParquetFile(_present(path)).read()
        stamp = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        intact = stamp.get("content") == _table_digest(table) and "config_hash" in stamp
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken(path, f"not a readable Parquet file ({type(error).__name__})") from error
    if not intact:
        raise _broken(path, "its content does not match its hash")
    return table


def _table_digest(table: pa.Table) -> str:
    # over values: buffers' padding and the names inside list types may change in a round trip
    seen = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        seen.update(f"{field.name}:{column.to_pylist()!r};".encode())
    return seen.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Array], facts: Mapping[str, Any], *, config_hash: str) -> str:
    """Write named arrays and their facts as safetensors; returns the content hash."""
    import safetensors.numpy

    kept = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = _tensors_digest(kept, facts)
    stamp = {"facts": canonical(facts), "config_hash": config_hash, "content": content}
    with atomic(path) as temporary:
        # written here rather than by save_file, which would replace our temporary file's mode
        temporary.write_bytes(safetensors.numpy.save(kept, metadata=stamp))
    return content


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read named arrays and their facts, with `content` and `config_hash` joined to the facts."""
    import safetensors

    try:
        with safetensors.safe_open(_present(path), framework="numpy") as held:
            stamp = held.metadata() or {}
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        facts, made_by = json.loads(stamp["facts"]), stamp["config_hash"]
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise _broken(path, f"not a weights file of this project ({type(error).__name__})") from error
    if stamp.get("content") != _tensors_digest(tensors, facts):
        raise _broken(path, "its content does not match its hash")
    return tensors, facts | {"content": stamp["content"], "config_hash": made_by}


def read_weights(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and facts of a weights file, which name its architecture; a checkpoint's do not."""
    tensors, facts = read_tensors(path)
    if "architecture" not in facts:
        raise LayerLotteryError(f"{path}: holds no network; a checkpoint is no weights file")
    return tensors, facts


def _tensors_digest(tensors: Mapping[str, Array], facts: Mapping[str, Any]) -> str:
    return digest([{name: array_digest(array) for name, array in tensors.items()}, facts])


def write_array(path: Path, array: Array) -> str:
    """Write one npy file atomically; returns its content hash, to be kept in a facts file beside it."""
    with atomic(path) as temporary, temporary.open("wb") as sink:
        np.save(sink, array, allow_pickle=False)
    return array_digest(array)


def read_array(path: Path, content: str) -> Array:
    """Memory-map an npy file, copy on write, after checking it against the hash that its facts file holds."""
    _present(path)
    try:
        array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise _broken(path, f"not a readable npy file ({type(error).__name__})") from error
    if array_digest(array) != content:
        raise _broken(path, "its content does not match its hash")
    return array
