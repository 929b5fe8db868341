"""Image folders: one sub-folder a class, its name the class name, classes in sorted order.

A test set may come in one folder instead, with a file that names the class of each image, as Tiny-ImageNet's does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from layerlottery.config.data import ANNOTATIONS, ImageFolder
from layerlottery.data.annotations import annotated
from layerlottery.data.decode import Decoded, Read, encoded_set
from layerlottery.data.prepared import Labels
from layerlottery.errors import LayerLotteryError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})

# texts, since a million paths would fill a gigabyte
_Files = dict[str, list[str]]


def load_folder(settings: ImageFolder) -> Decoded:
    """List every folder of the set; images are decoded when they are asked for.

    Raises LayerLotteryError naming the folder or the image.
    """
    location = Path(settings.location)
    train, others = location / settings.train, {"test": location / settings.test}
    others |= {f"shifted.{name}": location / folder for name, folder in settings.shifted.items()}
    files = {"train": _in_class_folders(train)}
    classes = tuple(files["train"])
    _check_annotations(settings, list(others.values()))
    for key, folder in others.items():
        files[key] = _files(folder, classes, settings.annotations)
        if differ := sorted(set(files[key]) ^ set(classes)):
            reason = f"its classes differ from those of the training folder in {', '.join(differ)}"
            raise LayerLotteryError(f"{folder}: {reason}")
    folders = {"train": train, **others}
    return encoded_set(classes, settings, {key: _part(folder, files[key]) for key, folder in folders.items()})


def _check_annotations(settings: ImageFolder, folders: Sequence[Path]) -> None:
    paths = [folder / settings.annotations for folder in folders]
    if settings.annotations != ANNOTATIONS and not any(path.is_file() for path in paths):
        raise LayerLotteryError(f"{' and '.join(map(str, paths))}: no such file; it is named in annotations")


def _files(folder: Path, classes: tuple[str, ...], annotations: str) -> _Files:
    """Image files by class, from class folders; where there are none, from the file that annotates the images."""
    listed = folder / annotations
    if listed.is_file() and not any((folder / name).is_dir() for name in classes):
        return annotated(listed, images_below(folder))
    return _in_class_folders(folder)


def _in_class_folders(folder: Path) -> _Files:
    if not folder.is_dir():
        raise LayerLotteryError(f"{folder}: no such folder")
    # hidden folders are what tools leave behind (.ipynb_checkpoints), not classes
    classes = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes:
        raise LayerLotteryError(f"{folder}: holds no class folders")
    files = {one.name: images_below(one) for one in classes}
    if empty := [name for name, images in files.items() if not images]:
        raise LayerLotteryError(f"{folder / empty[0]}: holds no images ({' '.join(sorted(SUFFIXES))})")
    return files


def images_below(folder: Path) -> list[str]:
    """Paths of the image files in a folder and, at any depth, in the folders below it, sorted.

    Hidden ones are left out. Links to files are followed, and so are links to folders, but not in a circle.
    """
    return sorted(_walk(str(folder), (os.path.realpath(folder),)))


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    # the directory itself knows which entries are files: asking for each takes long with a million
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():  # noqa: PTH122
                yield entry.path
            elif entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
                yield from _walk(entry.path, (*above, real))


def _part(folder: Path, files: _Files) -> tuple[str, Labels, Read]:
    counts = [len(images) for images in files.values()]
    paths = [path for images in files.values() for path in images]
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return str(folder), labels, lambda rows: ((paths[row], paths[row]) for row in rows.tolist())
