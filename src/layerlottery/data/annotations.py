"""A file that names the class of each image: val_annotations.txt of Tiny-ImageNet, or one of its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from layerlottery.errors import LayerLotteryError
from layerlottery.store.regular import require_regular

# of ImageNet's 1.3 million images it would take 80 MB
_MOST_BYTES = 1 << 28


def annotated(listed: Path, images: Sequence[str]) -> dict[str, list[str]]:
    """The `images` (paths below the file's folder, sorted) by class, classes in sorted order.

    A line is the name of an image (or its path from the file's folder), a tab, its class; what follows another tab,
    such as Tiny-ImageNet's bounding box, is not read. Raises LayerLotteryError naming the line when it is of another
    form or names no image, or an image a second time, and naming the first image that no line names.
    """
    places = _places(listed.parent, images)
    classes: dict[str, str] = {}
    for number, name, label in _lines(listed):
        found = places.get(name, [])
        if len(found) != 1:
            where = f"{len(found)} images of that name" if found else "no such image"
            raise LayerLotteryError(f"{listed}: line {number} names {name}, found {where} in {listed.parent}")
        if found[0] in classes:
            raise LayerLotteryError(f"{listed}: line {number} names {name} again, allowed: one line an image")
        classes[found[0]] = label
    if lacking := next((image for image in images if image not in classes), None):
        raise LayerLotteryError(f"{lacking}: {listed} names no class for it")
    files: dict[str, list[str]] = {label: [] for label in sorted(set(classes.values()))}
    for image in images:
        files[classes[image]].append(image)
    return files


def _places(folder: Path, images: Sequence[str]) -> Mapping[str, list[str]]:
    """Images by name, and by path from the folder."""
    places: dict[str, list[str]] = {}
    for image in images:
        path = PurePath(image)
        for name in {path.name, path.relative_to(folder).as_posix()}:
            places.setdefault(name, []).append(image)
    return places


def _lines(listed: Path) -> list[tuple[int, str, str]]:
    """Number (from 1), name and class of each line that is not empty."""
    try:
        lines = require_regular(listed, _MOST_BYTES).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise LayerLotteryError(f"{listed}: not a text in UTF-8") from None
    found = []
    for number, line in enumerate(lines, 1):
        name, *rest = line.strip().split("\t")
        if not name:
            continue
        if not rest or not rest[0]:
            raise LayerLotteryError(f"{listed}: line {number} is {line[:60]!r}, allowed: an image, a tab, its class")
        found.append((number, name, rest[0]))
    return found
