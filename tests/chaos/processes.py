"""Snakemake in the background, and the processes that work in a folder."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil

LONGEST, POLL = 600, 0.02


@contextlib.contextmanager
def background(project, output):
    """A plain Snakemake that is still running; what it prints goes into the file `output`."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "tiny.yaml"]
    with output.open("w") as file:
        running = subprocess.Popen(
            command,
            cwd=project.root,
            env=project.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def working_in(folder, *words):
    """The processes that work in a folder and have these words in their command."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if process.cwd() == str(folder) and all(word in command for word in words):
                found.append(process)
    return found


def wait_for(condition, running):
    """Until a condition holds; fails when the process ends before."""
    limit = time.monotonic() + LONGEST
    while not condition():
        assert running.poll() is None
        assert time.monotonic() < limit
        time.sleep(POLL)


@contextlib.contextmanager
def held_still(folder):
    """Every process that works in a folder is stopped, also those that were just being started."""
    stopped = []
    while new := [process for process in working_in(folder) if process not in stopped]:
        for process in new:
            # one that ends just now has nothing more to do
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped += new
    try:
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
