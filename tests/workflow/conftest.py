"""Tiny benchmarks that ran to their end, made once for all tests; a test that changes one takes a copy."""

from subprocess import CompletedProcess

import pytest
from tests.sharing import shared
from tests.workflow.project import GROWN, Project, clone


@pytest.fixture(autouse=True, scope="module")
def forked():
    Project.forked = True
    yield
    Project.forked = False


def run_to_its_end(project):
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stderr
    (project.root / "printed.txt").write_text(ran.stdout + ran.stderr)


def held(folder):
    """A project that ran to its end, and what its run printed."""
    project = Project(folder)
    project.ran = CompletedProcess([], 0, (folder / "printed.txt").read_text(), "")
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    def run(folder):
        project = clone(folder)
        # in a process of its own, with a worker of its own, as its user starts it
        project.forked = False
        run_to_its_end(project)

    with shared(tmp_path_factory, "finished", run) as folder:
        yield held(folder)


@pytest.fixture(scope="session")
def grown(finished, tmp_path_factory):
    """The finished benchmark after its user has added a seed and a study."""

    def grow(folder):
        project = finished.copy(folder)
        project.write(GROWN)
        run_to_its_end(project)

    with shared(tmp_path_factory, "grown", grow) as folder:
        yield held(folder)


@pytest.fixture
def fresh(tmp_path):
    return clone(tmp_path)


@pytest.fixture
def copied(finished, tmp_path):
    return finished.copy(tmp_path)
