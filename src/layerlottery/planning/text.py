"""A plan as a table for people."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from layerlottery.planning.plan import Amount, Plan
from layerlottery.words import human_size

NOTE = (
    "Done are jobs whose files are there. Snakemake also compares parameters and contents, and may run more:"
    " `snakemake --dry-run` says what."
)
MEASURED = (
    "Measured here in {seconds:.0f} s with {cores} at once; a second of work took {slowdown:.2f} s on the clock.{busy}"
)
BUSY = " Other programs are using this machine: without them it is faster."
SHEET = "By the data sheet, not measured; energy is the GPUs' design power."
WAITED = 1.25  # seconds on the clock for a second of work, from which on the machine counts as busy


def plan_text(found: Plan, *, width: int | None = None) -> str:
    """The table, what is left as a sentence, and how the figures came about."""
    unit = "CPU" if found.device == "this machine" else "GPU"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    for name in ("stage", "jobs", "done", f"{unit}-hours left", "of", "energy left", "disk left"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, amounts in found.stages.items():
        if amounts["whole"].jobs:
            table.add_row(stage, *_row(amounts["whole"], amounts["left"]))
    table.add_section()
    table.add_row("all", *_row(found.total("whole"), found.total("left")))
    console = Console(file=io.StringIO(), width=width or 100, highlight=False, color_system=None)
    console.print(table)
    console.print(f"\n{_summary(found, unit)}", soft_wrap=True)
    console.print(_origin(found), soft_wrap=True)
    console.print(NOTE, soft_wrap=True)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in str(text).splitlines())


def _row(whole: Amount, left: Amount) -> list[str]:
    done = whole.jobs - left.jobs
    hours = [f"{amount.seconds / 3600:.3f}" for amount in (left, whole)]
    return [str(whole.jobs), str(done), *hours, f"{1000 * left.kwh:.2f} Wh", human_size(left.bytes)]


def _summary(found: Plan, unit: str) -> str:
    left, whole = found.total("left"), found.total("whole")
    networks = f"{found.networks} networks, {found.tickets} of them tickets; {left.jobs} of {whole.jobs} jobs to do"
    places = f"{found.cores} {'cores' if unit == 'CPU' else 'GPUs'}"
    time = f"about {human_time(found.wall_seconds)} with {places} (all anew: {human_time(found.wall_seconds_whole)})"
    co2 = f"{1000 * left.kwh:.1f} Wh, {1000 * found.kg_co2:.1f} g CO2, {human_size(left.bytes)} in {found.results}"
    beside = f"Snakemake and its worker take {human_time(found.pipeline_seconds)} of a core beside."
    return f"{networks}\n{time}; {co2}\n{beside}"


def _origin(found: Plan) -> str:
    if found.device != "this machine":
        return f"{found.device}: {SHEET}"
    busy = BUSY if found.slowdown > WAITED else ""
    seconds = found.calibration_seconds
    return MEASURED.format(seconds=seconds, cores=found.cores, slowdown=found.slowdown, busy=busy)


def human_time(seconds: float) -> str:
    """Seconds as a short text: 48 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length, most in (("s", 1.0, 90), ("min", 60.0, 90), ("h", 3600.0, 48)):
        if seconds / length < most:
            return f"{seconds / length:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86400:.1f} days"
