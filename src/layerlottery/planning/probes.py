"""Small pieces of every stage's real work, timed; each runs in a process of its own, as a job does.

What is timed are CPU seconds of the process on a processor, since other work may run beside, and seconds on the clock
on a GPU. Images are noise, of the form and in the batches of the benchmark.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.evaluation import (
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.networks import Network, NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.energy import EnergyMeter
from layerlottery.cost.gpu import find_gpu
from layerlottery.cost.network import macs, parameters, training_memory
from layerlottery.criteria.elements import group_scores, weight_scores
from layerlottery.criteria.score import rank_blocks, score, scoring_batch
from layerlottery.data.prepared import GROUPS, PreparedSet
from layerlottery.evaluation.adversaries import Attacked, minimum_norms, perturb
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.compare import compare
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.evaluation.forward import evaluate_logits, to_unit_interval
from layerlottery.evaluation.outliers import outliers
from layerlottery.evaluation.shift import shift
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.predictor import load_predictor
from layerlottery.networks.prune import prune
from layerlottery.networks.weights import load_network
from layerlottery.planning.images import ImageSet
from layerlottery.store.artifacts import write_array, write_facts
from layerlottery.training.session import begin
from layerlottery.training.train import train

RANDOM = CriterionSettings(function="random")
# floating-point operations a second that the number of timed steps is chosen by; no result depends on it
EXPECTED = 3e10
TIMED_SECONDS = 0.3
# of a probe, which is itself one of several rounds; the first is not like the others
EPOCHS = 3
# no image is ever fooled within it, so an attack takes all its steps
NOTHING = 1e-6
STEPS = (2, 6)
JOULES = 3.6e6  # of a kWh
# test images of 32x32 at most; of larger ones as many as make up as many pixels
MOST_IMAGES, FEWEST = 500, 64


@dataclass(frozen=True)
class Clock:
    """Seconds that a device is busy with our work."""

    device: torch.device

    def __call__(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def seconds(self, action: Callable[[], object]) -> float:
        """What one call takes."""
        began = self()
        action()
        return self() - began


def noise(folder: Path, images: ImageSet, count: int, test: int) -> Path:
    """A prepared set of noise: `count` training and `test` test images; returns the path of its facts."""
    draw = np.random.default_rng(0)
    arrays: dict[str, str] = {}
    counts = {"train": count, "test": test, "shifted": 0, "held_out": 0}
    for name in GROUPS:
        shape = (counts[name], images.channels, images.size, images.size)
        pixels = draw.integers(0, 256, shape, dtype=np.uint8)
        labels = np.arange(counts[name], dtype=np.int64) % images.classes
        for kind, array in (("images", pixels), ("labels", labels)):
            arrays[f"{name}_{kind}.npy"] = write_array(folder / f"{name}_{kind}.npy", array)
    facts = {
        "source": "noise",
        "classes": [str(label) for label in range(images.classes)],
        "channels": images.channels,
        "image_size": images.size,
        "mean": [0.5] * images.channels,
        "std": [0.29] * images.channels,
        "shifted": {},
        "counts": counts,
        "arrays": arrays,
        "settings": {},
    }
    path = Path(paths.prepared(str(folder)))
    write_facts(path, facts, config_hash="noise")
    return path


def networks(
    folder: Path,
    images: ImageSet,
    network: Network,
    counts: Mapping[str, int],
    per_class: int,
    *,
    device: torch.device,
) -> dict[str, float]:
    """The files that other probes need: noise for `per_class` scored images of a class, and `make_networks`."""
    data = noise(folder, images, per_class * images.classes, _some(images))
    return make_networks(folder, data, network, counts, device=device)


def make_networks(
    folder: Path, data: Path, network: Network, counts: Mapping[str, int], *, device: torch.device
) -> dict[str, float]:
    """Write the dense network and a ticket of each structure, chosen at random; returns what the stages took.

    The tickets lose as many blocks, or as much, as `densities` says by structure.
    """
    clock, dense, blocks = Clock(torch.device("cpu")), folder / "none.safetensors", folder / "blocks.json"
    took = {"initialize": clock.seconds(lambda: initialize_network(data, dense, network, seed=0))}
    took["score"] = clock.seconds(lambda: score(dense, data, blocks, RANDOM, seed=0, device=device))
    for structure, removed in counts.items():
        chosen = blocks
        if structure != "layers":
            chosen = folder / f"{structure}.scores"
            score(dense, data, chosen, RANDOM, structure=structure, seed=0, device=device)  # type: ignore[arg-type]
        ticket, facts = folder / f"{structure}.safetensors", folder / f"{structure}.json"
        budget = None if structure == "layers" else blocks
        took["prune"] = clock.seconds(
            lambda: prune(dense, chosen, ticket, facts, removed=removed, structure=structure, budget=budget)  # type: ignore[arg-type]  # noqa: B023
        )
    return took


def network_facts(weights: Path, images: ImageSet, *, device: torch.device) -> dict[str, float]:
    """Multiply-accumulates of one image, parameters, and bytes of the weights file."""
    model, _ = load_network(weights)
    counted = {"macs": macs(model, _shape(images)), "parameters": parameters(model), "bytes": weights.stat().st_size}
    return {name: float(count) for name, count in counted.items()}


def training(
    weights: Path, folder: Path, images: ImageSet, settings: TrainingSettings, *, device: torch.device
) -> dict[str, float]:
    """Seconds of the first step beyond those of others, of each training image, and of each test image.

    The training's own loop runs over a few epochs of a few batches.
    """
    work = 6 * network_facts(weights, images, device=device)["macs"] * settings.batch_size
    batches = int(np.clip(TIMED_SECONDS * EXPECTED / work, 1, 8))
    count, test = max(batches * settings.batch_size, images.classes), min(200, _some(images))
    data = noise(folder, images, count, test)
    longer = settings.model_copy(update={"epochs": max(EPOCHS, settings.epochs)})
    session = begin(weights, data, longer, seed=0, device=device)
    clock = Clock(device)
    # each epoch ends with a look at the test images
    epochs = range(1, EPOCHS + 1)
    first, *others = (clock.seconds(partial(session.trainer.run, session.progress, until=one)) for one in epochs)
    tested = clock.seconds(session.trainer.evaluate)
    step = max(0.0, median(others) - tested)
    return {"start": max(0.0, first - median(others)), "step": step / count, "test": tested / test}


def stages(folder: Path, *, device: torch.device) -> dict[str, float]:
    """Seconds that each stage takes for a network of next to no work, by stage; watts while training.

    `watts` are those of the processor or GPU for each second of its work, `memory_watts` for each on the clock.
    """
    images = ImageSet(1, 8, 10, train=20, test=20)
    data = noise(folder, images, 20, 20)
    took = make_networks(folder, data, NetworkSettings(depth=20, width=2), {"layers": 1}, device=device)
    clock, recipe = Clock(device), TrainingSettings(epochs=1, batch_size=20)
    dense, ticket = folder / "dense", folder / "ticket"
    for weights, output in ((folder / "none.safetensors", dense), (folder / "layers.safetensors", ticket)):
        took["train"] = clock.seconds(partial(train, weights, data, output, recipe, seed=0, device=device))
    trained = [Path(paths.trained_weights(str(one))) for one in (ticket, dense)]
    made = {name: folder / name for name in ("c.npy", "c.json", "o.npy", "o.json", "attack", "shift", "told", "alike")}
    corrupt(data, made["c.npy"], made["c.json"], CorruptionSettings(names=["contrast"], severities=[1]))
    outliers(data, made["o.npy"], made["o.json"], OutlierSettings(far=[], images=20))
    attacks = AttackSettings(attacks=["fgsm"], epsilons=[1.0])
    took["attack"] = clock.seconds(partial(attack, trained[0], data, made["attack"], attacks, device=device))
    shown = partial(shift, trained[0], data, made["c.npy"], made["c.json"], made["shift"], ShiftSettings())
    strangers = {"outlier_images": made["o.npy"], "outlier_facts": made["o.json"]}
    took["shift"] = clock.seconds(partial(shown, device=device, output_detection=made["told"], **strangers))
    alike = partial(compare, trained[0], trained[1], data, made["alike"], CompareSettings())
    took["compare"] = clock.seconds(partial(alike, device=device))
    return took | _watts(device)


def _watts(device: torch.device) -> dict[str, float]:
    """Power as a training's meter reads it."""
    clock, meter = Clock(device), EnergyMeter(gpu_ids=_gpus(device))
    square = torch.ones(256, 256, device=device)
    meter.start()
    busy = clock.seconds(lambda: _until(time.monotonic() + TIMED_SECONDS, lambda: square @ square))
    reading = meter.stop()
    return {
        "watts": JOULES * (reading.cpu_kwh + reading.gpu_kwh) / busy,
        "memory_watts": JOULES * reading.ram_kwh / reading.seconds,
    }


def _until(end: float, action: Callable[[], object]) -> None:
    while time.monotonic() < end:
        action()


def evaluation(
    weights: Path, dense: Path, data: Path, images: ImageSet, benchmark: Benchmark, *, device: torch.device
) -> dict[str, float]:
    """Seconds of each evaluated image, of an attack's gradient step, of a comparison, of an architecture's cost."""
    clock, prepared = Clock(device), PreparedSet.open(data)
    model, _ = load_predictor(weights, prepared, device)
    test = prepared.split("test").images
    begun = clock.seconds(lambda: evaluate_logits(model, test, device))
    forward = clock.seconds(lambda: evaluate_logits(model, test, device))
    found = {"forward_start": max(0.0, begun - forward), "forward": forward / len(test)}
    with _no_denormals():
        found |= _attacked(model, test, benchmark, clock)
    found["compare"] = _compared(weights, dense, data, min(benchmark.compare.images or images.test, images.test), clock)
    network, _ = load_network(weights)
    batch = min(benchmark.training.batch_size, FEWEST)
    count, hold = partial(macs, network, _shape(images)), partial(training_memory, network, _shape(images))
    count()  # the first of a process takes longer
    found["counted"] = clock.seconds(count)
    found["memory"] = clock.seconds(partial(hold, batch_size=batch)) / batch
    return found


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Denormal numbers count as zero, as far as the processor can.

    A network of random weights is so sure of its answers that its gradients are denormal, which take Intel's cores ten
    times as long; the trained networks that will be attacked are not.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _attacked(model: nn.Module, test: Any, benchmark: Benchmark, clock: Clock) -> dict[str, float]:
    """A step of PGD and of the minimum-norm attack on as many images as the benchmark attacks."""
    wanted = min(benchmark.attack.images or len(test), 200)
    chosen = to_unit_interval(np.resize(test, (wanted, *test.shape[1:])), clock.device)
    with torch.inference_mode():
        labels = model(chosen).argmax(1)
    batch = Attacked(chosen, labels.clone(), torch.ones(wanted, dtype=torch.bool, device=clock.device))
    few, many = STEPS

    def bounded(steps: int) -> float:
        settings = benchmark.attack.model_copy(update={"pgd_steps": steps})
        return clock.seconds(lambda: perturb("pgd", model, batch, NOTHING, settings))

    def nearest(steps: int) -> float:
        settings = benchmark.attack.model_copy(update={"norm_steps": steps})
        return clock.seconds(lambda: minimum_norms("fmn_l2", model, batch, settings))

    return {name: _slope(action, few, many) / wanted for name, action in (("pgd", bounded), ("fmn", nearest))}


def _slope(action: Callable[[int], float], few: int, many: int) -> float:
    action(1)  # the first picks kernels
    return max(0.0, action(many) - action(few)) / (many - few)


def _compared(weights: Path, dense: Path, data: Path, wanted: int, clock: Clock) -> float:
    """Of a comparison on as many images as the benchmark compares, files included."""
    there = len(PreparedSet.open(data).split("test").labels)
    settings, output = CompareSettings(images=min(wanted, there)), weights.with_suffix(f".{os.getpid()}")
    took = clock.seconds(partial(compare, weights, dense, data, output, settings, device=clock.device))
    return took * wanted / min(wanted, there)


def scoring(
    weights: Path, data: Path, settings: CriterionSettings, structure: str, *, device: torch.device
) -> dict[str, float]:
    """Seconds of one scoring of the dense network, removals one by one aside."""
    clock, prepared = Clock(device), PreparedSet.open(data)
    once = settings.model_copy(update={"iterative": False})
    model, _ = load_network(weights)
    model = model.to(device)
    batch = scoring_batch(prepared, settings.images_per_class, seed=0, device=device)
    stages: dict[str, Callable[..., object]] = {
        "layers": rank_blocks,
        "filters": group_scores,
        "weights": weight_scores,
    }
    action = stages[structure]
    return {"score": clock.seconds(lambda: action(model, batch, once))}


def corruption(images: ImageSet, names: list[Any], *, device: torch.device) -> dict[str, float]:
    """Seconds of each corrupted image, the mean over the corruptions."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, images.channels, images.size, images.size), dtype=np.uint8)
    clock, places = Clock(torch.device("cpu")), np.arange(len(pixels))
    corrupt_images(pixels[:1], name="contrast", severity=1, seed=0, indices=places[:1])  # imports
    took = [
        clock.seconds(lambda: corrupt_images(pixels, name=name, severity=3, seed=0, indices=places))  # noqa: B023
        for name in names
    ]
    return {"corrupt": sum(took) / max(1, len(took)) / len(pixels)}


def _shape(images: ImageSet) -> tuple[int, int, int]:
    return images.channels, images.size, images.size


def _some(images: ImageSet) -> int:
    return min(images.test, max(FEWEST, MOST_IMAGES * 32**2 // max(32, images.size) ** 2))


def _gpus(device: torch.device) -> list[int] | None:
    gpu = find_gpu(device)
    return None if gpu is None else [gpu.index]
