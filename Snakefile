# layerlottery: configuration -> validated benchmark -> rules -> named targets.
#   snakemake --cores all                                                        config.yaml, minutes on a laptop
#   snakemake --cores all --configfile workflow/presets/cifar10_cpu.yaml         another benchmark
import sys

from snakemake.utils import min_version

from layerlottery import paths
from layerlottery.config.loading import load_benchmark
from layerlottery.config.stages import STAGES
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.begin import begin
from layerlottery.words import terminal

min_version("9.0")


report: "workflow/report/workflow.rst"


# a preset is a whole benchmark: config.yaml is then not read
if not workflow.config_settings.configfiles:

    configfile: "config.yaml"


try:
    BENCHMARK = load_benchmark(config, *workflow.configfiles)
    RUNTIME = begin(workflow, BENCHMARK)
except LayerLotteryError as error:
    sys.exit(terminal(f"layerlottery: {error}"))

FOLDERS, ENVIRONMENT = BENCHMARK.folders, RUNTIME.environment


# none but with --software-deployment-method apptainer
container: RUNTIME.container


onstart:
    RUNTIME.start()


onsuccess:
    RUNTIME.succeed()


onerror:
    RUNTIME.fail()


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
        paths.table_files(FOLDERS.tables),
    localrule: True


rule tables:
    input:
        paths.table_files(FOLDERS.tables),
    localrule: True
