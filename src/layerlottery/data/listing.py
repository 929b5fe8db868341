"""The image files of a folder, and which of its other files might have been images, too."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError

SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".pnm"),
        *(".tif", ".tiff", ".webp", ".avif"),
    }
)
# texts beside images, such as Tiny-ImageNet's boxes
NO_IMAGES = frozenset(
    {
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".md", ".rst"),
        *(".html", ".htm", ".log", ".py", ".sh", ".ipynb"),
    }
)
# what systems and their tools put beside images: thumbnails, settings of a window, remains of a repair
OF_SYSTEMS = frozenset(
    {
        *("@eadir", "#recycle", "__macosx", "lost+found", "system volume information", "$recycle.bin"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("found.000", "network trash folder", "temporary items", "_vti_cnf", "__pycache__"),
        # snapshots, thumbnails and recycle bins of Synology, QNAP and NetApp; by name, for a class may be called #1
        *("@tmp", "@synoresource", "@recycle", "@__thumb", "@recently-snapshot", "#snapshot", "~snapshot"),
    }
)

Kind = Literal["file", "folder", "link that leads nowhere", "other"]


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden or a system's own."""
    return name.startswith(".") or name.casefold() in OF_SYSTEMS


def images_below(folder: Path, remarks: Remarks, *, besides: str = "") -> list[str]:
    """Paths of the image files in a folder and, at any depth, in the folders below it, sorted.

    Links to files are followed, and so are links to folders, but not in a circle. What may be an image and is not
    taken is noted in `remarks`, apart from the file `besides`. Raises LayerLotteryError for an unreadable folder.
    """
    found: list[str] = []
    try:
        entries = sorted(_walk(str(folder), (os.path.realpath(folder),)))
    except OSError as error:
        raise LayerLotteryError(f"{error.filename or folder}: {error.strerror or error}") from error
    for path, reason in entries:
        if reason and path != besides:
            remarks.add(reason, path)
        elif not reason:
            found.append(path)
    return found


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Paths, and why one is left out (empty for an image)."""
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = kind_of(entry)
            if kind == "folder":
                if not is_passed_over(entry.name) and (real := os.path.realpath(entry.path)) not in above:
                    yield from _walk(entry.path, (*above, real))
            elif (reason := left_out(entry.name, kind)) is not None:
                yield entry.path, reason


def kind_of(entry: os.DirEntry[str]) -> Kind:
    """What an entry is or leads to."""
    # the directory itself knows which entries are files: asking for each takes long with a million
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "link that leads nowhere"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def left_out(name: str, kind: Kind) -> str | None:
    """Why a file that may be an image is not taken: empty for one that is, None for what can't be an image."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if name.startswith("."):
        # macOS writes ._x.png beside x.png, which holds no pixels
        return "hidden" if suffix in SUFFIXES and not name.startswith("._") else None
    if suffix in NO_IMAGES or is_passed_over(name):
        return None
    if kind != "file":
        return kind if kind != "other" else "neither file nor folder"
    return "" if suffix in SUFFIXES else "of a type that is not read"
