"""Starting the warm worker, which imports torch once and forks a child for each command (cli/worker.py)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from layerlottery.runtime.lease import GPU_DRIVER
from layerlottery.runtime.protocol import ADDRESS

# by name: the worker serves every command, so it stands above all rooms that commands need
WORKER = "layerlottery.cli.worker"
# modules of the stages that take a second or so, late imports included: a child has to import whatever is missing here.
# None of them may start threads or touch a GPU before the fork
PRELOADED = (
    "layerlottery.cli.main",
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

    Not beside an NVIDIA driver: CUDA does not survive a fork once anything has asked it for its devices, and
    trainings that fill a GPU do not notice an import.
    """
    if GPU_DRIVER.exists():
        return
    folder = tempfile.mkdtemp(prefix="layerlottery-")  # mode 0700: no other user can hand over commands
    address = str(Path(folder, "socket"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    # one thread each before the fork; every command sets its own number afterwards
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", WORKER, str(listener.fileno()), address]
    owned = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment)  # noqa: S603
    listener.close()
    _owned.append(owned)
    os.environ[ADDRESS] = address
