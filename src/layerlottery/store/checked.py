"""Large arrays that were checked once: a note beside the file spares every later job the reading of all its bytes.

ImageNet's training images are 193 GB: to hash them takes minutes, and each of hundreds of jobs opens them. The note
holds the array's hash and what the file system says of the file: size, inode and times. Whatever writes, replaces or
copies the file changes one of them (no program can set the time of the last change), and the next job reads it all.
Only bytes that a disk alters by itself pass, and `layerlottery verify` finds those: it reads everything, always.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TypeVar

from layerlottery.errors import LayerLotteryError
from layerlottery.store.regular import require_regular

# bytes, about a second's work: smaller files are read whole at each opening
LARGE = 1 << 30
# and of a note at most
MOST_NOTE = 4096

State = dict[str, int]
AnyPath = TypeVar("AnyPath", bound=PurePath)


def state(path: Path) -> State:
    """Size, inode and times of a file: one of them changes whenever the file does."""
    found = path.stat()
    times = {"mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}
    return {"size": found.st_size, "inode": found.st_ino} | times


def note(path: AnyPath) -> AnyPath:
    """The note beside a file that says it was checked."""
    return path.with_name(f".{path.name}.checked")


def remember(path: Path, content: str, seen: State | None = None) -> None:
    """Note that a large file has this hash, if it still is as it was `seen` (now, if None); a small one needs no note.

    A note that can't be written is left out.
    """
    with suppress(OSError):
        found = state(path)
        if found["size"] < LARGE or found != (seen or found):
            return
        # several jobs may do so at once: the last one's is as good
        descriptor, temporary = tempfile.mkstemp(prefix=f"{note(path).name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"content": content} | found, file)
        Path(temporary).replace(note(path))


def is_remembered(path: Path, content: str) -> bool:
    """Whether a large file was found to have this hash, and was not touched since."""
    try:
        found = state(path)
        if found["size"] < LARGE:
            return False
        held = json.loads(require_regular(note(path), MOST_NOTE).read_text(encoding="utf-8"))
    except (LayerLotteryError, OSError, ValueError, RecursionError):
        return False
    return bool(held == {"content": content} | found)
