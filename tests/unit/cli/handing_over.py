"""Commands with and without a worker, and a process that owns one."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from layerlottery.runtime.protocol import ADDRESS

# as an installed command, which finds no modules in the current folder
LAUNCH = [sys.executable, "-P", "-c", "from layerlottery.cli.launcher import main; main()"]
OWNER = """
import os, sys
from layerlottery.runtime import warm
warm.start()
print(os.environ["LAYERLOTTERY_WORKER"], flush=True)
sys.stdin.read()
"""
PATIENCE = 60


class Owner:
    """A process that plays Snakemake: it starts a worker and waits."""

    def __init__(self, scratch):
        environment = os.environ | {"TMPDIR": str(scratch)}
        command = [sys.executable, "-P", "-c", OWNER]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = Path(self.process.stdout.readline().strip())
        self.worker = psutil.Process(self.process.pid).children()[0]

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        until(lambda: gone(self.worker))


def gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def without_streams(command, closed):
    """The command with these standard streams closed, by a shell: no hook of this process runs in between."""
    ends = " ".join(f"{stream}>&-" for stream in closed)
    return ["sh", "-c", f'exec "$@" {ends}', "sh", *command] if closed else command


def launch(words, owner=None, closed=(), **options):
    """A running command; with an owner it is handed over to that owner's worker. `closed`: streams that it lacks."""
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    if owner is not None:
        environment[ADDRESS] = str(owner if isinstance(owner, Path) else owner.address)
    environment |= options.pop("environment", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(without_streams([*LAUNCH, *map(str, words)], closed), env=environment, **pipes, **options)


def finish(words, owner=None, **options):
    with launch(words, owner, **options) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def long_training(files, folder):
    log = ["--log", folder / "train.log", "--checkpoint", folder / "checkpoint"]
    return ["train", *files, "--output", folder, "--epochs", 100_000, "--batch-size", 20, *log]


def wait_for_training(folder):
    log = folder / "train.log"
    until(lambda: log.exists() and "epoch 1/" in log.read_text())
