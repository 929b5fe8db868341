"""What a dry run says: the jobs of each stage, and how long they take as far as finished jobs tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from layerlottery.errors import LayerLotteryError
from layerlottery.words import counted, duration
from snakemake_logger_plugin_layerlottery.run import by_stage

if TYPE_CHECKING:
    from layerlottery.config.benchmark import Benchmark

# in Snakemake's reason for a job with other parameters, code or inputs than when it last ran
CHANGED = "changed since last execution"
DETAILS = "each job with its files: --logger-layerlottery-style snakemake"


def only_plan(workflow: Any) -> bool:
    """Let Snakemake end a dry run with its plan, as `--quiet` does; says whether it will.

    Else it goes through all jobs as if they ran, and works out each one's command three times, for a display that
    counts: half of the time. What a profile wants of jobs' resources is only tried on that way, and other loggers may
    want to know of each job.
    """
    from snakemake.settings.enums import Quietness

    alone = len(workflow.logger_manager.get_log_handlers()) == 1
    if not alone or workflow.resource_settings.overwrite_resources:
        return False
    workflow.output_settings.quiet = {Quietness.RULES, Quietness.PROGRESS}
    return True


def planned(dag: Any) -> list[tuple[str, list[str], str]]:
    """Rule, outputs and reason of each job that Snakemake's plan runs."""
    jobs = dag.needrun_jobs()
    return [(job.rule.name, [str(output) for output in job.output], str(dag.reason(job))) for job in jobs]


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
        yield f"finished jobs do not tell how long {which} take; `layerlottery plan` measures and estimates it"
    yield DETAILS
