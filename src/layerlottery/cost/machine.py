"""Where and with what a result was made: commit, versions and device; host and SLURM job of a piece of work.

Nothing here changes a result or fails because something is not known: what is missing is null. Imports torch late.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerlottery.cost.energy import cpu_name
from layerlottery.version import __version__

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).resolve().parents[1]
# a file system that does not answer must not hold up a training
GIT_SECONDS = 5.0


def machine_facts(device: torch.device | None) -> dict[str, Any]:
    """Code, versions and device of this process, all text but cudnn_version; null where there is none.

    `device` is the one that computes; None stands for the CPU, which has neither cudnn_version nor driver_version.
    """
    import torch

    gpu = device is not None and device.type == "cuda"
    return {
        "git_commit": git_commit(PACKAGE),
        "package_version": __version__,
        "python_version": platform.python_version(),
        "torch_version": str(torch.__version__),
        "cuda_version": torch.version.cuda,
        "cudnn_version": torch.backends.cudnn.version() if gpu else None,
        "driver_version": _driver_version() if gpu else None,
        "device": torch.cuda.get_device_name(device) if gpu else _cpu(),
    }


def where() -> dict[str, Any]:
    """The short name of this host and, inside a SLURM job, its id as SLURM shows it and how often it was requeued."""
    job = os.environ.get("SLURM_JOB_ID")
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return {
        "host": socket.gethostname().partition(".")[0],
        "slurm_job_id": f"{array}_{task}" if job and array and task else job or None,
        # SLURM sets no count before the first requeue
        "slurm_restarts": int(restarts) if job and restarts.isdecimal() else None,
    }


def now() -> str:
    """The time as ISO 8601 text, UTC, to the second; the order of texts is the order of times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def git_commit(package: Path) -> str | None:
    """The full commit of the checkout that the folder `package` belongs to; "-dirty" if the package differs.

    None without git, and in a repository that does not track the package: one around an environment's folder, say.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        state = _git(
            package, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no", "--", "."
        ).splitlines()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    heads = (line.removeprefix("# branch.oid ") for line in state if line.startswith("# branch.oid "))
    commit = next(heads, "(initial)")
    changed = any(not line.startswith("#") for line in state)
    return None if commit == "(initial)" else f"{commit}-dirty" if changed else commit


def _git(folder: Path, *words: str) -> str:
    # GIT_DIR and its like, set where a hook started this, name another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # a shared checkout may be another user's; reading takes no lock, other jobs read at the same time
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks", *words]
    ran = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        timeout=GIT_SECONDS,
    )
    return ran.stdout


def _driver_version() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _cpu() -> str:
    return cpu_name() or f"{platform.machine()} CPU"
