"""The energy of one training segment, by codecarbon in process mode: no network, no files, no outside settings.

What codecarbon does and we don't want is undone here: it reads settings files, logs its own failures instead of
raising them, spawns a process of 1.4 s to learn the CPU's name, lays the whole machine's design power on a SLURM
job of one core, and gives each process the whole package's RAPL energy.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.processor import processor

if TYPE_CHECKING:
    from codecarbon import OfflineEmissionsTracker

POWER_VARIABLE = "CODECARBON_FORCE_CPU_POWER"
MODE = "process"
# few measurements, as the time that each takes is lost; often enough for RAPL counters, the smallest of
# which (65 kJ) wrap after 160 s at 400 W
MEASURE_SECONDS = 60.0


@dataclass(frozen=True)
class EnergyReading:
    """Energy (kWh) and time (s) of one segment, and the watts of the machine's CPUs that were assumed."""

    kwh: float
    seconds: float
    cpu_kwh: float
    gpu_kwh: float
    ram_kwh: float
    power_source: str
    mode: str
    cpu_watts: float


class EnergyMeter:
    """Measures this process from `start` to each `read` and to `stop`, once.

    `gpu_ids` are the NVML indices of the GPUs that train (not torch's, which follow CUDA_VISIBLE_DEVICES); None
    charges no GPU. A GPU's energy is the whole device's. RAPL energy is shared out by CPU time; elsewhere the
    CPU's design power is weighted by the process's load. CODECARBON_FORCE_CPU_POWER states the watts of all the
    machine's CPUs under full load, instead of RAPL and of codecarbon's table.
    """

    def __init__(self, *, gpu_ids: Sequence[int] | None = None) -> None:
        self._gpu_ids = sorted(gpu_ids or [])
        self._tracker: OfflineEmissionsTracker | None = None
        self._began = self._own = self._machine = 0.0

    def start(self) -> None:
        """Probe the hardware and begin; raises LayerLotteryError if nothing would be measured."""
        self._tracker = _new_tracker(self._gpu_ids)
        with _probe_shortcuts():
            _raise_failures(self._tracker, "start")
        self._check_gpus(self._tracker)
        self._stop_sampling(self._tracker)
        self._own, self._machine = _own_seconds(), _machine_seconds()
        self._began = time.perf_counter()

    def read(self) -> EnergyReading:
        """The energy so far, without ending; costs some hundredths of a second."""
        if self._tracker is None:
            raise LayerLotteryError("energy: the meter was read without having been started")
        _raise_failures(self._tracker, "_measure_power_and_energy_if_stale")
        return self._reading(self._tracker)

    def stop(self) -> EnergyReading:
        """Take the last measurement and end; raises LayerLotteryError rather than report nothing as zero."""
        if self._tracker is None:
            raise LayerLotteryError("energy: the meter was stopped without having been started")
        tracker, self._tracker = self._tracker, None
        _raise_failures(tracker, "stop")
        if getattr(tracker, "final_emissions_data", None) is None:
            raise LayerLotteryError("energy: codecarbon ended without a measurement")
        reading = self._reading(tracker)
        if reading.kwh == 0:
            raise LayerLotteryError(f"energy: codecarbon measured nothing in {reading.seconds:.1f} s")
        return reading

    def _reading(self, tracker: OfflineEmissionsTracker) -> EnergyReading:
        seconds = time.perf_counter() - self._began
        own, machine = _own_seconds() - self._own, _machine_seconds() - self._machine
        mode, watts = _cpu_power(tracker)
        share = min(1.0, own / machine) if mode == "intel_rapl" and machine > 0 else 1.0
        cpu, gpu, ram = (getattr(tracker, f"_total_{part}_energy").kWh for part in ("cpu", "gpu", "ram"))
        parts = (cpu * share, gpu if self._gpu_ids else 0.0, ram)
        if not all(math.isfinite(part) and part >= 0 for part in parts):
            raise LayerLotteryError(f"energy: codecarbon measured {parts} kWh (CPU, GPU, memory) in {seconds:.1f} s")
        return EnergyReading(sum(parts), seconds, *parts, self._source(mode, watts), MODE, watts)

    def _check_gpus(self, tracker: OfflineEmissionsTracker) -> None:
        found = [list(part.gpu_ids) for part in tracker._hardware if type(part).__name__ == "GPU"]
        if self._gpu_ids and found != [self._gpu_ids]:
            tracker.stop()
            raise LayerLotteryError(f"energy: codecarbon can't read the power of GPUs {self._gpu_ids}, found {found}")

    def _stop_sampling(self, tracker: OfflineEmissionsTracker) -> None:
        # CPU time and RAPL are counters: sampling each second adds nothing but a rival to the training
        # thread, and its uneven timing read 26 % too much in a segment of 3 s
        sampler = tracker._scheduler_monitor_power
        if sampler and not self._gpu_ids and _cpu_power(tracker)[0] in {"cpu_load", "intel_rapl"}:
            _raise_failures(sampler, "stop")

    def _source(self, mode: str, watts: float) -> str:
        load = f"{mode} {watts:g} W" + (" stated" if stated_cpu_watts() else "")
        cpu = "rapl by share of CPU time" if mode == "intel_rapl" else load
        return "; ".join([cpu] + [f"gpu {index} whole device" for index in self._gpu_ids])


def _new_tracker(gpu_ids: list[int]) -> OfflineEmissionsTracker:
    from codecarbon import OfflineEmissionsTracker, emissions_tracker

    # after the import, which sets the level itself
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    tracker = OfflineEmissionsTracker.__new__(OfflineEmissionsTracker)
    with _swapped(emissions_tracker, "get_hierarchical_config", dict):
        _raise_failures(
            tracker,
            "__init__",
            country_iso_code="USA",  # only the energy is used
            tracking_mode=MODE,
            measure_power_secs=MEASURE_SECONDS,
            output_methods=[],
            log_level="critical",
            allow_multiple_runs=True,
            gpu_ids=gpu_ids,
            force_cpu_power=stated_cpu_watts(),
        )
    return tracker


def stated_cpu_watts() -> float | None:
    """Watts of the machine's CPUs as CODECARBON_FORCE_CPU_POWER states them; None when it is not set."""
    stated = os.environ.get(POWER_VARIABLE)
    if not stated:
        return None
    try:
        watts = float(stated)
    except ValueError:
        watts = math.nan
    if not (math.isfinite(watts) and watts > 0):
        raise LayerLotteryError(f"{POWER_VARIABLE}: {stated!r} is not a number of watts above 0")
    return watts


def _cpu_power(tracker: OfflineEmissionsTracker) -> tuple[str, float]:
    """How codecarbon measures the CPU (cpu_load, intel_rapl, …), and the CPUs' design power in watts."""
    for part in tracker._hardware:
        if type(part).__name__ == "CPU" or getattr(part, "chip_part", None) == "CPU":
            mode = str(getattr(part, "_mode", type(part).__name__))
            watts = part._tdp if mode in {"cpu_load", "constant"} else _table_watts(tracker)
            return mode, float(watts)
    raise LayerLotteryError("energy: codecarbon found no way to measure the CPU")


def _table_watts(tracker: OfflineEmissionsTracker) -> float:
    # where it reads a meter, codecarbon looks no design power up and carries a placeholder
    table = import_module("codecarbon.core.cpu")
    watts = import_module("codecarbon.core.hardware_cache").get_cached_tdp(table).tdp
    sockets = tracker._conf.get("cpu_physical_count") or 1
    return float(watts * sockets if watts else import_module("codecarbon.external.hardware").POWER_CONSTANT)


def _raise_failures(part: object, step: str, **options: object) -> None:
    # codecarbon only logs what goes wrong in a tracker's steps; the functions inside its decorator raise it
    function = getattr(type(part), step)
    try:
        getattr(function, "__wrapped__", function)(part, **options)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise LayerLotteryError(
            f"energy: codecarbon failed to {step.strip('_')}: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _probe_shortcuts() -> Iterator[None]:
    """Spare codecarbon's hardware probe its slowest part, and hide SLURM's count of cores from it.

    With SLURM's count, a job of one core would be charged the design power of all the machine's cores.
    """
    cpuinfo = import_module("cpuinfo")
    util, ram = import_module("codecarbon.core.util"), import_module("codecarbon.external.ram")
    name = processor("model name")
    probe = (lambda: {"brand_raw": name}) if name else cpuinfo.get_cpu_info
    with (
        _swapped(cpuinfo, "get_cpu_info", probe),
        _swapped(util, "SLURM_JOB_ID", None),
        _swapped(ram, "SLURM_JOB_ID", None),
    ):
        yield


@contextmanager
def _swapped(module: ModuleType, name: str, value: object) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _own_seconds() -> float:
    """CPU seconds of this process and of those that it started, ended ones and others."""
    psutil = import_module("psutil")
    total = sum(os.times()[:4])
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def _machine_seconds() -> float:
    """CPU seconds that the whole machine was busy; Linux counts a guest's time in user and nice already."""
    times = import_module("psutil").cpu_times()._asdict()
    return float(sum(value for kind, value in times.items() if kind not in {"idle", "iowait", "guest", "guest_nice"}))
