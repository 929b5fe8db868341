"""The threads and the device that a command computes with."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.lease import lease_gpus
from layerlottery.runtime.threads import set_job_threads

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def use_machine(threads: int, device: str) -> torch.device:
    """Set the number of threads, make algorithms deterministic, and return the device: the GPU that it leased."""
    return use_devices(threads, device, 1)[0]


def use_devices(threads: int, device: str, count: int) -> list[torch.device]:
    """As use_machine, for work over `count` processes, each with its device and its part of the threads.

    Returns all devices; this process is to compute with the first. On a CPU all are the same.
    """
    import torch

    if threads < count:
        log.warning("%d processes share %d CPU threads; --threads should be at least %d", count, threads, count)
    threads = max(1, threads // count)
    torch.set_num_threads(threads)
    set_job_threads(threads)
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise LayerLotteryError(f"--device: found {device!r}; allowed: auto, cpu, cuda, cuda:N")
    alone = count == 1
    if device == "cpu" or (device == "auto" and alone and not torch.cuda.is_available()):
        return [torch.device("cpu")] * count
    if not torch.cuda.is_available() and not alone:
        raise LayerLotteryError(
            f"resources.gpus_per_training: found {count}, but torch sees no GPU here; "
            "allowed: 1; or that many processes on the CPU, with --device cpu or LAYERLOTTERY_DEVICE=cpu"
        )
    if not torch.cuda.is_available():
        raise LayerLotteryError(f"--device: found {device!r}, but torch sees no GPU here; allowed: auto and cpu")
    chosen = [torch.device("cuda", index) for index in _gpus(device, count)]
    compute_on(chosen[0], threads)
    return chosen


def compute_on(device: torch.device, threads: int) -> None:
    """Have this process compute with a device that it may use, deterministically."""
    import torch

    torch.set_num_threads(threads)
    set_job_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        # cuDNN's default rounds factors to 10 bits, which changes orders and answers; a training decides for itself
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        # code that names no GPU, such as a timer that waits for its work, then means this one
        torch.cuda.set_device(device)


def visible_gpus() -> list[str]:
    """The UUIDs of torch's GPUs, in its order; asking takes no memory on any of them."""
    import torch

    torch.cuda.init()
    # not NVML's list, which has an order of its own and holds what CUDA_VISIBLE_DEVICES hides
    gpus = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    # a process sees one slice of a divided GPU; its properties may name the whole
    return [first] if first.startswith("MIG-") and len(gpus) == 1 else gpus


def _gpus(device: str, count: int) -> list[int]:
    gpus = visible_gpus()
    if ":" not in device:
        return lease_gpus(gpus, count)
    if count > 1:
        raise LayerLotteryError(f"--device: found {device!r} for {count} GPUs; allowed: auto, cuda, cpu")
    index = int(device.partition(":")[2])
    if index >= len(gpus):
        raise LayerLotteryError(f"--device: found {device!r}; allowed here are cuda:0 to cuda:{len(gpus) - 1}")
    return [index]
