"""SLURM for the tests of this folder; without root or the programs they are skipped, with the reason."""

import os
import shutil

import pytest
from tests.slurm.cluster import Slurm, Workflow, told

PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm slurmdbd munge mariadb-server")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons need root")
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def start(slurm):
    """A function that starts Snakemake on SLURM; whatever still runs after the tests is ended."""
    started = []

    def begin(root, *words):
        started.append(Workflow(root, *words))
        return started[-1]

    yield begin
    for run in started:
        run.kill()
    told("scancel", "--me")
