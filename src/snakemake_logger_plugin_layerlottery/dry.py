"""What a dry run says: the jobs of each stage, and how long they take as far as finished jobs tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from layerlottery.errors import LayerLotteryError
from layerlottery.words import counted, duration
from snakemake_logger_plugin_layerlottery.run import by_stage

if TYPE_CHECKING:
    from layerlottery.config.benchmark import Benchmark

# in Snakemake's reason for a job with other parameters, code or inputs than when it last ran
CHANGED = "changed since last execution"
DETAILS = "each job with its files: --logger-layerlottery-style snakemake"


def table(rules: Mapping[str, int]) -> Table:
    """Jobs by stage, and all."""
    shown = Table("stage", box=None, pad_edge=False)
    shown.add_column("jobs", justify="right")
    for stage, count in by_stage(rules).items():
        shown.add_row(stage, str(count))
    shown.add_row("all", str(sum(by_stage(rules).values())))
    return shown


def forecast(benchmark: Benchmark, jobs: Sequence[tuple[str, list[str], str]], *, cores: int) -> Iterator[str]:
    """Lines on the time that jobs (rule, outputs, reason) take, by what finished ones took."""
    from layerlottery.planning.finished import estimate, jobs_of

    left = jobs_of(((rule, outputs) for rule, outputs, _ in jobs), benchmark.results)
    same = {output for _, outputs, reason in jobs if CHANGED not in reason for output in outputs}
    try:
        found = estimate(benchmark, left, cores=cores, same=same)
    except LayerLotteryError as error:
        yield f"no estimate of the time: {error}"
        found = None
    if found is not None and found.jobs:
        which = "" if found.jobs == len(left) else f" for {found.jobs} of {len(left)} jobs"
        with_cores = counted(cores, "core", "cores")
        yield f"time left{which}: {duration(found.seconds)} with {with_cores}, by what finished jobs took"
    if found is not None and found.jobs < len(left):
        which = "the others" if found.jobs else "these"
        yield f"finished jobs do not tell how long {which} take; `layerlottery plan` estimates it by measuring"
    yield DETAILS
