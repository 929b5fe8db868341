"""Tiny benchmarks that ran to their end, made once for all tests; a test that changes one takes a copy."""

import pytest
from tests.workflow.project import GROWN, clone


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("finished"))
    project.ran = project.snakemake()
    assert project.ran.returncode == 0, project.ran.stderr
    return project


@pytest.fixture(scope="session")
def grown(finished, tmp_path_factory):
    """The finished benchmark after its user has added a seed and a study."""
    project = finished.copy(tmp_path_factory.mktemp("grown"))
    project.before = {path: path.stat().st_mtime_ns for path in project.results.glob("[dn]*/**/*.*")}
    project.write(GROWN)
    project.ran = project.snakemake()
    assert project.ran.returncode == 0, project.ran.stderr
    return project


@pytest.fixture
def fresh(tmp_path):
    return clone(tmp_path)


@pytest.fixture
def copied(finished, tmp_path):
    return finished.copy(tmp_path)
