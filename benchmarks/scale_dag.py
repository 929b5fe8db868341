"""`snakemake --dry-run` on a synthetic benchmark: time and peak memory, beside the goals for 20,000 networks.

    python benchmarks/scale_dag.py
    python benchmarks/scale_dag.py --networks 1000 --output table --repeats 3
    python benchmarks/scale_dag.py --networks 1000 --done

Nothing runs: the workflow is copied to a temporary folder and planned there by a child process. With --done its files
are empty ones that Snakemake holds for finished, and the plan is that nothing is to be done. CPU time says more
than the clock where other work runs beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerlottery.config.recipes import Recipes
from layerlottery.config.studies import Study, expand

ROOT = Path(__file__).parents[1]
PAPER = 425  # networks of paper.yaml
GOALS = {PAPER: (5, 3.0), 20_000: (180, 3.0)}  # seconds and GiB
OUTPUTS = {"quiet": ["--quiet"], "table": ["--quiet", "rules"], "full": []}

NETWORKS = ["resnet32", "resnet44", "resnet56", "resnet110"]
CRITERIA = ["random", "random_spread", "l1", "magnitude", "snip", "grasp", "snip_signed", "synflow"]
CRITERIA += ["hrank", "expectabs", "pls", "kl", "cka", "cka_iterative", "consensus", "l1_mean"]


@dataclass(frozen=True)
class Figures:
    """One dry run."""

    jobs: int
    wall_seconds: float
    cpu_seconds: float
    peak_gib: float


def configuration(seeds: int) -> dict[str, Any]:
    """1,000 networks a seed: four dense ones, 960 tickets of a grid and 36 more random draws."""
    grid = {"datasets": ["digits"], "networks": NETWORKS, "seeds": list(range(seeds)), "scored_at": ["trained"]}
    studies = [
        grid | {"name": "grid", "criteria": CRITERIA, "removed": [1, 2, 3, 4, 5], "rewinds": [0, 2, "random"]},
        grid | {"name": "draws", "criteria": ["random"], "removed": [5], "draws": 10},
    ]
    return {
        "datasets": {"digits": {"source": "digits"}},
        "criteria": {"l1_mean": {"function": "l1", "reduction": "mean"}},
        "studies": studies,
    }


def clone(folder: Path) -> None:
    """A folder with the workflow in it, as a user has cloned it."""
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)


def snakemake(folder: Path, config: str, *words: str) -> tuple[str, float, float, float]:
    """What Snakemake prints, wall and CPU seconds, peak resident GiB of its process."""
    command = [sys.executable, "-m", "snakemake", "--configfile", config, *words]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryFile("w+") as printed:
        began = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        printed.seek(0)
        text = printed.read()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"snakemake failed with status {child.returncode}: {text[-2000:]}")
    return text, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def dry_run(folder: Path, config: str, *words: str) -> Figures:
    """Plan once; the jobs are those that the printed table counts."""
    text, wall, cpu, gib = snakemake(folder, config, "--dry-run", *words)
    total = re.search(r"^all +(\d+)$", text, re.MULTILINE)
    if not total and "Nothing to be done" not in text:
        sys.exit(f"no table of jobs: {text[-2000:]}")
    return Figures(int(total[1]) if total else 0, wall, cpu, gib)


def finish(folder: Path, config: str) -> None:
    """Empty files for every output, and Snakemake's records of them."""
    planned = snakemake(folder, config, "--dry-run", "--logger-layerlottery-style", "snakemake")[0]
    for outputs in re.findall(r"^    output: (.*)$", planned, re.MULTILINE):
        for name in outputs.split(", "):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    # cores for all jobs of a level at once; else it plans anew for each
    plenty = ["--cores", "1000000", "--scheduler", "greedy", "--config", "resources={warm_worker: false}"]
    snakemake(folder, config, "--touch", "--forceall", "--quiet", *plenty)


def median(runs: list[Figures]) -> Figures:
    """The median of each figure; the most memory."""
    wall, cpu = (statistics.median(getattr(run, name) for run in runs) for name in ("wall_seconds", "cpu_seconds"))
    return Figures(runs[0].jobs, wall, cpu, max(run.peak_gib for run in runs))


def report(networks: int, found: Figures) -> bool:
    """Print the figures, beside the goals where this size has some; whether those are met."""
    print(
        f"{networks:>6,} networks, {found.jobs:>7,} jobs: {found.wall_seconds:6.1f} s, {found.cpu_seconds:6.1f} s CPU,"
        f" {found.peak_gib:.2f} GiB",
        flush=True,
    )
    if networks not in GOALS:
        return True
    seconds, gib = GOALS[networks]
    print(f"{'goal':>15}: {seconds} s, {gib:.2f} GiB", flush=True)
    return found.wall_seconds < seconds and found.peak_gib < gib


def measure(networks: int, *words: str, done: bool, repeats: int) -> bool:
    """Plan benchmarks of one size in a folder of their own; whether the goals are met."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, config = Path(temporary), "workflow/presets/paper.yaml"
        clone(folder)
        if networks != PAPER:
            config, chosen = "scale.json", configuration(-(-networks // 1000))
            networks = len(expand(map(Study.model_validate, chosen["studies"]), Recipes()))
            (folder / config).write_text(json.dumps(chosen))
        if done:
            finish(folder, config)
        return report(networks, median([dry_run(folder, config, *words) for _ in range(repeats)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = [PAPER, 1000, 5000, 20_000]
    parser.add_argument("--networks", type=int, nargs="+", default=sizes, help=f"thousands, or {PAPER}: paper.yaml")
    parser.add_argument("--output", choices=OUTPUTS, default="quiet", help="how much Snakemake prints")
    parser.add_argument("--repeats", type=int, default=1, help="dry runs of each size; their median counts")
    parser.add_argument("--done", action="store_true", help="with every file there: nothing is to be done")
    given = parser.parse_args()
    words = OUTPUTS[given.output]
    met = [measure(networks, *words, done=given.done, repeats=given.repeats) for networks in given.networks]
    if not all(met):
        sys.exit("a goal is missed")


if __name__ == "__main__":
    main()
