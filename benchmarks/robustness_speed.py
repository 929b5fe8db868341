"""The evaluation of one ResNet20 on one core: corrupted images and PGD, seconds beside the goal.

    python benchmarks/robustness_speed.py
    python benchmarks/robustness_speed.py --parts pgd --weights weights.safetensors --data data/facts.json

Without a file of weights they are random, with BatchNorm statistics of the images, and the labels are the network's
own predictions, so that every image is attacked; a random network is fooled sooner than a trained one. An image that
is fooled leaves PGD; in the part transfer none does, and it shows what PGD costs at most. Each part runs with half of
the images, too: seconds should halve. Processor time is printed as well, for a machine that others use, and what the
core's own float32 matrix product reaches: no convolution is much faster.
"""

from __future__ import annotations

import argparse
import os

# before torch starts its threads
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS, MAIN_CORRUPTIONS, AttackSettings
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.evaluation.attack import Victim, attack_rows
from layerlottery.evaluation.forward import evaluate_logits
from layerlottery.networks.predictor import Predictor, fold, load_predictor
from layerlottery.networks.resnet import CifarResNet, initialize

GOAL_SECONDS = 180  # corruptions and PGD together
CORRUPTED, ATTACKED = 2000, 500  # images
SEVERITIES = 5
CPU = torch.device("cpu")


def random_images(count: int) -> np.ndarray:
    """Smooth noise, uint8 (N, 3, 32, 32): pixels drawn at an eighth of the size."""
    small = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, size=32, mode="bicubic").clamp(0, 1)
    return (255 * large).byte().numpy()


def random_network(images: np.ndarray) -> torch.nn.Module:
    """A frozen predictor of untrained weights."""
    network = CifarResNet(NetworkSettings(depth=20), channels=3, classes=10)
    initialize(network, seed=0)
    predictor = Predictor(network, (0.5,) * 3, (0.25,) * 3)
    with torch.no_grad():
        for _ in range(30):
            predictor(torch.from_numpy(images[:200]).float() / 255)
    predictor.network = fold(network)
    return predictor.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def subject(weights: Path | None, data: Path | None) -> tuple[torch.nn.Module, Split]:
    """The network and test images for it."""
    if weights is None or data is None:
        images = random_images(CORRUPTED)
        model = random_network(images)
        return model, Split(images, evaluate_logits(model, images, CPU).argmax(axis=1))
    prepared = PreparedSet.open(data)
    return load_predictor(weights, prepared, CPU)[0], prepared.split("test")


def corruptions(model: torch.nn.Module, test: Split, share: float) -> str:
    """Forward passes of every corruption and severity; the same images stand for the corrupted ones."""
    images = np.resize(test.images, (round(share * CORRUPTED), *test.images.shape[1:]))
    conditions = SEVERITIES * (len(MAIN_CORRUPTIONS) + len(EXTRA_CORRUPTIONS))
    for _ in range(conditions):
        evaluate_logits(model, images, CPU)
    return f"{conditions} conditions of {len(images):,} images"


def pgd(model: torch.nn.Module, test: Split, share: float, *, name: str = "pgd") -> str:
    """PGD-20 at five epsilons."""
    settings = AttackSettings.model_validate({"attacks": [name], "images": round(share * ATTACKED)})
    rows = attack_rows(Victim(model, model, test, settings, CPU))
    left = ", ".join(f"{row.accuracy:.1f} % at {row.level:g}" for row in rows)
    return f"{settings.pgd_steps} steps, {rows[0].images} images, left {left}"


def transfer(model: torch.nn.Module, test: Split, share: float) -> str:
    """The same, all steps of all images."""
    return pgd(model, test, share, name="transfer")


PARTS: dict[str, Callable[[torch.nn.Module, Split, float], str]] = {
    "corruptions": corruptions,
    "pgd": pgd,
    "transfer": transfer,
}


def measure(name: str, model: torch.nn.Module, test: Split, share: float) -> tuple[float, float]:
    """Wall and processor seconds of one part."""
    wall, used = time.perf_counter(), time.process_time()
    about = PARTS[name](model, test, share)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    print(f"{name}: {wall:.1f} s, processor {used:.1f} s ({about})", flush=True)
    return wall, used


def matrix_product() -> float:
    """GFLOP/s of a large float32 matrix product on this core, the best of some."""
    size = 1500
    factor, seconds = torch.ones(size, size), []
    for _ in range(12):
        began = time.process_time()
        factor @ factor
        seconds.append(time.process_time() - began)
    return 2 * size**3 / min(seconds) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["corruptions", "pgd"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.5, 1.0], help="of the images, one run each")
    parser.add_argument("--weights", type=Path, help="weights of a trained network; random ones otherwise")
    parser.add_argument("--data", type=Path, help="facts of the prepared image set that they were trained on")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, test = subject(given.weights, given.data)
    evaluate_logits(model, test.images[:500], CPU)  # warms up
    print(f"float32 matrix product: {matrix_product():.1f} GFLOP/s", flush=True)
    for share in given.shares:
        taken = [measure(name, model, test, share) for name in given.parts]
        wall, used = (sum(column) for column in zip(*taken, strict=True))
        print(
            f"together: {wall:.1f} s, processor {used:.1f} s; goal {share * GOAL_SECONDS:.0f} s (corruptions and pgd)"
        )


if __name__ == "__main__":
    main()
