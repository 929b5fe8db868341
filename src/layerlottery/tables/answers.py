"""Which test images every network answered right, packed eight to a byte, by the network's place and the condition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from layerlottery.store.artifacts import broken
from layerlottery.store.schemas import arrow_schema
from layerlottery.tables.measures import CLEAN, ConditionName
from layerlottery.tables.statistics import Places

NOTHING = -1


class Kept(NamedTuple):
    """The answers of one network under one condition."""

    images: int
    images_hash: str
    bits: bytes


def check(path: Path, rows: pa.Table) -> None:
    """Raise LayerLotteryError that names the file if answers disagree with what else its rows say.

    `rows` are those of a network's conditions. Answers have a bit for each image, as many are 1 as the accuracy says,
    and predicted classes have one or two bytes an image.
    """
    known = {"images": pa.int64(), "accuracy": pa.float64(), "images_hash": pa.string()}
    known |= {name: arrow_schema("answers").field(name).type for name in ("answers", "predicted")}
    if not {"answers", "predicted"} & {*rows.column_names}:
        return
    try:
        given = [rows[one].cast(kind).to_pylist() if one in rows.column_names else [] for one, kind in known.items()]
    except pa.ArrowException as error:
        raise broken(path, f"its answers are not of the table's types ({type(error).__name__})") from error
    for row in zip(*(one or [None] * len(rows) for one in given), strict=True):
        if (problem := _disagreement(*row)) is not None:
            raise broken(path, problem)


def _disagreement(
    images: int | None, accuracy: float | None, images_hash: str | None, answers: bytes | None, predicted: bytes | None
) -> str | None:
    """What is wrong with the answers of one condition, in words."""
    if answers is None and predicted is None:
        return None
    if not images or images < 0 or accuracy is None or (answers is not None and images_hash is None):
        return f"found answers beside images {images}, images_hash {images_hash}, accuracy {accuracy}"
    if predicted is not None and len(predicted) not in (images, 2 * images):
        return f"predicted: found {len(predicted)} bytes; allowed for {images} images: {images} or {2 * images}"
    if answers is None:
        return None
    if len(answers) != (images + 7) // 8:
        return f"answers: found {len(answers)} bytes; allowed for {images} images: {(images + 7) // 8}"
    right = (int.from_bytes(answers, "big") >> (-images % 8)).bit_count()
    # an accuracy is a count over images but for rounding
    if not abs(accuracy * images / 100 - right) < 0.01:
        return f"answers: found {right} of {images} right; the accuracy says {accuracy:.6g} %"
    return None


class Answers:
    """All answers of a benchmark, in memory: a bit for each network, condition and image."""

    def __init__(self) -> None:
        self._held: dict[ConditionName, dict[int, Kept]] = {}
        self._predicted: dict[int, bytes] = {}
        # the number of each list of images
        self._lists: dict[tuple[int, str], int] = {}

    def add(self, rows: pa.Table) -> None:
        """Keep what rows of the table robustness, with `place` and the columns of answers, say."""
        columns = ("place", "kind", "name", "level", "images", "images_hash", "answers", "predicted")
        for place, *name, images, images_hash, bits, classes in zip(
            *(rows[one].to_pylist() for one in columns), strict=True
        ):
            if bits is not None:
                self._held.setdefault(ConditionName(*name), {})[place] = Kept(images, images_hash, bits)
                self._lists.setdefault((images, images_hash), len(self._lists))
            if classes is not None:
                self._predicted[place] = classes

    def lists(self, places: Sequence[int], conditions: Sequence[ConditionName]) -> Places:
        """(networks,): the number of the list of images that each answered, under all of the conditions.

        −1 for a network that lacks one of them, or whose lists differ.
        """
        each = np.full((max(1, len(conditions)), len(places)), NOTHING)
        for own, condition in zip(each, conditions, strict=False):
            held = self._held.get(condition, {})
            kept = (held.get(place) for place in places)
            own[:] = [NOTHING if one is None else self._lists[one.images, one.images_hash] for one in kept]
        return np.asarray(np.where((each == each[0]).all(axis=0), each[0], NOTHING))

    def predicts(self, places: Sequence[int]) -> Places:
        """(networks,): bytes of the classes that each of these networks predicts of the clean test images; 0: none."""
        return np.array([len(self._predicted.get(place, b"")) for place in places], np.intp)

    def predicted(self, places: Sequence[int]) -> npt.NDArray[Any]:
        """(networks, images): the class that each of these networks predicts of every clean test image.

        They share the list of clean images and the number of bytes.
        """
        found = [self._predicted[place] for place in places]
        width = len(found[0]) // self._held[CLEAN][places[0]].images
        return np.frombuffer(b"".join(found), f"<u{width}").reshape(len(places), -1)

    def right(self, places: Sequence[int], conditions: Sequence[ConditionName]) -> npt.NDArray[Any]:
        """(networks, images): under how many of the conditions each of these networks got each image right.

        They share one list of images under all conditions.
        """
        found = [[self._held[one][place] for place in places] for one in conditions]
        total = np.zeros((len(places), found[0][0].images), np.uint8 if len(conditions) < 256 else np.uint16)
        for row in found:
            packed = np.frombuffer(b"".join(one.bits for one in row), np.uint8).reshape(len(places), -1)
            total += np.unpackbits(packed, axis=1, count=total.shape[1])
        return total
