"""Image folders: one sub-folder a class, its name the class name, classes in sorted order."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from layerlottery.data.decode import Decoded, Form, decode_all
from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import ImageFolder

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})

_Files = dict[str, list[Path]]


def load_folder(settings: ImageFolder) -> Decoded:
    """Decode every folder of the set. Raises LayerLotteryError naming the folder or the image."""
    location = Path(settings.location)
    folders = {"train": location / settings.train, "test": location / settings.test}
    folders |= {f"shifted.{name}": location / folder for name, folder in settings.shifted.items()}
    files = {key: _files(folder) for key, folder in folders.items()}
    classes = tuple(files["train"])
    for key, folder in folders.items():
        _check_classes(folder, tuple(files[key]), classes)
    form, splits = Form.wanted(settings), {}
    for key, folder in folders.items():
        log.info("decoding %s", folder)
        splits[key] = _decode_folder(files[key], form)
        form = form.followed_by(splits[key])
    shifted = {name: splits[f"shifted.{name}"] for name in settings.shifted}
    return Decoded(classes, splits["train"], splits["test"], shifted)


def _files(folder: Path) -> _Files:
    if not folder.is_dir():
        raise LayerLotteryError(f"{folder}: no such folder")
    # hidden folders are what tools leave behind (.ipynb_checkpoints), not classes
    classes = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes:
        raise LayerLotteryError(f"{folder}: holds no class folders")
    files = {one.name: _images(one) for one in classes}
    if empty := [name for name, images in files.items() if not images]:
        raise LayerLotteryError(f"{folder / empty[0]}: holds no images ({' '.join(sorted(SUFFIXES))})")
    return files


def _images(folder: Path) -> list[Path]:
    return sorted(
        one
        for one in folder.iterdir()
        if one.suffix.lower() in SUFFIXES and one.is_file() and not one.name.startswith(".")
    )


def _check_classes(folder: Path, found: tuple[str, ...], classes: tuple[str, ...]) -> None:
    if found != classes:
        differ = ", ".join(sorted(set(found) ^ set(classes)))
        raise LayerLotteryError(f"{folder}: its classes differ from those of the training folder in {differ}")


def _decode_folder(files: _Files, form: Form) -> Split:
    counts = [len(images) for images in files.values()]
    sources = ((str(path), path) for images in files.values() for path in images)
    images = decode_all(sources, sum(counts), form)
    return Split(images, np.repeat(np.arange(len(counts), dtype=np.int64), counts))
