"""How long a forward pass takes, all architectures timed in turns so that the machine's drift hits all alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor, nn

from layerlottery.networks.copies import copied

# the timer brings torch's compiler of extensions along, which warns of a CUDA toolkit on a machine without a GPU
logging.getLogger("torch.utils.cpp_extension").addFilter(
    lambda record: not record.getMessage().startswith("No CUDA runtime is found")
)

from torch.utils.benchmark import Timer  # noqa: E402


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
    timers = {name: _timer(model, image_shape, batch_size, threads) for name, model in models.items()}
    # timeit of a known number of passes: blocked_autorange takes ten times as long to find one
    passes = {name: math.ceil(min_seconds / timer.timeit(3).mean) for name, timer in timers.items()}
    means: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, timer in timers.items():
            means[name].append(timer.timeit(passes[name]).mean)
    return {name: 1000 * median(seconds) for name, seconds in means.items()}


def _timer(model: nn.Module, image_shape: tuple[int, int, int], batch_size: int, threads: int) -> Timer:
    twin = copied(model).float().eval()
    device = next((parameter.device for parameter in twin.parameters()), torch.device("cpu"))
    images = torch.zeros(batch_size, *image_shape, device=device)

    @torch.inference_mode()
    def forward() -> Tensor:
        result: Tensor = twin(images)
        return result

    forward()  # the first pass picks kernels and allocates
    return Timer("forward()", globals={"forward": forward}, num_threads=threads)
