"""Which test images every network answered right, packed eight to a byte, by the network's place and the condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from layerlottery.tables.measures import CLEAN, ConditionName


class Kept(NamedTuple):
    """The answers of one network under one condition."""

    images: int
    images_hash: str
    bits: bytes


class Answers:
    """All answers of a benchmark, in memory: a bit for each network, condition and image."""

    def __init__(self) -> None:
        self._held: dict[ConditionName, dict[int, Kept]] = {}
        self._predicted: dict[int, bytes] = {}

    def add(self, rows: pa.Table) -> None:
        """Keep what rows of the table robustness, with `place` and the columns of answers, say."""
        columns = ("place", "kind", "name", "level", "images", "images_hash", "answers", "predicted")
        for place, *name, images, images_hash, bits, classes in zip(
            *(rows[one].to_pylist() for one in columns), strict=True
        ):
            if bits is not None:
                self._held.setdefault(ConditionName(*name), {})[place] = Kept(images, images_hash, bits)
            if classes is not None:
                self._predicted[place] = classes

    def predicted(self, places: Sequence[int]) -> npt.NDArray[Any] | None:
        """(networks, images): the class that each of these networks predicts of every clean test image.

        None if any network lacks them, or if they are not as many.
        """
        found = [self._predicted.get(place) for place in places]
        images = {self._held[CLEAN][place].images for place in places if place in self._held.get(CLEAN, {})}
        if not all(found) or len({len(one) for one in found if one}) != 1 or len(images) != 1:
            return None
        width = len(found[0] or b"") // images.pop()
        return np.frombuffer(b"".join(filter(None, found)), f"<u{width}").reshape(len(places), -1)

    def right(self, places: Sequence[int], conditions: Sequence[ConditionName]) -> npt.NDArray[Any] | None:
        """(networks, images): under how many of the conditions each of these networks got each image right.

        None if any network lacks one of them, or if the lists of images differ.
        """
        if not all(place in self._held.get(one, {}) for one in conditions for place in places):
            return None
        found = [[self._held[one][place] for place in places] for one in conditions]
        if len({(one.images, one.images_hash) for row in found for one in row}) != 1:
            return None
        total = np.zeros((len(places), found[0][0].images), np.uint8 if len(conditions) < 256 else np.uint16)
        for row in found:
            packed = np.frombuffer(b"".join(one.bits for one in row), np.uint8).reshape(len(places), -1)
            total += np.unpackbits(packed, axis=1, count=total.shape[1])
        return total
