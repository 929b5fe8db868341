"""How long a forward pass takes, all architectures timed in turns so that the machine's drift hits all alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

import torch
from torch import nn

from layerlottery.networks.copies import copied

# the timer brings torch's compiler of extensions along, which warns of a CUDA toolkit on a machine without a GPU
logging.getLogger("torch.utils.cpp_extension").addFilter(
    lambda record: not record.getMessage().startswith("No CUDA runtime is found")
)

from torch.utils.benchmark import Timer  # noqa: E402

# of a budget, and the passes that timeit makes before those that it times
FEWEST, WARM_UP = 3, 2


def latency(
    models: Mapping[str, nn.Module],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    rounds: int,
    min_seconds: float,
    threads: int,
) -> dict[str, float]:
    """Milliseconds of one forward pass of each model: the median over rounds of each round's mean.

    Images are (batch_size, channels, height, width) float32 on the model's device; the copies that are timed
    are in evaluation mode, without autograd. `min_seconds` is the least time of one model's timing in one round.
    """
    passes = {name: _forward(model, image_shape, batch_size) for name, model in models.items()}
    return in_turns(passes, rounds=rounds, min_seconds=min_seconds, threads=threads)


def in_turns(
    passes: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    min_seconds: float,
    threads: int,
    budget: float = math.inf,
) -> dict[str, float]:
    """Milliseconds of each function: the median over rounds of each round's mean, as `latency` takes them.

    Where so many rounds would take longer than `budget` seconds, there are fewer, but at least FEWEST.
    """
    timers = {name: _timer(forward, threads) for name, forward in passes.items()}
    # timeit of a known number of passes: blocked_autorange takes ten times as long to find one
    guessed = {name: timer.timeit(1 if budget < math.inf else 3).mean for name, timer in timers.items()}
    numbers = {name: math.ceil(min_seconds / mean) for name, mean in guessed.items()}
    a_round = sum(mean * (numbers[name] + WARM_UP) for name, mean in guessed.items())
    rounds = min(rounds, max(FEWEST, int(min(rounds, budget / a_round))))
    means: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, timer in timers.items():
            means[name].append(timer.timeit(numbers[name]).mean)
    return {name: 1000 * median(seconds) for name, seconds in means.items()}


def _forward(model: nn.Module, image_shape: tuple[int, int, int], batch_size: int) -> Callable[[], object]:
    twin = copied(model).float().eval()
    device = next((parameter.device for parameter in twin.parameters()), torch.device("cpu"))
    return partial(twin, torch.zeros(batch_size, *image_shape, device=device))


def _timer(forward: Callable[[], object], threads: int) -> Timer:
    @torch.inference_mode()
    def run() -> None:
        forward()

    run()  # the first pass picks kernels and allocates
    return Timer("run()", globals={"run": run}, num_threads=threads)
