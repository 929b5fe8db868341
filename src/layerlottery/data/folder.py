"""Image folders: one sub-folder a class, its name the class name, classes in sorted order.

A test set may come in one folder instead, with a file that names the class of each image, as Tiny-ImageNet's does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerlottery.config.data import ANNOTATIONS, ImageFolder, place
from layerlottery.data.annotations import annotated
from layerlottery.data.decode import Decoded, Read, encoded_set
from layerlottery.data.listing import SUFFIXES, images_below, is_passed_over, kind_of, left_out
from layerlottery.data.prepared import Labels
from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError

# texts, since a million paths would fill a gigabyte
_Files = dict[str, list[str]]


def load_folder(settings: ImageFolder) -> Decoded:
    """List every folder of the set; images are decoded when they are asked for.

    Raises LayerLotteryError naming the folder or the image.
    """
    folders = {"train": place(settings.location, settings.train), "test": place(settings.location, settings.test)}
    folders |= {f"shifted.{name}": place(settings.location, folder) for name, folder in settings.shifted.items()}
    remarks = Remarks(settings.strict)
    train = _in_class_folders(folders["train"], remarks)
    classes = tuple(train)
    if empty := [name for name, images in train.items() if not images]:
        raise _no_images(folders["train"] / empty[0], remarks)
    parts = {"train": _part(folders["train"], train, classes)}
    others = {key: folder for key, folder in folders.items() if key != "train"}
    _check_annotations(settings, list(others.values()))
    for key, folder in others.items():
        files = _files(folder, classes, settings.annotations, remarks)
        if not any(files.values()):
            raise _no_images(folder, remarks)
        if strange := sorted(set(files) - set(classes)):
            raise LayerLotteryError(
                f"{folder}: its classes differ from those of the training folder in {', '.join(strange)}"
            )
        parts[key] = _part(folder, files, classes)
    return encoded_set(classes, settings, parts, remarks)


def _no_images(folder: Path, remarks: Remarks) -> LayerLotteryError:
    others = f"; left out: {remarks.line()}" if remarks.counts else ""
    return LayerLotteryError(f"{folder}: holds no images ({' '.join(sorted(SUFFIXES))}){others}")


def _check_annotations(settings: ImageFolder, folders: Sequence[Path]) -> None:
    paths = [folder / settings.annotations for folder in folders]
    if settings.annotations != ANNOTATIONS and not any(path.is_file() for path in paths):
        raise LayerLotteryError(f"{' and '.join(map(str, paths))}: no such file; it is named in annotations")


def _files(folder: Path, classes: tuple[str, ...], annotations: str, remarks: Remarks) -> _Files:
    """Image files by class, from class folders; where there are none, from the file that annotates the images."""
    listed = folder / annotations
    if listed.is_file() and not any((folder / name).is_dir() for name in classes):
        return annotated(listed, images_below(folder, remarks, besides=str(listed)))
    return _in_class_folders(folder, remarks)


def _in_class_folders(folder: Path, remarks: Remarks) -> _Files:
    """Image files by class; a class folder may hold none."""
    if not folder.is_dir():
        raise LayerLotteryError(f"{folder}: no such folder")
    classes = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        kind = kind_of(entry)
        if kind == "folder":
            classes += [] if is_passed_over(entry.name) else [entry.name]
        elif (reason := left_out(entry.name, kind)) is not None:
            remarks.add(reason or "in no class folder", entry.path)
    if not classes:
        raise LayerLotteryError(f"{folder}: holds no class folders")
    return {name: images_below(folder / name, remarks) for name in classes}


def _part(folder: Path, files: _Files, classes: tuple[str, ...]) -> tuple[str, Labels, Read]:
    counts = [len(files.get(name, ())) for name in classes]
    paths = [path for name in classes for path in files.get(name, ())]
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return str(folder), labels, lambda rows: ((paths[row], paths[row]) for row in rows.tolist())
