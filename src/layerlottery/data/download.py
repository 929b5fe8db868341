"""Files from the net: resumed after an interruption, and given their name only when their hash is right."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from io import BufferedRandom
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from layerlottery import __version__
from layerlottery.errors import LayerLotteryError

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_TIMEOUT = 30.0
# failures in a row that bring no byte, before it is given up
_ATTEMPTS = 4
_TRY_AGAIN = frozenset({408, 425, 429})
_RANGE_NOT_SATISFIABLE = 416


class _LostError(Exception):
    """The connection failed; what came before it is kept and the rest is asked for again."""


@dataclass(frozen=True)
class Published:
    """A file at its publisher's: size in bytes, SHA-256 as 64 hexadecimal digits."""

    url: str
    size: int
    sha256: str


def download(file: Published, target: Path, *, pause: float = 1.0) -> Path:
    """Fetch a file to `target` and return that path; a target that is there is checked and never replaced.

    An interrupted download goes on where it stopped, in this call (after `pause` seconds, twice as many after each
    attempt in vain) and in the next one. Raises LayerLotteryError when the address is neither https nor this
    machine, when the server fails for good, when size or hash differ and when the disk does not take the file;
    nothing has the target's name then.
    """
    _check_address(file.url)
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _own(target.with_name(f".{target.name}.part")) as partial:
                _complete(file, partial, target, pause=pause)
        except OSError as error:
            raise LayerLotteryError(f"{error.filename or target}: {error.strerror or error}") from error
    read_verified(file, target)
    return target


def read_verified(file: Published, path: Path) -> bytes:
    """The bytes of a local copy. Raises LayerLotteryError when it is not the published file, byte by byte."""
    with path.open("rb") as source:
        found = os.fstat(source.fileno()).st_size
        content = source.read() if found == file.size else b""
    if found != file.size:
        raise LayerLotteryError(f"{path}: {found} bytes found, expected {file.size}; {_remedy(file)}")
    if (found_hash := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise LayerLotteryError(f"{path}: SHA-256 {found_hash} found, expected {file.sha256}; {_remedy(file)}")
    return content


def _remedy(file: Published) -> str:
    return f"delete it, or put the file of {file.url} there"


@contextmanager
def _own(path: Path) -> Iterator[BufferedRandom]:
    """Open a partial file that no other process writes meanwhile."""
    while True:
        with path.open("a+b") as partial:
            fcntl.flock(partial, fcntl.LOCK_EX)
            if _is_at(path, partial):
                yield partial
                return


def _is_at(path: Path, partial: BufferedRandom) -> bool:
    # the process that was waited for has renamed or removed the file that this one had opened
    try:
        return os.path.samestat(path.stat(), os.fstat(partial.fileno()))
    except FileNotFoundError:
        return False


def _complete(file: Published, partial: BufferedRandom, target: Path, *, pause: float) -> None:
    if target.exists():
        # another process has fetched it while this one waited
        Path(partial.name).unlink()
        return
    _fetch_all(file, partial, pause=pause)
    _check_partial(file, partial)
    Path(partial.name).replace(target)


def _fetch_all(file: Published, partial: BufferedRandom, *, pause: float) -> None:
    most, failed = _size(partial), 0
    while _size(partial) < file.size:
        reason = _fetch_rest(file, partial)
        if (held := _size(partial)) >= file.size:
            return
        most, failed = (held, 0) if held > most else (most, failed + 1)
        if failed == _ATTEMPTS:
            raise LayerLotteryError(f"{file.url}: {reason}; {held} of {file.size} bytes are kept for the next try")
        log.info("%s: %s; trying again", file.url, reason)
        time.sleep(pause * 2 ** (failed - 1))


def _fetch_rest(file: Published, partial: BufferedRandom) -> str:
    """Append what the server sends; returns why it stopped."""
    try:
        _append(file, partial)
    except _LostError as error:
        return str(error)
    return "the connection was closed too early"


def _append(file: Published, partial: BufferedRandom) -> None:
    start = _size(partial)
    tenth = 10 * start // file.size
    for offset, block in _blocks(file, start):
        if offset == 0:
            # also when a server that knows no ranges begins again
            partial.truncate(0)
        partial.write(block)
        partial.flush()
        if (done := 10 * (offset + len(block)) // file.size) > tenth:
            tenth = done
            log.info("%s: %d of %d MB", file.url, (offset + len(block)) >> 20, file.size >> 20)


def _blocks(file: Published, start: int) -> Iterator[tuple[int, bytes]]:
    """Offsets and bytes from `start` on, or from 0 where the server ignores ranges; never more than the size."""
    try:
        with _open(file.url, start) as answer:
            offset = start if answer.headers.get("Content-Range", "").startswith(f"bytes {start}-") else 0
            _check_size(file, answer, offset)
            while block := answer.read(min(_CHUNK, file.size - offset)):
                yield offset, block
                offset += len(block)
    except HTTPError as error:
        if error.code < 500 and error.code not in _TRY_AGAIN:
            raise LayerLotteryError(f"{file.url}: the server answers {error.code} {error.reason}") from error
        raise _LostError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _LostError(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _open(url: str, start: int) -> Any:
    headers = {"User-Agent": f"layerlottery/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(_Redirects)
    try:
        return opener.open(Request(url, headers=headers), timeout=_TIMEOUT)  # noqa: S310 - the address is checked
    except HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not start:
            raise
        return _open(url, 0)


def _check_size(file: Published, answer: Any, offset: int) -> None:
    held = answer.headers.get("Content-Length")
    if held is not None and held.isdigit() and offset + int(held) != file.size:
        raise LayerLotteryError(f"{file.url}: {offset + int(held)} bytes found, expected {file.size}")


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in {("http", "localhost"), ("http", "127.0.0.1")}:
        raise LayerLotteryError(f"{url}: found {parts.scheme or 'no scheme'}; allowed is https")


def _check_partial(file: Published, partial: BufferedRandom) -> None:
    partial.flush()
    os.fsync(partial.fileno())
    partial.seek(0)
    found = hashlib.file_digest(partial, "sha256").hexdigest()
    if found != file.sha256:
        Path(partial.name).unlink()
        raise LayerLotteryError(f"{file.url}: SHA-256 {found} found, expected {file.sha256}; nothing is kept")


def _size(partial: BufferedRandom) -> int:
    return os.fstat(partial.fileno()).st_size
