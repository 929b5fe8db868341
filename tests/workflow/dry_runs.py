"""Many dry runs from one process: Snakemake is imported once, and every run is a fork that calls its command line.

Reads JSON from stdin, name -> words of the command line; writes what each run printed, name -> text. A word
REVISION=STAGE raises that stage's revision within its own run.
"""

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import replace

import smart_open  # noqa: F401 - what a dry run imports late
import snakemake.cli
import snakemake.executors
import snakemake.report
import snakemake.workflow

import layerlottery.config.loading
import layerlottery.runtime.begin  # noqa: F401
from layerlottery.config.stages import STAGES


def dry_run(words):
    """Everything that `snakemake --dry-run` prints with these words."""
    for stage in [word.removeprefix("REVISION=") for word in words if word.startswith("REVISION=")]:
        STAGES[stage] = replace(STAGES[stage], revision=STAGES[stage].revision + 1)
    with tempfile.TemporaryFile("w+") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        try:
            rest = [word for word in words if not word.startswith("REVISION=")]
            snakemake.cli.main(["--dry-run", "--cores", "1", *rest])
        except SystemExit as done:
            print("exit status", done.code)
        sys.stdout.flush()
        sys.stderr.flush()
        printed.seek(0)
        return printed.read()


if __name__ == "__main__":
    runs = json.load(sys.stdin)
    # loads every plugin
    snakemake.cli.get_argument_parser()
    with multiprocessing.get_context("fork").Pool(min(4, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        texts = pool.map(dry_run, runs.values(), chunksize=1)
    json.dump(dict(zip(runs, texts, strict=True)), sys.stdout)
