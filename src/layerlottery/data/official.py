"""Published test sets of CIFAR: their files in a folder, checked and read; nothing of them is ever unpickled.

CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich 2019, arXiv:1903.12261): one npy array a corruption, five blocks of
the test images, severity 1 first, and labels.npy; in a tar, or extracted. CIFAR-10.1 v6 (Recht et al. 2018,
arXiv:1806.00451) and CIFAR-10.2 (Lu et al. 2020): 2,000 newly collected images.
"""

from __future__ import annotations

import io
import logging
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from layerlottery.config.data import OfficialCorruptions, OfficialSettings, OfficialShift, place
from layerlottery.data.download import Published, download, read_verified, verify
from layerlottery.data.official_classes import CLASSES, are_numbers, places
from layerlottery.data.pixels import resize
from layerlottery.data.prepared import Images, Labels, Split
from layerlottery.data.published import OFFICIAL
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts
from layerlottery.store.regular import require_regular

log = logging.getLogger(__name__)

# the published images, as (H, W, C)
_SHAPE = (32, 32, 3)
_SEVERITIES = 5
_LABELS = "labels"
# images and labels: which of the set's files holds them, and as what; its other arrays are not read
_ARRAYS: dict[str, Any] = {"CIFAR-10.1": [(0, ...), (1, ...)], "CIFAR-10.2": [(0, "images"), (0, "labels")]}


def load_shifted(
    settings: OfficialSettings, *, channels: int, classes: Sequence[str], image_size: int, present: Sequence[str] = ()
) -> dict[str, Split]:
    """CIFAR-10.1 and CIFAR-10.2, where `settings` asks for them, as "cifar10.1" and "cifar10.2".

    Images become uint8 (2000, 3, image_size, image_size), labels those of the same class among `classes`. `present`
    are the shifted sets that the image set already has. Raises LayerLotteryError when the image set has no colours or
    classes that can't be matched by name, when a name is taken, and when a file is missing, can't be fetched or is
    another one.
    """
    splits: dict[str, Split] = {}
    for name in get_args(OfficialShift):
        if name not in settings.sets:
            continue
        _check_fit(name, channels=channels, classes=len(classes))
        order = places(name, classes)
        if (key := name.replace("-", "").lower()) in present:
            raise LayerLotteryError(f"official.sets: {name} would be a second shifted set named {key}")
        files = _whole_files(name, settings)
        images, labels = (_array(files[at], key) for at, key in _ARRAYS[name])
        _check_images(files[0][0], images)
        targets = _checked_labels(files[-1][0], labels, classes=10, counts=(len(images),))
        splits[key] = Split(resize(images, image_size), order[targets])
    return splits


def _check_fit(
    name: OfficialCorruptions | OfficialShift, *, channels: int, classes: int, image_size: int | None = None
) -> None:
    side = None if image_size is None else _SHAPE[0]
    if (fitting := _described(len(CLASSES[name]), 3, side)) != (found := _described(classes, channels, image_size)):
        raise LayerLotteryError(f"official.sets: {name} belongs to a set of {fitting}; this one is of {found}")


def _described(classes: int, channels: int, side: int | None) -> str:
    pixels = "" if side is None else f", {side}x{side} pixels"
    return f"{classes} classes, {channels} channel{'s' * (channels > 1)}{pixels}"


def _whole_files(name: OfficialShift, settings: OfficialSettings) -> list[tuple[str, bytes]]:
    """Paths and verified bytes of a set's files, fetched where they may be."""
    contents = []
    for file, published in OFFICIAL[name].items():
        held = [place(settings.location, file), place(settings.location, name, file)]
        path = next((path for path in held if path.exists()), held[0])
        if not path.exists():
            _fetch(published, path, settings)
        contents.append((str(path), read_verified(published, path)))
    return contents


def _fetch(file: Published, path: Path, settings: OfficialSettings, *, wanted: Path | None = None) -> None:
    if not settings.download:
        raise LayerLotteryError(
            f"{wanted or path}: no such file, and official.download is false; put {path.name} of {file.url} "
            f"into {path.parent}, or set official.download: true"
        )
    download(file, path)


def _array(file: tuple[str, bytes], key: Any) -> npt.NDArray[Any]:
    """The array of that name of an archive (npz), or all (...) of a file that is one (npy)."""
    path, content = file
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)[key]
        return array
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise LayerLotteryError(f"{path}: not readable as arrays of numbers ({type(error).__name__})") from error


@dataclass(frozen=True)
class CorruptedSet:
    """The arrays of CIFAR-10-C or CIFAR-100-C, memory-mapped.

    labels: int64 (N,), the same for every corruption and severity; the order is that of CIFAR's test images.
    `numbered`: the image set names no classes, so nothing shows yet that they are in the published order.
    """

    name: OfficialCorruptions
    labels: Labels
    arrays: dict[str, npt.NDArray[np.uint8]]
    numbered: bool = False

    def take(self, corruption: str, severity: int, rows: npt.NDArray[np.intp]) -> Images:
        """The images at `rows` (0 to N - 1) under one corruption and severity, uint8 (len(rows), 3, 32, 32)."""
        chosen = self.arrays[corruption][rows + (severity - 1) * len(self.labels)]
        return np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))


def open_corrupted(
    settings: OfficialSettings, names: Sequence[str], *, channels: int, classes: Sequence[str], image_size: int
) -> CorruptedSet | None:
    """The corrupted set that `settings` asks for, with the corruptions `names`; None if it isn't there or asked for.

    Files are taken from the folder of the set's name in the location, or from the location itself; what they lack is
    extracted from the set's tar, which is fetched where that is allowed. Raises LayerLotteryError when the set belongs
    to other images or classes, when the tar is not the published one, and when a file is missing or of another form.
    `names` holds at least one. Labels become those of the same class, by name, among `classes`.
    """
    asked: list[OfficialCorruptions] = [name for name in get_args(OfficialCorruptions) if name in settings.sets]
    for name in asked:
        _check_fit(name, channels=channels, classes=len(classes), image_size=image_size)
    # no set of images has two that fit
    for name in asked:
        numbered = are_numbers(classes)
        order = np.arange(len(classes)) if numbered else places(name, classes)
        if paths := _corrupted_files(name, [_LABELS, *names], settings):
            held = _open(name, paths)
            return replace(held, labels=order[held.labels], numbered=numbered)
        log.info("%s is not in %s, and official.download is false", name, settings.location)
    return None


def _open(name: OfficialCorruptions, paths: dict[str, Path]) -> CorruptedSet:
    arrays = {kind: _mapped(path) for kind, path in paths.items()}
    labels, rows = arrays.pop(_LABELS), 0
    for kind, array in arrays.items():
        _check_images(str(paths[kind]), array)
        rows = rows or len(array)
        if len(array) != rows or rows % _SEVERITIES:
            allowed = "5 times as many as tested" if rows % _SEVERITIES else f"{rows}, as many as in the others"
            raise LayerLotteryError(f"{paths[kind]}: {len(array)} images found, allowed: {allowed}")
    images, path = rows // _SEVERITIES, paths[_LABELS]
    # labels of one severity or of all are both in use
    targets = _checked_labels(str(path), labels, classes=len(CLASSES[name]), counts=(rows, images))
    if np.any(targets.reshape(-1, images) != targets[:images]):
        raise LayerLotteryError(f"{path}: labels differ between severities, allowed: the same for all")
    return CorruptedSet(name, targets[:images], arrays)


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        # unlike np.load it opens no other format, and no array of objects
        return np.lib.format.open_memmap(require_regular(path), mode="r")
    except LayerLotteryError:
        raise
    except Exception as error:  # a damaged header is Python text to numpy: its tokenizer's errors come through
        raise LayerLotteryError(f"{path}: not a readable npy file of numbers ({type(error).__name__})") from error


def _check_images(path: str, images: npt.NDArray[Any]) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != _SHAPE or not len(images):
        raise LayerLotteryError(f"{path}: {images.dtype} {images.shape} found, allowed: uint8 (images, 32, 32, 3)")


def _checked_labels(path: str, labels: npt.NDArray[Any], *, classes: int, counts: tuple[int, ...]) -> Labels:
    """Labels of any integer type as int64."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels):
        raise LayerLotteryError(f"{path}: {labels.dtype} {labels.shape} found, allowed: one integer an image")
    if len(labels) not in counts:
        raise LayerLotteryError(f"{path}: {len(labels)} labels found, allowed: {' or '.join(map(str, counts))}")
    if wrong := [label for label in (labels.min(), labels.max()) if not 0 <= label < classes]:
        raise LayerLotteryError(f"{path}: label {wrong[0]} found, allowed: 0 to {classes - 1}")
    return np.array(labels, dtype=np.int64)


def _corrupted_files(
    name: OfficialCorruptions, kinds: Sequence[str], settings: OfficialSettings
) -> dict[str, Path] | None:
    """Where the npy files of these kinds are, extracted if need be; None when none is there and none may be fetched."""
    location = place(settings.location)
    [(archive, published)] = OFFICIAL[name].items()
    tar, folder = location / archive, location / name
    if not folder.is_dir() and (location / f"{_LABELS}.npy").exists():
        folder = location
    paths = {kind: folder / f"{kind}.npy" for kind in kinds}
    missing = {kind: path for kind, path in paths.items() if not path.exists()}
    if not missing:
        return paths
    if tar.exists():
        log.info("checking %s", tar)
        verify(published, tar)
    elif settings.download or len(missing) < len(paths):
        # generated images in place of those that lack would be taken for published ones
        _fetch(published, tar, settings, wanted=next(iter(missing.values())))
    else:
        return None
    _extract(tar, name, missing)
    return paths


def _extract(tar: Path, name: OfficialCorruptions, wanted: dict[str, Path]) -> None:
    """Write the wanted members to their places; no other name of the archive is used, and no link is followed."""
    try:
        with tarfile.open(tar, "r:") as archive:
            members = {member.name.removeprefix("./"): member for member in archive}
            for kind, path in wanted.items():
                member = members.get(file := f"{name}/{kind}.npy")
                source = archive.extractfile(member) if member and member.isreg() else None
                if source is None:
                    raise LayerLotteryError(f"{tar}: {file} is {'no file' if member else 'missing'} in it")
                log.info("extracting %s", path)
                with source, artifacts.atomic(path) as temporary, temporary.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise LayerLotteryError(f"{tar}: not a readable tar ({type(error).__name__})") from error
