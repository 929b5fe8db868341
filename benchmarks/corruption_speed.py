"""The 19 corruptions, batched beside one image at a time: milliseconds an image on one core, and their ratio.

    python benchmarks/corruption_speed.py
    python benchmarks/corruption_speed.py --images 1000 --plain-images 100 --names fog snow

The plain version is that of the tests (numpy, scipy, scikit-image, OpenCV, pillow); both run in turns in one process
with one thread, at every severity. Times are of the processor, not of the clock, and the median of the rounds.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries read it

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # of the tests

import cv2
import numpy as np
import torch
from tests.unit.evaluation.corruptions import plain

from layerlottery.evaluation.corruptions import OPERATIONS, corrupt_images

REFERENCE = 15.1  # ms an image for the 19, one at a time, measured earlier on another machine
GOAL = 10  # times faster
SEVERITIES = (1, 2, 3, 4, 5)


def milliseconds(call: Callable[[], object], images: int) -> float:
    """Processor time of a call, an image."""
    began = time.thread_time()
    call()
    return (time.thread_time() - began) * 1e3 / images


def measure(name: str, images: np.ndarray, plain_images: int, rounds: int) -> tuple[float, float]:
    """Plain and batched ms an image of an operation: medians of the rounds, means over the severities."""
    few, rng = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images[:plain_images]], None
    times: dict[str, list[float]] = {"plain": [], "batched": []}
    for severity in SEVERITIES:
        rng = np.random.default_rng(severity)
        corrupt_images(images[:64], name=name, severity=severity, seed=0)  # tables are made once
        taken = [
            (
                milliseconds(lambda: [plain.corrupted(image, name, severity, rng) for image in few], len(few)),  # noqa: B023
                milliseconds(lambda: corrupt_images(images, name=name, severity=severity, seed=0), len(images)),  # noqa: B023
            )
            for _ in range(rounds)
        ]
        for kind, values in zip(times, zip(*taken, strict=True), strict=True):
            times[kind].append(statistics.median(values))
    return statistics.mean(times["plain"]), statistics.mean(times["batched"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="32x32x3 images that are corrupted at once")
    parser.add_argument("--plain-images", type=int, default=100, help="of them, one at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--names", nargs="+", default=list(OPERATIONS), choices=list(OPERATIONS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = plain.scenes(given.images)
    totals = np.zeros(2)
    print(f"{'ms an image':18} {'plain':>8} {'batched':>8} {'ratio':>7}")
    for name in given.names:
        one, batched = measure(name, images, min(given.plain_images, given.images), given.rounds)
        totals += one, batched
        print(f"{name:18} {one:8.3f} {batched:8.3f} {one / batched:7.1f}", flush=True)
    print(f"{'total':18} {totals[0]:8.3f} {totals[1]:8.3f} {totals[0] / totals[1]:7.1f}")
    if len(given.names) == len(OPERATIONS):
        print(f"{'reference':18} {REFERENCE:8.3f} {totals[1]:8.3f} {REFERENCE / totals[1]:7.1f}")
        if totals[1] * GOAL > REFERENCE:
            sys.exit(f"the goal, {GOAL} times faster than {REFERENCE} ms, is missed")


if __name__ == "__main__":
    main()
