"""The cost of networks: their size, and seconds of this machine, measured for a few moments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import nn

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.extensions import trust
from layerlottery.config.rounds import SHARE
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.energy import EnergyMeter
from layerlottery.cost.gpu import find_gpu
from layerlottery.data.batches import pass_size
from layerlottery.evaluation.corruptions import corrupt_images
from layerlottery.networks.answers import logits_of
from layerlottery.networks.initialize import drawn
from layerlottery.networks.predictor import Predictor, fold
from layerlottery.networks.weights import dense_architecture
from layerlottery.planning.estimate import Measured, Passes
from layerlottery.planning.images import ImageCounts
from layerlottery.planning.jobs import Name
from layerlottery.runtime.lease import DEVICE, GPU_DRIVER
from layerlottery.runtime.machine import use_machine
from layerlottery.tickets import find_ticket
from layerlottery.training.kernels import accelerate, keep_freed_memory
from layerlottery.training.precision import autocast, products
from layerlottery.training.recipe import make_optimizer
from layerlottery.words import counted

ENOUGH = 0.6  # seconds of one measurement


def measured(
    benchmark: Benchmark, images: Mapping[str, ImageCounts], names: Collection[Name], *, processes: int, until: float
) -> dict[Name, list[Measured]]:
    """The size and the rates of the named networks, in `processes` at once.

    Few networks are measured several times, side by side as jobs will run. The first is always timed, the others if
    they begin before the monotonic clock shows `until`. With `until` 0 none is timed.
    """
    processes = min(processes, os.cpu_count() or 1)
    tasks = [(benchmark, name, images[name[0]], until) for name in names]
    if until and tasks:
        tasks = [(*tasks[0][:3], float("inf")), *tasks[1:]] * max(1, processes // len(tasks))
    found: dict[Name, list[Measured]] = {name: [] for name in names}
    screen = Console(stderr=True, highlight=False)
    hidden = not screen.is_terminal
    if until and tasks:
        screen.print(f"measuring {counted(len(names), 'network', 'networks')}, some seconds each")
    with _pool(max(1, min(processes, len(tasks)))) as pool:
        waiting = [pool.submit(measure, task) for task in tasks] if pool else []
        results = (one.result() for one in as_completed(waiting)) if pool else map(measure, tasks)
        for name, one in track(results, "measuring", len(tasks), console=screen, transient=True, disable=hidden):
            if not found[name]:
                screen.print(f"measured {name[1]} on {name[0]}")
            found[name].append(one)
    return found


def _pool(processes: int) -> AbstractContextManager[ProcessPoolExecutor | None]:
    if processes == 1:
        return nullcontext()
    # not forked: neither CUDA nor a lock that another thread holds survives that
    try:
        return ProcessPoolExecutor(processes, get_context("spawn"))
    except (OSError, ImportError):
        # its semaphores need a /dev/shm that can be written
        return nullcontext()


def measure(task: tuple[Benchmark, Name, ImageCounts, float]) -> tuple[Name, Measured]:
    """Build one network and measure it, if it is not too late."""
    benchmark, name, images, until = task
    settings, device = benchmark.network(name[1]), use_machine(1, os.environ.get(DEVICE, "auto"))
    trust(settings)
    form = {"channels": images.channels, "classes": images.classes, "image_size": images.size}
    model = drawn(settings, dense_architecture(settings, **form), 0)
    own = [run for run in benchmark.runs() if (run.dataset, run.network) == name and run.structure != SHARE]
    removed = max(run.removed for run in own)
    size = sized(model, images, removed, settings.minimum)
    if time.monotonic() >= until:
        return name, size
    gpu = find_gpu(device)
    meter = EnergyMeter(gpu_ids=None if gpu is None else [gpu.index])
    meter.start()
    began = clock(device)
    forward, gradient, step = timings(model, images, benchmark.recipe(name[1]), device)
    busy, reading = clock(device) - began, meter.stop()
    # memory draws by the clock, whatever this process does
    kwh = (reading.cpu_kwh + reading.gpu_kwh) / busy + reading.ram_kwh / reading.seconds
    return name, replace(size, rates=(forward / size.macs, gradient / size.macs, step / size.macs), kwh=kwh)


def sized(model: nn.Module, images: ImageCounts, removed: int, minimum: int) -> Measured:
    """The size of a network, and what each block saves of which a ticket lost `removed` at random."""
    example = torch.zeros(2, *images.shape)
    cost = find_ticket(model, criterion="random", remove=removed, minimum_per_stage=minimum, example=example).cost
    saved = cost.flops_reduction / max(1, removed), cost.params_reduction / max(1, removed)
    return Measured(cost.macs_before, cost.params_before, *saved)


def timings(model: nn.Module, images: ImageCounts, recipe: TrainingSettings, device: torch.device) -> Passes:
    """Seconds of an image: forward, back to the image, and in a training step."""
    largest, last = pass_size(device), torch.channels_last
    pixels = torch.rand(max(largest, recipe.batch_size), *images.shape, device=device).contiguous(memory_format=last)
    labels = torch.arange(len(pixels), device=device) % images.classes
    predictor = Predictor(fold(model), [0.5] * images.channels, [0.5] * images.channels)
    predictor.to(device).to(memory_format=last).eval().requires_grad_(False)
    model = model.train().to(device).to(memory_format=last if recipe.channels_last else torch.contiguous_format)
    if device.type == "cpu":
        accelerate(model)
        keep_freed_memory()
    optimizer, reduced = make_optimizer(model, recipe), autocast(products(recipe, device), device)

    def forward(count: int) -> None:
        with torch.inference_mode():
            predictor(pixels[:count])

    def gradient(count: int) -> None:
        F.cross_entropy(predictor(pixels[:count].clone().requires_grad_()), labels[:count]).backward()

    def step(count: int) -> None:
        optimizer.zero_grad()
        with reduced:
            logits = logits_of(model(pixels[:count]), training=True)
        F.cross_entropy(logits.float(), labels[:count]).backward()
        optimizer.step()

    now = partial(clock, device)
    return each(forward, largest, now), each(gradient, largest, now), each(step, recipe.batch_size, now)


def clock(device: torch.device) -> float:
    """Seconds that this process kept a core busy, whatever runs beside it; on a GPU seconds on the clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def each(action: Callable[[int], None], most: int, now: Callable[[], float]) -> float:
    """Seconds of an image in batches of `most`, or of fewer where those would take long."""
    count, taken, started = 2, list[float](), time.perf_counter()
    while not taken or time.perf_counter() - started < ENOUGH:
        began = now()
        action(count)
        took = now() - began
        if count < most and took < ENOUGH / 4:
            count = min(2 * count, most)
        else:
            taken.append(took)
    return median(taken) / count


def start_seconds(*, cold: float, warm: bool) -> float:
    """CPU seconds of handing a command to a warm worker; without one, those of a `cold` start."""
    if not warm or GPU_DRIVER.exists():
        return cold
    began = sum(os.times()[:4])
    subprocess.run([sys.executable, "-P", "-c", "import layerlottery.cli.launcher"], check=True)
    return sum(os.times()[:4]) - began


def with_corruption(images: ImageCounts, names: Sequence[str]) -> ImageCounts:
    """The same with the CPU seconds of one corrupted image, the mean over the corruptions."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, *images.shape), dtype=np.uint8)
    began = time.process_time()
    for name in names:
        corrupt_images(pixels, name=name, severity=3, seed=0, indices=np.arange(len(pixels)))
    return replace(images, corrupt_seconds=(time.process_time() - began) / len(pixels) / max(1, len(names)))
