"""Where and with what a result was made: commit, versions and device; host and SLURM job of a piece of work.

Nothing here changes a result or fails because something is not known: what is missing is null. Imports torch late.
"""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerlottery.runtime.processor import processor
from layerlottery.runtime.programs import output_of
from layerlottery.version import __version__

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).resolve().parents[1]
# a file system that does not answer must not hold up a training
GIT_SECONDS = 5.0
# no configuration but the repository's own, no locks, no download of objects that a partial clone lacks
READ_ONLY = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}


def machine_facts(device: torch.device | None, *, count: int = 1) -> dict[str, Any]:
    """Code, versions and device of this process, all text but cudnn_version; null where there is none.

    `device` is the one that computes; None stands for the CPU, which has neither cudnn_version nor driver_version. With
    a `count` of several, processes with a device each, it says so: 4 × NVIDIA H100.
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
        "device": (f"{count} × " if count > 1 else "") + (torch.cuda.get_device_name(device) if gpu else _cpu()),
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
    """The full commit of the checkout whose src/ holds the folder `package`; "-dirty" if a tracked file differs.

    None without git, in a repository of another user, and in one that does not hold this project: one around an
    environment's folder, say. Git only reads objects, which calls no program that a repository's configuration names:
    no filter, hook or monitor.
    """
    root = package.parents[1]
    try:
        if not _is_own_checkout(root):
            return None
        commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
        listed = _git(root, "ls-tree", "-r", "-z", commit, "--", f"{package.relative_to(root)}/")
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    # mode, kind and hash, then the name
    files = [line.split("\t", 1) for line in listed.split("\0") if line]
    if str(package.relative_to(root) / "__init__.py") not in (name for _, name in files):
        return None
    same = all(_is_blob(root / name, entry.split()[-1]) for entry, name in files)
    return commit if same else f"{commit}-dirty"


def _is_own_checkout(root: Path) -> bool:
    """Whether this user owns the folder and its repository, and its pyproject.toml is this project's."""
    if any(path.lstat().st_uid != os.geteuid() for path in (root, root / ".git")):
        return False
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    return bool(project.get("name") == PACKAGE.name)


def _is_blob(path: Path, name: str) -> bool:
    """Whether a file is the one that git knows by this SHA-1, or SHA-256."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    kind = "sha1" if len(name) == 40 else "sha256"
    return hashlib.new(kind, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == name


def _git(root: Path, *words: str) -> str:
    # GIT_DIR and its like, set where a hook started this, name another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= READ_ONLY | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    switches = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    return output_of("git", *switches, *words, seconds=GIT_SECONDS, folder=root, environment=environment)


def _driver_version() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _cpu() -> str:
    """Its name, and the instructions that torch's kernels use: processors of one name may have others, and round so."""
    import torch

    name = processor("model name") or f"{platform.machine()} CPU"
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
