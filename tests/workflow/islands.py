"""Snakemake with jobs that share nothing: each starts in an empty folder, by the executor in `plugins`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PLUGINS = Path(__file__).with_name("plugins")
LONGEST = 600


def in_storage(folder):
    """Words that tell Snakemake to keep results in a folder elsewhere, and that no file system is shared."""
    words = ("--default-storage-provider", "fs", "--default-storage-prefix", str(folder))
    return [*words, "--shared-fs-usage", "none"]


def on_islands(project, volume=None):
    """Words and environment for jobs on islands, in a folder of the project; `volume` is theirs for checkpoints."""
    place = project.root / "islands"
    place.mkdir(exist_ok=True)
    found = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(PLUGINS)]))
    environment = {"ISLANDS": str(place), "PYTHONPATH": found}
    if volume is not None:
        environment["ISLANDS_VOLUME"] = str(volume)
    return ["--executor", "islands", "--jobs", "2"], environment


def islands(project, storage, *words):
    """Run Snakemake to its end."""
    chosen, environment = on_islands(project)
    # each job starts Snakemake twice and torch once
    return project.snakemake(*words, *chosen, *in_storage(storage), environment=environment, timeout=3600)


def interrupted(project, storage, target, volume):
    """Run Snakemake for one training and kill the training once it has saved a checkpoint; the exit status."""
    chosen, environment = on_islands(project, volume)
    scripts = str(Path(sys.executable).parent)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", target, "--configfile", "tiny.yaml", "--retries", "1"]
    with (project.root / "printed.txt").open("w") as printed:
        running = subprocess.Popen(
            [*command, *chosen, *in_storage(storage)],
            cwd=project.root,
            env=os.environ | environment | {"PATH": path, "OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        _kill_at_checkpoint(project.root / "islands", running)
        return running.wait(LONGEST)
    finally:
        running.kill()


def _kill_at_checkpoint(place, running):
    limit = time.monotonic() + LONGEST
    while not (saved := [*place.glob("train_dense-*/results/checkpoints/networks/**/recipe=*.safetensors")]):
        assert running.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    island = place / saved[0].relative_to(place).parts[0]
    os.killpg(int((island / "process.txt").read_text()), signal.SIGKILL)
