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
from functools import partial
from http.client import HTTPException
from io import BufferedRandom, BufferedReader, BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from layerlottery.errors import LayerLotteryError
from layerlottery.store.regular import require_regular
from layerlottery.version import __version__

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_TIMEOUT = 30.0
# failures in a row that bring no byte, before it is given up
_ATTEMPTS = 4
_TRY_AGAIN = frozenset({408, 425, 429})
_RANGE_NOT_SATISFIABLE = 416
# how often a download of unknown size says how far it is
_PROGRESS = 1 << 28


class _LostError(Exception):
    """The connection failed; what came before it is kept and the rest is asked for again."""


@dataclass(frozen=True)
class Published:
    """A file at its publisher's: size in bytes, SHA-256 and MD5 as hexadecimal digits.

    Facts that the publisher does not give are None; one hash is required, and of two the SHA-256 counts.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        if not (self.sha256 or self.md5):
            raise ValueError(f"{self.url}: no hash vouches for it")

    def mistake(self, content: BufferedReader | BufferedRandom | BytesIO) -> str | None:
        """How these bytes differ from the published ones, None if they do not; they are read piece by piece."""
        found = content.seek(0, os.SEEK_END)
        content.seek(0)
        if self.size not in (None, found):
            return f"{found} bytes found, expected {self.size}"
        kind, expected = ("SHA-256", self.sha256) if self.sha256 else ("MD5", self.md5)
        algorithm = partial(hashlib.new, kind.replace("-", ""), usedforsecurity=False)
        if (held := hashlib.file_digest(content, algorithm).hexdigest()) != expected:
            return f"{kind} {held} found, expected {expected}"
        return None


def download(file: Published, target: Path, *, pause: float = 1.0) -> Path:
    """Fetch a file to `target` and return that path; a target that is there is checked and never replaced.

    An interrupted download goes on where it stopped, in this call (after `pause` seconds, twice as many after each
    attempt in vain) and in the next one. Raises LayerLotteryError when the address is neither https nor this
    machine, when the server fails for good, when size or hash differ and when the disk does not take the file;
    nothing has the target's name then.
    """
    _check_address(file.url)
    if not target.exists():
        log.info("fetching %s to %s", file.url, target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _own(target.with_name(f".{target.name}.part")) as unfinished:
                # another process may have fetched it while this one waited
                if not target.exists():
                    _fetch(file, unfinished, pause=pause)
                    Path(unfinished.name).replace(target)
                else:
                    Path(unfinished.name).unlink()
        except OSError as error:
            raise LayerLotteryError(f"{error.filename or target}: {error.strerror or error}") from error
    verify(file, target)
    return target


def verify(file: Published, path: Path) -> None:
    """Raise LayerLotteryError when a local copy, of any size, is not the published file, byte by byte."""
    with require_regular(path).open("rb") as source:
        _refuse(file, path, file.mistake(source))


def read_verified(file: Published, path: Path) -> bytes:
    """The bytes of a local copy. Raises LayerLotteryError when it is not the published file, byte by byte."""
    with require_regular(path).open("rb") as source:
        # a file of another size may be too large to be read
        if file.size not in (None, os.fstat(source.fileno()).st_size):
            _refuse(file, path, file.mistake(source))
        content = source.read()
    _refuse(file, path, file.mistake(BytesIO(content)))
    return content


def _refuse(file: Published, path: Path, mistake: str | None) -> None:
    if mistake:
        raise LayerLotteryError(f"{path}: {mistake}; delete it, or put the file of {file.url} there")


@contextmanager
def _own(path: Path) -> Iterator[BufferedRandom]:
    """Open an unfinished file that no other process writes meanwhile."""
    while True:
        with open(path, "a+b", opener=_no_link) as unfinished:
            fcntl.flock(unfinished, fcntl.LOCK_EX)
            if _is_at(path, unfinished):
                yield unfinished
                return


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _is_at(path: Path, unfinished: BufferedRandom) -> bool:
    # the process that was waited for has renamed or removed the file that this one had opened
    try:
        return os.path.samestat(path.stat(), os.fstat(unfinished.fileno()))
    except FileNotFoundError:
        return False


def _fetch(file: Published, unfinished: BufferedRandom, *, pause: float) -> None:
    """Complete the file, or throw it away when it is not the published one."""
    most, failed, whole = _size(unfinished), 0, _is_whole(file, unfinished)
    while not whole and (reason := _append(file, unfinished)) is not None:
        held = _size(unfinished)
        most, failed = (held, 0) if held > most else (most, failed + 1)
        if failed == _ATTEMPTS:
            of = f"of {file.size} " if file.size else ""
            raise LayerLotteryError(f"{file.url}: {reason}; {held} {of}bytes are kept for the next try")
        log.info("%s: %s; trying again", file.url, reason)
        time.sleep(pause * 2 ** (failed - 1))
    unfinished.flush()
    os.fsync(unfinished.fileno())
    if mistake := file.mistake(unfinished):
        Path(unfinished.name).unlink()
        raise LayerLotteryError(f"{file.url}: {mistake}; nothing is kept")


def _is_whole(file: Published, unfinished: BufferedRandom) -> bool:
    if file.size is not None:
        return _size(unfinished) >= file.size
    # only the hash tells that nothing is missing
    return _size(unfinished) > 0 and file.mistake(unfinished) is None


def _append(file: Published, unfinished: BufferedRandom) -> str | None:
    """Append what the server sends; returns why it stopped before the end, as far as the server announces one."""
    total, said = file.size, _size(unfinished)
    try:
        for offset, block, total in _blocks(file, _size(unfinished)):
            if block and offset == 0:
                # also when a server that knows no ranges begins again
                unfinished.truncate(0)
            unfinished.write(block)
            unfinished.flush()
            done = offset + len(block)
            if done - said >= (total // 10 if total else _PROGRESS):
                said = done
                log.info("%s: %d of %s MB", file.url, done >> 20, total >> 20 if total else "?")
    except _LostError as error:
        return None if file.size and _size(unfinished) >= file.size else str(error)
    return None if total is None or _size(unfinished) >= total else "the connection was closed too early"


def _blocks(file: Published, start: int) -> Iterator[tuple[int, bytes, int | None]]:
    """Offsets, bytes and whole size from `start` on, or from 0 where the server ignores ranges; no more than that."""
    try:
        with _open(file.url, start) as answer:
            offset = start if answer.headers.get("Content-Range", "").startswith(f"bytes {start}-") else 0
            total = _total(file, answer, offset)
            yield offset, b"", total
            while block := answer.read(_CHUNK if total is None else min(_CHUNK, total - offset)):
                yield offset, block, total
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


def _total(file: Published, answer: Any, offset: int) -> int | None:
    """The size that the publisher or else the server names, which agree; None where neither does."""
    held = answer.headers.get("Content-Length")
    if held is None or not held.isdigit():
        return file.size
    total = offset + int(held)
    if file.size not in (None, total):
        raise LayerLotteryError(f"{file.url}: {total} bytes found, expected {file.size}")
    return total


class _Redirects(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in {("http", "localhost"), ("http", "127.0.0.1")}:
        raise LayerLotteryError(f"{url}: found {parts.scheme or 'no scheme'}; allowed: https")


def _size(unfinished: BufferedRandom) -> int:
    return os.fstat(unfinished.fileno()).st_size
