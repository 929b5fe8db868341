# layerlottery: configuration -> validated benchmark -> rules -> named targets.
#   snakemake --cores all                                                        config.yaml, minutes on a laptop
#   snakemake --cores all --configfile workflow/presets/cifar10_cpu.yaml         another benchmark
import gc
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod, Quietness
from snakemake.utils import min_version

from layerlottery import dry_run, paths, relay, requeue, scheduling, submission, worker
from layerlottery.benchmark import load_benchmark
from layerlottery.errors import LayerLotteryError
from layerlottery.extensions import trust
from layerlottery.results import lock, recovery
from layerlottery.revisions import REVISIONS

min_version("9.0")

# the jobs live to the end: looking through them all for garbage, again and again, takes a twelfth of the planning
gc.set_threshold(100_000)

# Snakemake works out the environment of every single job, a tenth of the planning: only for those who use it, and for
# lint, which plans nothing
PLANNED, WANTED = workflow.dag_settings, workflow.deployment_settings.deployment_method
ENVIRONMENT = None if PLANNED and DeploymentMethod.CONDA not in WANTED else "../../envs/layerlottery.yaml"

DRY = workflow.output_settings.dryrun
if DRY and Quietness.PROGRESS in (workflow.output_settings.quiet or ()):
    dry_run.show_job_table()

# a preset is a whole benchmark: config.yaml is not read beside it
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


try:
    BENCHMARK = load_benchmark(config)
except LayerLotteryError as error:
    sys.exit(f"layerlottery: {error}")

FOLDERS = BENCHMARK.folders

# weights files name the code of the user's own networks: jobs run none but what the configuration names
trust(*BENCHMARK.networks.values())

if workflow.is_main_process:
    # after a power cut or a kill the same command simply goes on
    abandoned = set() if DRY else recovery.recover(BENCHMARK.results)
else:
    # SLURM speaks to the first process of a job alone
    relay.relay_sigterm()


onstart:
    if workflow.local_exec:
        scheduling.lift_default_limit(workflow.scheduler)
    if workflow.is_main_process:
        try:
            # one benchmark at a time in a results folder, whichever folder it was started from
            lock.acquire(Path(BENCHMARK.results))
            requeue.withdraw(abandoned)
            recovery.forget(BENCHMARK.results)
            if not workflow.local_exec:
                typed = workflow.config_settings
                submission.check_words(map(str, [Path.cwd(), *typed.configfiles, *(typed.config_args or ())]))
        except LayerLotteryError as error:
            sys.exit(f"layerlottery: {error}")
    if workflow.is_main_process and workflow.local_exec and BENCHMARK.resources.warm_worker:
        worker.start()


wildcard_constraints:
    **paths.WILDCARDS,


include: "workflow/rules/data.smk"
include: "workflow/rules/tickets.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        FOLDERS.report(),
        FOLDERS.manifest(),
    localrule: True


rule tables:
    input:
        [paths.table(FOLDERS.tables, name) for name in paths.TABLES + paths.PAPER],
    localrule: True
