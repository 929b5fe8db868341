"""The GPU that a torch device is, as NVML knows it: torch counts only the GPUs that it may see, NVML counts all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerlottery.errors import LayerLotteryError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Gpu:
    """NVML's index of a GPU and its default power limit in watts."""

    index: int
    watts: float


def find_gpu(device: torch.device) -> Gpu | None:
    """The GPU behind a torch device, None for a CPU; raises when NVML does not know it."""
    if device.type != "cuda":
        return None
    import pynvml
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        watts = pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000
        return Gpu(pynvml.nvmlDeviceGetIndex(handle), watts)
    except pynvml.NVMLError as error:
        raise LayerLotteryError(f"energy: NVML can't find {uuid} ({error}); its power can't be measured") from error
