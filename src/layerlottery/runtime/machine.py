"""The threads and the device that a command computes with."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.lease import lease_gpu

if TYPE_CHECKING:
    import torch


def use_machine(threads: int, device: str) -> torch.device:
    """Set the number of threads, make algorithms deterministic, and return the device: the GPU that it leased."""
    import torch

    torch.set_num_threads(threads)
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise LayerLotteryError(f"--device: found {device!r}; allowed: auto, cpu, cuda, cuda:N")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LayerLotteryError(f"--device: found {device!r}, but torch sees no GPU here; allowed: auto and cpu")
    torch.backends.cudnn.benchmark = False
    # cuDNN's default rounds factors to 10 bits, which changes orders and answers; a training decides for itself
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    chosen = torch.device("cuda", _gpu(device))
    # code that names no GPU, such as a timer that waits for its work, then means this one
    torch.cuda.set_device(chosen)
    return chosen


def visible_gpus() -> list[str]:
    """The UUIDs of torch's GPUs, in its order; asking takes no memory on any of them."""
    import torch

    torch.cuda.init()
    # not NVML's list, which has an order of its own and holds what CUDA_VISIBLE_DEVICES hides
    gpus = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    # a process sees one slice of a divided GPU; its properties may name the whole
    return [first] if first.startswith("MIG-") and len(gpus) == 1 else gpus


def _gpu(device: str) -> int:
    gpus = visible_gpus()
    if ":" not in device:
        return lease_gpu(gpus)
    index = int(device.partition(":")[2])
    if index >= len(gpus):
        raise LayerLotteryError(f"--device: found {device!r}; allowed here are cuda:0 to cuda:{len(gpus) - 1}")
    return index
