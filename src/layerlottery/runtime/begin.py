"""Work around Snakemake's own: before it plans the jobs, and before it runs the first one."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.extensions import trust
from layerlottery.config.limits import check_limits
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime import interruption, links, recovery, relay, requeue, scheduling, submission, warm
from layerlottery.runtime.profiles import check_profiles
from layerlottery.runtime.sharing import Declared, beside, check_stored, shares_files
from layerlottery.store import lock
from layerlottery.words import terminal

ENVIRONMENT = "../../envs/layerlottery.yaml"
# the image that jobs run in: a file, or an address such as docker://…
CONTAINER, IMAGE = "LAYERLOTTERY_CONTAINER", "layerlottery.sif"
RECIPE = "envs/layerlottery.def"


@dataclass(frozen=True)
class Runtime:
    """State of a Snakemake process beside the rules; `workflow` is Snakemake's own object."""

    workflow: Any
    benchmark: Benchmark
    abandoned: Collection[str]

    @property
    def environment(self) -> str | None:
        """The conda environment of the rules, where it is asked for.

        Snakemake works out the environment of every single job, a tenth of the planning. Lint, which plans nothing,
        wants to see it.
        """
        lint = not self.workflow.dag_settings
        return ENVIRONMENT if lint or "CONDA" in self._deployment else None

    @property
    def container(self) -> str | None:
        """The container image of the rules, where it is asked for."""
        return _image() if "APPTAINER" in self._deployment else None

    @property
    def _deployment(self) -> list[str]:
        return [method.name for method in self.workflow.deployment_settings.deployment_method]

    @cached_property
    def shares_files(self) -> bool:
        """Whether jobs see the whole results folder, not their declared inputs alone."""
        return shares_files(self.workflow)

    def carried(self, files: Declared) -> Declared | list[str]:
        """Inputs for a rule that reads these files: none where it finds them beside others that it names.

        Without them existing results stay as they are, and Snakemake has fewer files to check in thousands of jobs.
        """
        return [] if self.shares_files else files

    def beside(self, name: str, file: str) -> str | Callable[..., str]:
        """A parameter for a rule: the path of a file that lies beside the input `name`."""
        # as text where that is the path: Snakemake compares it with what it recorded
        return file if self.shares_files else beside(name, file)

    def start(self) -> None:
        """Before the first job: one benchmark at a time in a results folder, and a worker that has torch imported."""
        workflow, results = self.workflow, self.benchmark.results
        if workflow.local_exec:
            scheduling.lift_default_limit(workflow.scheduler)
        if not workflow.is_main_process:
            return
        if workflow.local_exec:
            interruption.pass_on()
        try:
            # whichever folder it was started from
            lock.acquire(Path(results))
            links.check(Path(results))
            requeue.withdraw(self.abandoned)
            recovery.forget(results)
            if not workflow.local_exec:
                typed = workflow.config_settings
                submission.check_words(map(str, [Path.cwd(), *typed.configfiles, *(typed.config_args or ())]))
        except LayerLotteryError as error:
            sys.exit(terminal(f"layerlottery: {error}"))
        for display in _displays(workflow):
            display.start()
        # what runs in an environment of its own must not be handed to a process of this one
        if workflow.local_exec and self.benchmark.resources.warm_worker and not self._deployment:
            warm.start()

    def succeed(self) -> None:
        """After the last job: what trainings kept in case that theirs would be counted as failed can go."""
        if self.workflow.is_main_process:
            recovery.tidy(self.benchmark.results)

    def fail(self) -> None:
        """After a run that did not get to its end."""
        if self.workflow.is_main_process:
            interruption.end()


def _displays(workflow: Any) -> list[Any]:
    """Logger plugins of ours (snakemake_logger_plugin_layerlottery); none where another profile asks for others."""
    return [one for one in workflow.logger_manager.get_log_handlers() if hasattr(one, "begin")]


def _resumes(workflow: Any) -> bool:
    """Whether the job that this process runs goes on where it was interrupted: a training, which has a checkpoint."""
    rules = [workflow.get_rule(target.rulename) for target in workflow.dag_settings.target_jobs]
    return bool(rules) and all("checkpoint" in rule.params.keys() for rule in rules)  # noqa: SIM118 - a Namedlist


def _image() -> str:
    return os.environ.get(CONTAINER) or IMAGE


def check_container(methods: Collection[str]) -> None:
    """Raise LayerLotteryError where jobs are to run in a container whose file is missing."""
    if "APPTAINER" in methods and "://" not in _image() and not Path(_image()).is_file():
        built = f"build it: apptainer build {IMAGE} {RECIPE}, or name another: {CONTAINER}=FILE"
        raise LayerLotteryError(f"{_image()}: no such container image; {built}")


def begin(workflow: Any, benchmark: Benchmark) -> Runtime:
    """Prepare this process for planning a benchmark's jobs, or for running one of them."""
    # jobs live to the end: collecting garbage among them, again and again, takes a twelfth of the planning
    gc.set_threshold(100_000)
    # weights files name the code of user-supplied networks; jobs only run code that the configuration names
    trust(*benchmark.networks.values())
    benchmark.logging.announce()
    benchmark.resources.announce()
    scheduling.hear_sigterm()
    if workflow.is_main_process:
        interruption.listen()
        for line in benchmark.logging.missing():
            print(terminal(f"layerlottery: {line}"), file=sys.stderr)
        check_profiles(sys.argv[1:], gpus=benchmark.resources.gpus_per_training)
        check_container([method.name for method in workflow.deployment_settings.deployment_method])
        check_limits(benchmark)
        check_stored(benchmark.datasets, shared=shares_files(workflow))
        for display in _displays(workflow):
            display.begin(workflow, benchmark)
    dry = workflow.output_settings.dryrun
    abandoned: Collection[str] = ()
    if not workflow.is_main_process:
        # SLURM signals only the first process of a job
        relay.relay_sigterm(lambda: _resumes(workflow))
    elif not dry:
        # after a power cut or a kill, the same command simply resumes
        abandoned = recovery.recover(benchmark.results)
    return Runtime(workflow, benchmark, abandoned)
