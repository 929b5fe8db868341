"""From torch's GPU to NVML's, with a stand-in for NVML: no GPU is needed."""

import sys
from types import SimpleNamespace

import pytest
import torch

from layerlottery.cost.gpu import Gpu, find_gpu
from layerlottery.errors import LayerLotteryError


class NVMLError(Exception):
    pass


@pytest.fixture
def machine(monkeypatch):
    """A machine with GPUs a, b and c, of which torch may see c alone."""
    known = {"GPU-a": 0, "GPU-b": 1, "GPU-c": 2}

    def by_uuid(uuid):
        if uuid not in known:
            raise NVMLError("not found")
        return known[uuid]

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetIndex=lambda handle: handle,
        nvmlDeviceGetPowerManagementDefaultLimit=lambda handle: 300_000 + handle * 1000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    visible = ["c"]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=visible[device.index or 0])
    )
    return visible


def test_the_visible_gpu_is_found_among_all(machine):
    assert find_gpu(torch.device("cuda")) == Gpu(2, 302.0)
    assert find_gpu(torch.device("cuda:0")) == Gpu(2, 302.0)


def test_a_cpu_has_none():
    assert find_gpu(torch.device("cpu")) is None


def test_a_gpu_that_nvml_does_not_know_is_named(machine):
    machine[0] = "z"
    with pytest.raises(LayerLotteryError, match="energy: NVML can't find GPU-z"):
        find_gpu(torch.device("cuda"))
