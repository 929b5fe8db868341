"""Clones whose Snakemake and commands run with two jobs at once."""

import os
import sys
from pathlib import Path

import pytest
from tests.workflow.project import FIRST, TINY, clone

REWOUND = FIRST | {"name": "rewinding", "scored_at": ["trained"], "rewinds": [1, "random"]}
WIDE = TINY | {
    "studies": [FIRST, REWOUND, FIRST | {"name": "structures", "structures": ["weights"]}],
    # a checkpoint after every batch
    "resources": {"checkpoint_seconds": 0},
}


@pytest.fixture(scope="session")
def cloned():
    """Makes a clone with a configuration in a folder: cloned(folder, config)."""

    def make(folder, config):
        folder.mkdir(parents=True, exist_ok=True)
        project = clone(folder)
        project.write(config)
        scripts = str(Path(sys.executable).parent)
        project.environment = os.environ | {
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        return project

    return make


@pytest.fixture(scope="session")
def wide(cloned, tmp_path_factory):
    """A benchmark with every kind of file that ran to its end; each module takes a copy."""
    project = cloned(tmp_path_factory.mktemp("wide"), WIDE)
    ran = project.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stderr
    return project


@pytest.fixture(scope="module")
def finished(wide, tmp_path_factory):
    project = wide.copy(tmp_path_factory.mktemp("finished"))
    project.write(WIDE)
    project.environment = wide.environment
    return project
