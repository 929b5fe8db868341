"""Rates by the data sheet of a GPU that is not at hand: a roofline, and what starting a kernel takes.

What these predict has not been measured. A step takes the longest of its arithmetic at the peak rate, its traffic at
the memory's bandwidth, and its kernels one after the other (Williams et al. 2009, with a third roof): small networks
on small images are bound by the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from layerlottery.config.benchmark import Benchmark
from layerlottery.cost.network import macs, parameters, training_memory
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import load_network
from layerlottery.planning.calibrate import counts, scored
from layerlottery.planning.images import ImageSet
from layerlottery.planning.probes import networks
from layerlottery.planning.rates import DENSE, Family, Rates


@dataclass(frozen=True)
class Device:
    """Peak arithmetic in TFLOP/s (dense, with float32 sums), memory bandwidth in GB/s, and design power in W."""

    tflops: float
    bandwidth: float
    watts: float
    source: str


# bfloat16 where the GPU computes in it, else float32: what `precision: auto` takes
DEVICES = {
    "H200": Device(989, 4800, 700, "NVIDIA H200 Tensor Core GPU datasheet, SXM"),
    "H100": Device(989, 3350, 700, "NVIDIA H100 Tensor Core GPU datasheet, SXM5"),
    "H100-PCIe": Device(756, 2000, 350, "NVIDIA H100 Tensor Core GPU datasheet, PCIe"),
    "A100": Device(312, 2039, 400, "NVIDIA A100 Tensor Core GPU datasheet, 80GB SXM"),
    "A100-PCIe-40GB": Device(312, 1555, 250, "NVIDIA A100 Tensor Core GPU datasheet, 40GB PCIe"),
    "V100": Device(15.7, 900, 300, "NVIDIA V100 Tensor Core GPU datasheet, SXM2, float32"),
    "T4": Device(8.1, 320, 70, "NVIDIA T4 Tensor Core GPU datasheet, float32"),
}
# of the data sheet's figures, what convolutions and elementwise kernels reach as a rule
REACHED = 0.4
# seconds from one small kernel's start to the next, PyTorch's own work included; kernels of a layer's forward and
# backward pass
KERNEL, FORWARD, BACKWARD = 10e-6, 1.5, 2.5
# each saved byte is written once and read in the next layer; backward it is read again, and a gradient of its size is
# written and read
FORWARD_TRAFFIC, BACKWARD_TRAFFIC = 2, 3
# seconds of a job before its first line: imports, and CUDA's own start
START = 12.0
# CPU seconds of stages for a network of no work, on a processor of some 3 GHz
STAGES = {"initialize": 0.05, "score": 0.15, "prune": 0.05, "train": 1.0, "attack": 0.3, "shift": 0.5, "compare": 0.3}
CORRUPTED = 0.003  # an image of 32x32
SCORED = 3  # passes forward and backward over a scoring batch
COUNTED, MEMORY = 0.1, 0.001


def datasheet(benchmark: Benchmark, images: Mapping[str, ImageSet], name: str) -> Rates:
    """Rates of the named GPU. Raises LayerLotteryError for one that the table lacks."""
    if name not in DEVICES:
        raise LayerLotteryError(f"--device-rates: found {name!r}; allowed are {', '.join(DEVICES)}")
    device, rates, most = DEVICES[name], dict[Family, Mapping[str, float]](), counts(benchmark)
    with TemporaryDirectory() as folder:
        for family in (one for one in most if one[2] == DENSE):
            rates |= _rates_of(benchmark, images[family[0]], family, most, device, Path(folder))
    batch = {one: benchmark.criterion(one[2]).images_per_class * images[one[0]].classes for one in scored(benchmark)}
    return Rates(
        device=name,
        networks=rates,
        counts=most,
        scores={one: SCORED * count * rates[one[0], one[1], DENSE]["pgd"] for one, count in batch.items()},
        stages=STAGES,
        corrupted={name: CORRUPTED * (one.size / 32) ** 2 for name, one in images.items()},
        launch=START,
        watts=device.watts,
    )


def _rates_of(
    benchmark: Benchmark, images: ImageSet, dense: Family, most: Mapping[Family, int], device: Device, folder: Path
) -> dict[Family, dict[str, float]]:
    """Of the dense network and a ticket of each of its structures."""
    families = [family for family in most if family[:2] == dense[:2]]
    losses = {family[2]: most[family] for family in families if most[family]}
    place, on = folder / "-".join(dense), torch.device("cpu")
    networks(place, images, benchmark.network(dense[1]), losses, 1, device=on)
    return {
        family: _roofline(place / f"{family[2]}.safetensors", benchmark, images, device)
        for family in (dense, *(family for family in families if most[family]))
    }


def _roofline(weights: Path, benchmark: Benchmark, images: ImageSet, device: Device) -> dict[str, float]:
    model, _ = load_network(weights)
    shape, batch = (images.channels, images.size, images.size), benchmark.training.batch_size
    each = macs(model, shape)
    small, larger = (training_memory(model, shape, batch_size=count).activations for count in (2, 3))
    layers = sum(not list(module.children()) for module in model.modules())

    def seconds(passes: float, traffic: float, kernels: float, count: int) -> float:
        work = 2 * each * passes / (REACHED * device.tflops * 1e12)
        moved = (larger - small) * traffic / (REACHED * device.bandwidth * 1e9)
        return max(work, moved, layers * kernels * KERNEL / count)

    attacked = min(benchmark.attack.images or images.test, images.test, 500)
    forward = seconds(1, FORWARD_TRAFFIC, FORWARD, min(500, images.test))
    gradient = seconds(2, FORWARD_TRAFFIC + BACKWARD_TRAFFIC, FORWARD + BACKWARD, attacked)
    compared = min(benchmark.compare.images or images.test, images.test)
    return {
        "start": 1.0,
        "step": seconds(3, FORWARD_TRAFFIC + BACKWARD_TRAFFIC, FORWARD + BACKWARD, batch),
        "test": forward,
        "forward": forward,
        "forward_start": 1.0,
        "pgd": gradient,
        "fmn": gradient,
        "compare": STAGES["compare"] + 3 * compared * forward,
        "counted": COUNTED,
        "memory": MEMORY * each / 7e7,
        "macs": float(each),
        "parameters": float(parameters(model)),
        "bytes": float(weights.stat().st_size),
    }
