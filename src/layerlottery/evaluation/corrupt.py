"""Stage corrupt: the corrupted test images of a data set, made or taken from publishers, shared by all networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from layerlottery.config.data import OfficialSettings
from layerlottery.config.evaluation import CorruptionSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.official import CorruptedSet, open_corrupted
from layerlottery.data.official_classes import places
from layerlottery.data.prepared import Images, Labels, PreparedSet, Split, balanced_subset, select_images
from layerlottery.store import artifacts
from layerlottery.store.chain import Chain
from layerlottery.store.seals import file_digest

log = logging.getLogger(__name__)

CHUNK = 1000  # images corrupted at a time: bounds the memory that float64 copies take

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Source:
    """Where corrupted images come from.

    `places` are those of the images in what `take` reads: take(name, severity, places) gives uint8 (N, C, H, W).
    `indices` are their places in the test set, `labels` their classes; `clean` says whether both agree.
    """

    origin: Literal["official", "generated"]
    places: Places
    indices: Places
    labels: Labels
    clean: bool
    take: Callable[[str, int, Places], Images]


def corrupt(
    data: Path,
    output_images: Path,
    output_facts: Path,
    settings: CorruptionSettings,
    official: OfficialSettings | None = None,
) -> None:
    """Write the corrupted test images and what they are.

    `data` is the facts file of a prepared set; a published set that `official` names, and that is there or may be
    fetched, takes the place of generated images. `output_images` becomes one npy array, uint8
    (conditions, N, C, H, W), to be memory-mapped; `output_facts` holds "conditions" ([name, severity] each, in the
    array's order), "labels" (N classes), "indices" (N places in the test set, or in the published set where "clean"
    is false: there no clean image of these can be looked up), "origin" ("official" or "generated"), "data" and
    "array" (content hashes). Raises LayerLotteryError when the published set is of other images, or broken.
    """
    prepared = PreparedSet.open(data)
    conditions: list[tuple[str, int]] = list(product(settings.names, settings.severities))
    source = _published(prepared, settings, official) or _generated(prepared, settings)
    shape = (len(conditions), len(source.places), prepared.channels, prepared.image_size, prepared.image_size)
    content = _write(output_images, source, conditions, shape)
    facts = {
        "conditions": [list(condition) for condition in conditions],
        "labels": source.labels.tolist(),
        "indices": source.indices.tolist(),
        "clean": source.clean,
        "origin": source.origin,
        "data": prepared.content,
        "array": content,
    }
    made_by = config_hash("corrupt", settings, [prepared.content], origin=source.origin)
    chain = Chain()
    chain.add(data, prepared.content)
    artifacts.write_facts(output_facts, facts, config_hash=made_by, inputs=chain.inputs)


def _generated(prepared: PreparedSet, settings: CorruptionSettings) -> Source:
    # loads torch, which published images do without
    from layerlottery.evaluation.corruptions import corrupt_images

    log.info("generating the images of %d corruptions", len(settings.names))
    test = prepared.split("test")
    chosen = select_images(test.labels, settings.images, seed=settings.seed)

    def take(name: str, severity: int, places: Places) -> Images:
        return corrupt_images(test.images[places], name=name, severity=severity, seed=settings.seed, indices=places)

    return Source("generated", chosen, chosen, test.labels[chosen], True, take)


def _published(prepared: PreparedSet, settings: CorruptionSettings, official: OfficialSettings | None) -> Source | None:
    if official is None or not settings.names:
        return None
    channels, classes, size = prepared.channels, prepared.classes, prepared.image_size
    held = open_corrupted(official, settings.names, channels=channels, classes=classes, image_size=size)
    if held is None:
        return None
    log.info("taking the images of %s in %s", held.name, official.location)
    rows = _rows_of_tests(prepared, prepared.split("test"), held)
    clean = rows is not None
    if held.numbered and not clean:
        # only the test images' own labels could show that numbers mean the same classes
        places(held.name, prepared.classes)
    rows = np.arange(len(held.labels)) if rows is None else rows
    chosen = select_images(held.labels[rows], settings.images, seed=settings.seed)
    return Source("official", rows[chosen], chosen, held.labels[rows[chosen]], clean, held.take)


def _rows_of_tests(prepared: PreparedSet, test: Split, held: CorruptedSet) -> Places | None:
    """Which rows of a published set are the test images, in their order; None if their classes differ."""
    size, rows = prepared.facts["settings"].get("test_size"), np.arange(len(held.labels))
    if size is not None and size <= len(rows):
        # the choice that the prepare stage made among the same classes in the same order
        rows = balanced_subset(held.labels, size, prepared.facts["settings"]["sample_seed"])
    return rows if np.array_equal(held.labels[rows], test.labels) else None


def _write(path: Path, source: Source, conditions: list[tuple[str, int]], shape: tuple[int, ...]) -> str:
    with artifacts.atomic(path) as temporary:
        # piece by piece: 95 conditions of a large test set may exceed the memory. Not through a memory map, whose
        # process a full disk kills without a word
        with temporary.open("wb") as sink:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(sink, header)
            for name, severity in conditions:
                for start in range(0, len(source.places), CHUNK):
                    taken = source.take(name, severity, source.places[start : start + CHUNK])
                    sink.write(np.ascontiguousarray(taken, dtype=np.uint8).data)
        return file_digest(temporary)
