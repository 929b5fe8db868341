"""Files that can be read: a pipe would wait for ever, a device never ends, a folder holds no bytes."""

from __future__ import annotations

import stat
from pathlib import Path

from layerlottery.errors import LayerLotteryError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def irregular(path: Path) -> str | None:
    """The kind of thing that stands in a file's place; None for a regular file. Raises OSError as `stat` does."""
    return _kind(path.stat().st_mode)


def _kind(mode: int) -> str | None:
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no file")


def require_regular(path: Path, most: int | None = None) -> Path:
    """The path of a regular file of `most` bytes at most; raises LayerLotteryError for anything else, unopened."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise LayerLotteryError(f"{path}: no such file") from None
    if (kind := _kind(found.st_mode)) is not None:
        raise LayerLotteryError(f"{path}: found {kind}; allowed: a regular file")
    if most is not None and found.st_size > most:
        raise LayerLotteryError(f"{path}: found {found.st_size} bytes; allowed: {most} or fewer")
    return path
