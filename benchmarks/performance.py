"""Every speed that is promised, goal and measured side by side, and how cost grows: into docs/performance.md.

    make bench
    python benchmarks/performance.py --only criteria pipeline

One benchmark after the other, each a process of its own; how long it took stands above the table. The rows
between the page's two marks and the plots beside it are replaced, nothing else. Needs a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_speed import GOALS
from rows import VERDICTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BENCHMARKS = {
    "training": ["training_speed.py"],
    "criteria": ["criteria_speed.py"],
    "pipeline": ["pipeline_speed.py"],
    "streaming": ["streaming.py"],
    "growth": ["growth.py", "--plots", str(ROOT / "docs/images")],
}


def run(name: str, folder: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of one benchmark, which prints as it goes, and its minutes; as found if the folder has them."""
    program, *words = BENCHMARKS[name]
    output, minutes = folder / f"{name}.json", folder / f"{name}.minutes"
    if not minutes.exists():
        print(f"\n{name}", flush=True)
        began = time.perf_counter()
        command = [sys.executable, str(ROOT / "benchmarks" / program), *words, "--output", str(output)]
        ran = subprocess.run(command, check=False)
        # a benchmark that misses a goal may say so by its status; one that broke has written nothing
        if not output.exists():
            sys.exit(f"{program} ended with status {ran.returncode}; what is measured so far is in {folder}")
        minutes.write_text(str((time.perf_counter() - began) / 60))
    return rows_of(name, json.loads(output.read_text())), float(minutes.read_text())


def rows_of(name: str, found: Any) -> list[dict[str, Any]]:
    if name == "growth":
        return []
    return pipeline_rows(found) if name == "pipeline" else found


def pipeline_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    wall, plan = found["overhead"]["wall"], found["overhead"]["plan"]
    took = f"{wall['ratio']:.2f} x ({wall['pipeline']:.0f} against {wall['warm']:.0f} s)"
    off = f"{plan['percent_off']:+.0f} % ({plan['wall']:.0f} s)"
    error = abs(plan["percent_off"])
    benchmark = f"default benchmark with {found['overhead']['seeds']} seeds, {found['overhead']['jobs']} jobs"
    rerun, dry_run, shown = found["rerun"]["wall"], found["dry_run"]["wall"], found["help"]["cpu"]
    rows = [
        (f"{benchmark}: against one warm process a core", f"<= {GOALS['overhead']} x", took, wall["ratio"], "overhead"),
        (
            "the same: what `layerlottery plan` expects",
            f"within {GOALS['plan']:.0f} %",
            off,
            error,
            "plan",
        ),
        ("default benchmark, all seeds: nothing to do", f"<= {GOALS['rerun']:.0f} s", f"{rerun:.1f} s", rerun, "rerun"),
        ("dry run of paper.yaml", f"<= {GOALS['dry_run']:.0f} s", f"{dry_run:.1f} s", dry_run, "dry_run"),
        ("`layerlottery --help`, CPU", f"<= {GOALS['help']} s", f"{shown:.2f} s", shown, "help"),
    ]
    return [
        {"what": what, "goal": goal, "measured": measured, "met": value <= GOALS[key]}
        for what, goal, measured, value, key in rows
    ]


def machine() -> str:
    """What the figures were measured on, in words."""
    import torch

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    cores = len(os.sched_getaffinity(0))
    units = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    kind = ", ".join([torch.backends.cpu.get_cpu_capability(), *(units or ["no bfloat16 units"])])
    return f"{cores} cores of {model} ({kind}), Python {platform.python_version()}, torch {torch.__version__}"


def table(rows: list[dict[str, Any]], took: dict[str, float], load: float) -> str:
    """The rows, under the day, the machine, the minutes of each benchmark and the load before the first."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    each = ", ".join(f"{name} {minutes:.1f}" for name, minutes in took.items())
    lines = [f"{day}, {machine()}, {sum(took.values()):.1f} minutes ({each}), load at the start {load:.1f}.", ""]
    lines += ["| work | goal | measured | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "**missed**" if row["met"] is False else VERDICTS[row["met"]]
        lines.append(f"| {row['what']} | {row['goal']} | {row['measured']} | {verdict} |")
    return "\n".join(lines)


def write(text: str) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE}: the marks {BEGIN} and {END} are not there")
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, help="these alone, and the page stays as it is")
    parser.add_argument("--folder", type=Path, help="of a run that broke: measures what is not there yet")
    given = parser.parse_args()
    load, rows, took = os.getloadavg()[0], [], {}
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bench-"))
    for name in given.only or BENCHMARKS:
        found, took[name] = run(name, folder)
        rows += found
    text = table(rows, took, load)
    print(f"\n{text}")
    if not given.only:
        write(text)
    if not given.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
