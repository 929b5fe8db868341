"""Clones whose Snakemake and commands run with two jobs at once."""

import os
import sys
from pathlib import Path

import pytest
from tests.workflow.project import clone


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
