"""GPUs for each process on a machine, usually one: a lock for every GPU, which the kernel frees when its holder dies.

The locks lie in a folder of the user's own, below the temporary directory. They go by the GPUs' UUIDs: a GPU's number
depends on CUDA_VISIBLE_DEVICES. Programs started by the holder do not inherit the lease, and a forked child drops it.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import FolderLock, try_lock

log = logging.getLogger(__name__)

GPU_DRIVER = Path("/dev/nvidiactl")
DEVICE = "LAYERLOTTERY_DEVICE"
JOBS_PER_GPU = "LAYERLOTTERY_JOBS_PER_GPU"
POLL_SECONDS, SAY_SECONDS = 0.5, 60.0
# the turn to wait for several GPUs
SEVERAL = "several"
COUNT = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"

# the leases of this process: GPU -> its lock
_taken: dict[str, FolderLock] = {}


def lease_gpu(gpus: Sequence[str]) -> int:
    """Wait for a free GPU among those named by UUID, and keep it while this process lives; returns its index.

    Each GPU takes LAYERLOTTERY_JOBS_PER_GPU processes at once. A process that already holds one gets the same again.
    """
    return lease_gpus(gpus, 1)[0]


def lease_gpus(gpus: Sequence[str], count: int) -> list[int]:
    """As lease_gpu, `count` different ones; keeps those that get free until there are enough.

    Only one process at a time waits so for several, so that no two wait for what the other one keeps.
    """
    if not gpus:
        raise LayerLotteryError("no GPU found; use --device cpu")
    if count > len(gpus):
        raise LayerLotteryError(
            f"resources.gpus_per_training: found {count}; this machine has {len(gpus)} that torch sees; "
            f"allowed here: 1 to {len(gpus)}"
        )
    held = _held(gpus)
    if len(held) < count:
        folder = _own_folder()
        turn = _wait(lambda: _lock(folder / SEVERAL), len(gpus), folder) if count > 1 else None
        while len(held := _held(gpus)) < count:
            _wait(lambda: _take(gpus, folder, jobs_per_gpu()), len(gpus), folder)
        if turn is not None:
            turn.release()
    return held[:count]


def _held(gpus: Sequence[str]) -> list[int]:
    # a forked child has closed its parent's
    return [place for place, gpu in enumerate(gpus) if gpu in _taken and _taken[gpu].descriptor >= 0]


def _wait(lock: Callable[[], FolderLock | None], count: int, folder: Path) -> FolderLock:
    began, said = time.monotonic(), -SAY_SECONDS
    while (found := lock()) is None:
        waited = time.monotonic() - began
        if waited - said >= SAY_SECONDS:
            log.info("waiting: all GPUs are in use (%d found; holders in %s)", count, folder)
            said = waited
        time.sleep(POLL_SECONDS)
    return found


def _take(gpus: Sequence[str], folder: Path, slots: int) -> FolderLock | None:
    """The lock of a free GPU that this process does not hold yet."""
    held = _held(gpus)
    # every GPU's first slot before any second one
    for slot in range(slots):
        for place, gpu in enumerate(gpus):
            if place in held:
                continue
            lock = _lock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.{slot}")
            if lock is not None:
                _taken[gpu] = lock
                return lock
    return None


def _lock(path: Path) -> FolderLock | None:
    try:
        return try_lock(path)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def jobs_per_gpu() -> int:
    """Processes that may hold one GPU at once: LAYERLOTTERY_JOBS_PER_GPU, 1 when it is not set."""
    stated = os.environ.get(JOBS_PER_GPU) or "1"
    if not re.fullmatch(r"[1-9][0-9]?", stated):
        raise LayerLotteryError(f"{JOBS_PER_GPU}: found {stated!r}; allowed: a whole number from 1 to 99")
    return int(stated)


def gpu_jobs() -> int:
    """Jobs that this machine's GPUs take at once; 0 where jobs compute on the CPU. For the local profile."""
    if os.environ.get(DEVICE) == "cpu" or not GPU_DRIVER.exists():
        return 0
    # in a separate process: Snakemake must neither load torch nor hold a GPU
    counted = subprocess.run([sys.executable, "-P", "-c", COUNT], capture_output=True, text=True, check=False)
    if counted.returncode != 0:
        reason = (counted.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LayerLotteryError(f"torch can't count the GPUs ({reason}); set LAYERLOTTERY_DEVICE=cpu to do without")
    return int(counted.stdout) * jobs_per_gpu()


def _own_folder() -> Path:
    # not $XDG_RUNTIME_DIR, which is removed when the user logs out, while a benchmark goes on
    folder = Path(tempfile.gettempdir(), f"layerlottery-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise _unusable(folder, "not a folder that is yours alone, mode 0700")
    return folder


def _unusable(path: Path, reason: str) -> LayerLotteryError:
    return LayerLotteryError(
        f"{path}: can't hold GPU leases ({reason}); delete it, set TMPDIR to another folder, or name a GPU: cuda:N"
    )
