"""Starting the warm worker, which imports torch once and forks a child for each command (cli/worker.py)."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from layerlottery.runtime.lease import GPU_DRIVER
from layerlottery.runtime.protocol import ADDRESS, fill_streams

log = logging.getLogger(__name__)

# by name: the worker serves every command, so it stands above all rooms that commands need
WORKER = "layerlottery.cli.worker"
# modules of the stages that take a second or so, late imports included: a child has to import whatever is missing here.
# None of them may start threads or touch a GPU before the fork
PRELOADED = (
    "layerlottery.cli.main",
    "layerlottery.cli.settings",
    "layerlottery.config.stages",
    "layerlottery.networks.initialize",
    "layerlottery.networks.prune",
    "layerlottery.criteria.score",
    "layerlottery.training.rewind",
    "layerlottery.training.train",
    "layerlottery.training.progress",
    "layerlottery.evaluation.attack",
    "layerlottery.evaluation.compare",
    "layerlottery.evaluation.shift",
    "layerlottery.cost.profile",
    "safetensors.numpy",
    "sklearn.metrics",
    "torch._dynamo",  # counting MACs imports it
    "foolbox",
    "eagerpy.tensor.pytorch",
    "codecarbon",
    "codecarbon.core.powermetrics",
    "cpuinfo",
    "pyarrow.pandas_compat",
    "pandas",
)

# kept, since the pipe closes when its Popen object is forgotten
_owned: list[subprocess.Popen[bytes]] = []


def start() -> None:
    """Start a worker for this process and its children; they find it through the environment.

    Where none can be started, there is none: every command can do without. Nor is there beside an NVIDIA driver: CUDA
    does not survive a fork once anything has asked it for its devices, and trainings that fill a GPU do not notice an
    import.
    """
    os.environ.pop(ADDRESS, None)
    if GPU_DRIVER.exists() or not hasattr(socket, "AF_UNIX"):
        return
    fill_streams()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            address = _bind(listener)
            listener.listen(64)
            _owned.append(_run(listener.fileno(), address))
    except OSError as error:
        log.info("no warm worker: %s", error)
    else:
        os.environ[ADDRESS] = address


def _bind(listener: socket.socket) -> str:
    """A place for a socket in a folder that no other user enters; an address has 108 bytes, some folders more."""
    try:
        return _bind_in(listener, tempfile.gettempdir())
    except OSError:
        return _bind_in(listener, "/tmp")  # noqa: S108 - in a folder of its own


def _bind_in(listener: socket.socket, parent: str) -> str:
    folder = tempfile.mkdtemp(prefix="layerlottery-", dir=parent)  # mode 0700: no other user can hand over commands
    # the worker removes it too, if its owner is killed
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = str(Path(folder, "socket"))
    listener.bind(address)
    return address


def _run(descriptor: int, address: str) -> subprocess.Popen[bytes]:
    # one thread each before the fork; every command sets its own number afterwards
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # -P: not from the current folder, where a user's random.py may lie
    command = [sys.executable, "-P", "-m", WORKER, str(descriptor), address]
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[descriptor], env=environment)
