"""Stage corrupt: the corrupted test images of a data set, made once and shared by all networks."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from layerlottery.data.prepared import Images, PreparedSet
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.evaluation.selection import select_images
from layerlottery.results import artifacts
from layerlottery.results.provenance import config_hash
from layerlottery.results.seals import file_digest
from layerlottery.settings import CorruptionSettings

CHUNK = 1000  # images corrupted at a time: bounds the memory that float64 copies take


def corrupt(data: Path, output_images: Path, output_facts: Path, settings: CorruptionSettings) -> None:
    """Write the corrupted test images and what they are.

    `data` is the facts file of a prepared set. `output_images` becomes one npy array, uint8
    (conditions, N, C, H, W), to be memory-mapped; `output_facts` holds "conditions" ([name, severity] each, in
    the array's order), "indices" (N places in the test set), "data" and "array" (content hashes).
    """
    prepared = PreparedSet.open(data)
    test = prepared.split("test")
    indices = select_images(test.labels, settings.images, seed=settings.seed)
    conditions: list[tuple[str, int]] = list(product(settings.names, settings.severities))
    content = _write(output_images, test.images, indices, conditions, seed=settings.seed)
    facts = {
        "conditions": [list(condition) for condition in conditions],
        "indices": indices.tolist(),
        "data": prepared.content,
        "array": content,
    }
    artifacts.write_facts(output_facts, facts, config_hash=config_hash("corrupt", settings, [prepared.content]))


def _write(
    path: Path,
    images: Images,
    indices: npt.NDArray[np.intp],
    conditions: list[tuple[str, int]],
    *,
    seed: int,
) -> str:
    shape = (len(conditions), len(indices), *images.shape[1:])
    with artifacts.atomic(path) as temporary:
        # piece by piece: 30 conditions of a large test set may exceed the memory. Not through a memory map, whose
        # process a full disk kills without a word
        with temporary.open("wb") as sink:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(sink, header)
            for name, severity in conditions:
                for start in range(0, len(indices), CHUNK):
                    places = indices[start : start + CHUNK]
                    corrupted = corrupt_images(images[places], name=name, severity=severity, seed=seed, indices=places)
                    sink.write(np.ascontiguousarray(corrupted, dtype=np.uint8).data)
        return file_digest(temporary)
