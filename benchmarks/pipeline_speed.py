"""What the pipeline adds to the work itself: the default benchmark, with some of its seeds, by Snakemake, and in one
warm process per core.

    python benchmarks/pipeline_speed.py
    python benchmarks/pipeline_speed.py --cores 2 --repeats 3 --output speed.json
    python benchmarks/pipeline_speed.py --only rerun

The warm side imports everything once, forks a process per core, and calls the same commands' functions on the same
files, each as soon as the files that it reads are there. Both sides start from nothing, in folders of their own, and
take turns. Wall time is what the goal is about; CPU time of all processes says more where other work runs beside.
Then a run that finds nothing to do, a dry run of paper.yaml, `layerlottery --help`, and what stages import in a
process of their own, as jobs of a cluster have it, beside `import torch` alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import multiprocessing
import os
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GOALS = {"overhead": 1.15, "rerun": 2.0, "dry_run": 5.0, "plan": 25.0, "help": 0.3}
# what the commands of stages import before their work; the energy meter, foolbox and scikit-learn follow with it
STARTS = {
    "score": ["criteria.score"],
    "prune": ["networks.prune"],
    "train": ["training.train", "training.progress"],
    "attack": ["evaluation.attack"],
    "shift": ["evaluation.shift"],
    "compare": ["evaluation.compare"],
    "profile": ["cost.profile"],
}
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Task:
    """One job of a dry run: the words of its command, the files it reads and writes."""

    words: list[str]
    inputs: set[str]
    outputs: set[str]


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of all processors."""

    wall: float
    cpu: float


def clone(folder: Path) -> Path:
    """A folder with the workflow in it, as a user has cloned it."""
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    return folder


def environment() -> dict[str, str]:
    """One thread a job, the commands of this installation, and bytecode, which is usually kept."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PATH": path, "OMP_NUM_THREADS": "1"}


def spend(action: Callable[[], object]) -> Spent:
    """Time of an action, and CPU time of all processes that it starts, those that outlive their parents too."""
    began, before = time.perf_counter(), _children_seconds()
    action()
    wall = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return Spent(wall, _children_seconds() - before)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def snakemake(folder: Path, *words: str) -> str:
    """What Snakemake prints."""
    command = [sys.executable, "-m", "snakemake", *words]
    ran = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"snakemake failed with status {ran.returncode}: {(ran.stdout + ran.stderr)[-2000:]}")
    return ran.stdout + ran.stderr


def tasks(folder: Path, *words: str) -> list[Task]:
    """The commands of all jobs, as Snakemake would run them."""
    text = snakemake(folder, "--dry-run", "--printshellcmds", "--cores", "1", *words)
    found = []
    for block in re.split(r"\n(?=rule )", text)[1:]:
        command = re.search(r"^Shell command: (?:exec )?layerlottery (.*)$", block, re.MULTILINE)
        if command:
            found.append(Task(shlex.split(command[1]), set(_files(block, "input")), set(_files(block, "output"))))
    return found


def _files(block: str, kind: str) -> list[str]:
    found = re.search(rf"^    {kind}: (.*)$", block, re.MULTILINE)
    return found[1].split(", ") if found else []


def run_warm(folder: Path, work: list[Task], cores: int) -> None:
    """All commands in forks of one process that has imported what they need."""
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            sys.exit(f"the warm side failed with status {status}")
        return
    status = 1
    try:
        os.chdir(folder)
        from layerlottery.runtime.warm import PRELOADED

        for name in PRELOADED:
            __import__(name)
        import torch

        torch.set_num_threads(1)
        _dispatch(work, cores)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _dispatch(work: list[Task], cores: int) -> None:
    left, made = list(work), {file for task in work for file in task.outputs}
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        running: dict[int, Any] = {}
        while left or running:
            ready = [task for task in left if not task.inputs & made]
            # no queue: what becomes ready later may be on a longer way to the end
            for task in ready[: cores - len(running)]:
                left.remove(task)
                running[id(task)] = (task, pool.apply_async(_call, (task.words,)))
            for key, (task, result) in list(running.items()):
                if result.ready():
                    result.get()
                    made -= task.outputs
                    del running[key]
            time.sleep(0.002)


def _call(words: list[str]) -> None:
    from layerlottery.cli.main import cli

    cli(words, standalone_mode=False)


@contextlib.contextmanager
def project(seeds: int | None = None) -> Iterator[Path]:
    """A clone in a temporary folder, its default benchmark with the first so many of its seeds."""
    with tempfile.TemporaryDirectory() as folder:
        cloned = clone(Path(folder))
        if seeds is not None:
            config = cloned / "config.yaml"
            text, found = re.subn(r"seeds: \[.*\]", f"seeds: {list(range(seeds))}", config.read_text())
            assert found == 1
            config.write_text(text)
        yield cloned


def compare(cores: int, repeats: int, words: list[str], *, seeds: int) -> dict[str, Any]:
    """Both sides in turns: the medians' ratio counts."""
    sides: dict[str, list[Spent]] = {"warm": [], "pipeline": []}
    estimates = []
    for _ in range(repeats):
        with project(seeds) as folder:
            work = tasks(folder, *words)
            sides["warm"].append(spend(lambda: run_warm(folder, work, cores)))  # noqa: B023
        with project(seeds) as folder:
            estimates.append(estimate(folder, cores, words))
            sides["pipeline"].append(spend(lambda: snakemake(folder, "--cores", str(cores), *words)))
    found: dict[str, Any] = {"jobs": len(work), "seeds": seeds, "cores": cores, "repeats": repeats}
    found["plan"] = {"wall": statistics.median(estimates), "goal": GOALS["plan"]}
    for kind in ("wall", "cpu"):
        median = {side: statistics.median(getattr(one, kind) for one in spent) for side, spent in sides.items()}
        found[kind] = median | {"ratio": median["pipeline"] / median["warm"]}
    return found


def estimate(folder: Path, cores: int, words: list[str]) -> float:
    """Seconds on the clock that `layerlottery plan` expects."""
    command = [str(Path(sys.executable).with_name("layerlottery")), "plan", "--json", "--cores", str(cores), *words]
    ran = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"layerlottery plan failed with status {ran.returncode}: {ran.stderr[-2000:]}")
    return float(json.loads(ran.stdout)["wall_seconds"])


def rerun(cores: int, repeats: int, words: list[str]) -> dict[str, Any]:
    """Seconds of a plain run in a folder where all is done: everything is touched there, nothing has run."""
    with project() as folder:
        for file in {file for task in tasks(folder, *words) for file in task.outputs}:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        plenty = ["--cores", "100000", "--scheduler", "greedy"]
        snakemake(folder, "--touch", "--forceall", "--quiet", *plenty, *words)
        return _repeated(folder, repeats, "--cores", str(cores), *words)


def dry_run(repeats: int) -> dict[str, Any]:
    """Seconds of a dry run of the paper's benchmark."""
    with project() as folder:
        return _repeated(folder, repeats, "--dry-run", "--configfile", "workflow/presets/paper.yaml")


def help_text(repeats: int) -> dict[str, Any]:
    """Seconds of `layerlottery --help`."""
    spent = [
        spend(lambda: _python("from layerlottery.cli.launcher import main; main()", "--help")) for _ in range(repeats)
    ]
    return {kind: statistics.median(getattr(one, kind) for one in spent) for kind in ("wall", "cpu")}


def starts(repeats: int) -> dict[str, Any]:
    """CPU seconds of importing torch, and, for each stage, its imports' as a multiple: medians of turns."""
    turns: dict[str, list[float]] = {name: [] for name in STARTS}
    torch = []
    for _ in range(repeats):
        torch.append(spend(lambda: _python("import torch")).cpu)
        for name, modules in STARTS.items():
            needed = ["cli.main", "cli.settings", "config.stages", "runtime.machine", *modules]
            program = f"import torch, {', '.join(f'layerlottery.{one}' for one in needed)}"
            turns[name].append(spend(lambda: _python(program)).cpu / torch[-1])  # noqa: B023
    return {"torch": statistics.median(torch)} | {name: statistics.median(found) for name, found in turns.items()}


def _python(program: str, *words: str) -> None:
    command = [sys.executable, "-c", program, *words]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)


def _repeated(folder: Path, repeats: int, *words: str) -> dict[str, Any]:
    spent = [spend(lambda: snakemake(folder, *words)) for _ in range(repeats)]
    return {kind: statistics.median(getattr(one, kind) for one in spent) for kind in ("wall", "cpu")}


def show(name: str, found: dict[str, Any]) -> bool:
    """Print goal and measurement; whether the goal is met."""
    if name == "start":
        stages = ", ".join(f"{stage} {found[stage]:.2f}" for stage in STARTS)
        print(f"imports of a stage's process, times those of torch ({found['torch']:.1f} s CPU): {stages}", flush=True)
        return True
    goal = GOALS[name]
    if name == "help":
        print(f"layerlottery --help: {found['wall']:.2f} s, {found['cpu']:.2f} s CPU\n{'':4}goal: {goal} s CPU or less")
        return bool(found["cpu"] <= goal)
    if name == "overhead":
        for kind in ("wall", "cpu"):
            one = found[kind]
            text = f"pipeline {one['pipeline']:.1f} s, warm processes {one['warm']:.1f} s, ratio {one['ratio']:.2f}"
            print(f"{kind} time of {found['jobs']} jobs, {found['cores']} cores: {text}")
        print(f"{'':4}goal: wall ratio {goal} or less", flush=True)
        return bool(found["wall"]["ratio"] <= goal) and _show_plan(found)
    label = {"rerun": "a run with nothing to do", "dry_run": "dry run of paper.yaml"}[name]
    print(f"{label}: {found['wall']:.1f} s, {found['cpu']:.1f} s CPU\n{'':4}goal: {goal:.0f} s or less", flush=True)
    return bool(found["wall"] <= goal)


def _show_plan(found: dict[str, Any]) -> bool:
    expected, took = found["plan"]["wall"], found["wall"]["pipeline"]
    found["plan"]["percent_off"] = off = 100 * (expected / took - 1)
    print(
        f"layerlottery plan expected {expected:.1f} s: {off:+.0f} %\n{'':4}goal: within {GOALS['plan']:.0f} %",
        flush=True,
    )
    return abs(off) <= GOALS["plan"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only",
        choices=("overhead", "rerun", "dry_run", "help", "start"),
        action="append",
        help="measure this alone; repeat for several",
    )
    parser.add_argument("--seeds", type=int, default=2, help="of the default benchmark that are compared")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="jobs at once")
    parser.add_argument("--repeats", type=int, default=1, help="turns of both sides; the others are done three times")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("words", nargs="*", help="more words for Snakemake, after --: another benchmark, say")
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    measured = {
        "rerun": lambda: rerun(given.cores, max(3, given.repeats), given.words),
        "dry_run": lambda: dry_run(max(3, given.repeats)),
        "help": lambda: help_text(max(5, given.repeats)),
        "start": lambda: starts(max(3, given.repeats)),
        "overhead": lambda: compare(given.cores, given.repeats, given.words, seeds=given.seeds),
    }
    found, met = {}, True
    for name in given.only or measured:
        found[name] = measured[name]() | {"goal": GOALS.get(name)}
        met &= show(name, found[name])
    if given.output:
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    if not met:
        sys.exit("a goal is missed")


if __name__ == "__main__":
    main()
