"""Provenance: the commit is the package's own or none, versions are those installed, jobs are named as SLURM does."""

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from layerlottery.cost import machine
from layerlottery.cost.machine import git_commit, machine_facts, now, where

AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b"]


def git(folder, *words):
    ran = subprocess.run(["git", *AUTHOR, *words], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def repository(folder, *tracked):
    git(folder, "init", "--quiet")
    git(folder, "add", "--force", *tracked)
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "src" / "layerlottery"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "layerlottery"\n')
    return folder


# the commit


def test_the_commit_of_a_clean_checkout(package, tmp_path):
    assert git_commit(package) is None
    commit = repository(tmp_path, ".")
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert git_commit(package) == commit


@pytest.mark.parametrize("staged", [False, True])
def test_a_changed_file_of_the_package_makes_it_dirty(package, tmp_path, staged):
    commit = repository(tmp_path, ".")
    (package / "__init__.py").write_text("changed")
    if staged:
        git(tmp_path, "add", ".")
    assert git_commit(package) == f"{commit}-dirty"


def test_an_edited_configuration_is_no_changed_code(package, tmp_path):
    commit = repository(tmp_path, ".")
    (tmp_path / "README.md").write_text("changed")
    (package / "new.py").write_text("")
    assert git_commit(package) == commit


def test_a_touched_file_is_no_changed_file_and_nothing_is_written(package, tmp_path):
    commit = repository(tmp_path, ".")
    (package / "__init__.py").touch()
    index = (tmp_path / ".git" / "index").read_bytes()
    assert git_commit(package) == commit
    assert (tmp_path / ".git" / "index").read_bytes() == index


def test_a_repository_around_an_installed_package_is_not_its_checkout(package, tmp_path):
    repository(tmp_path, "README.md")
    assert git_commit(package) is None


def test_a_repository_without_a_commit_has_none(package, tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    assert git_commit(package) is None


def test_another_repository_in_the_environment_is_not_believed(package, tmp_path, monkeypatch):
    commit = repository(tmp_path, ".")
    other = tmp_path / "other"
    other.mkdir()
    (other / "__init__.py").write_text("of another")
    repository(other, ".")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert git_commit(package) == commit


@pytest.mark.parametrize(
    "text",
    [None, "", '[project]\nname = "thesis"\n', '[tool.poetry]\nname = "layerlottery"\n', "not [toml", "\xff"],
    ids=["none", "empty", "another's", "no project", "broken", "not text"],
)
def test_a_checkout_of_another_project_does_not_count(package, tmp_path, text):
    if text is None:
        (tmp_path / "pyproject.toml").unlink()
    else:
        (tmp_path / "pyproject.toml").write_text(text, encoding="latin-1")
    repository(tmp_path, ".")
    assert git_commit(package) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("given", [".", ".git"])
def test_a_checkout_of_another_user_does_not_count(package, tmp_path, given):
    repository(tmp_path, ".")
    os.chown(tmp_path / given, 65534, 65534)
    assert git_commit(package) is None


def test_a_checkout_without_a_repository_of_its_own_takes_none_from_above(package, tmp_path):
    inner = tmp_path / "inner"
    shutil.copytree(tmp_path / "src", inner / "src")
    shutil.copy(tmp_path / "pyproject.toml", inner)
    repository(tmp_path, ".")
    assert git_commit(inner / "src" / "layerlottery") is None
    # an empty file instead of a repository
    (inner / ".git").touch()
    assert git_commit(inner / "src" / "layerlottery") is None


def test_a_worktree_and_packed_objects_have_their_own_commit(package, tmp_path):
    repository(tmp_path, ".")
    other = tmp_path.parent / f"{tmp_path.name}-other"
    git(tmp_path, "worktree", "add", "--quiet", "-b", "more", str(other))
    (other / "src" / "layerlottery" / "words.py").write_text("word = 1\n")
    git(other, "add", ".")
    git(other, "commit", "--quiet", "--message", "second")
    for folder in (tmp_path, other):
        git(folder, "gc", "--quiet")
        assert git_commit(folder / "src" / "layerlottery") == git(folder, "rev-parse", "HEAD")
    (other / "src" / "layerlottery" / "words.py").unlink()
    assert git_commit(other / "src" / "layerlottery").endswith("-dirty")


def trap(path, mark):
    path.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    path.chmod(0o755)
    return str(path)


def test_no_program_of_a_repository_runs(package, tmp_path):
    mark, commit = tmp_path / "ran", repository(tmp_path, ".")
    program = trap(tmp_path / "trap", mark)
    for name in ("filter.own.clean", "filter.own.smudge", "filter.own.process", "core.fsmonitor", "core.pager"):
        git(tmp_path, "config", name, program)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        trap(hooks / name, mark)
    git(tmp_path, "config", "core.hooksPath", str(hooks))
    (tmp_path / ".gitattributes").write_text("* filter=own diff=own\n")
    # as changed to git as a file can be
    (package / "__init__.py").write_text("changed")
    mark.unlink(missing_ok=True)
    assert git_commit(package) == f"{commit}-dirty"
    (package / "__init__.py").write_text("")
    assert git_commit(package) == commit
    assert not mark.exists()


def test_objects_that_a_partial_clone_lacks_are_not_fetched(package, tmp_path):
    repository(tmp_path, ".")
    mark, tree = tmp_path / "ran", git(tmp_path, "rev-parse", "HEAD:src")
    (tmp_path / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    settings = {"url": str(tmp_path), "promisor": "true", "uploadpack": trap(tmp_path / "trap", mark)}
    for name, value in settings.items():
        git(tmp_path, "config", f"remote.origin.{name}", value)
    git(tmp_path, "config", "core.repositoryFormatVersion", "1")
    git(tmp_path, "config", "extensions.partialClone", "origin")
    assert git_commit(package) is None
    assert not mark.exists()


@pytest.mark.parametrize("path", ["", ".", "bin", ":", "./bin:.:"])
def test_a_git_of_the_current_folder_is_none(package, tmp_path, monkeypatch, path):
    repository(tmp_path, ".")
    mark = tmp_path / "ran"
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        trap(folder / "git", mark)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert git_commit(package) is None
    assert not mark.exists()


def test_without_git_there_is_no_commit(package, tmp_path, monkeypatch):
    repository(tmp_path, ".")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert git_commit(package) is None
    assert machine_facts(None)["git_commit"] is None


def test_a_git_that_hangs_is_left_behind(package, tmp_path, monkeypatch):
    repository(tmp_path, ".")
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    monkeypatch.setattr(machine, "GIT_SECONDS", 0.2)
    assert git_commit(package) is None


# versions and device


def test_versions_are_those_installed():
    facts = machine_facts(torch.device("cpu"))
    assert facts["torch_version"].partition("+")[0] == importlib.metadata.version("torch").partition("+")[0]
    assert facts["package_version"] == importlib.metadata.version("layerlottery")
    assert facts["python_version"] == platform.python_version()
    assert facts["cuda_version"] == torch.version.cuda
    assert (facts["cudnn_version"], facts["driver_version"]) == (None, None)


def test_the_cpu_has_its_own_name():
    names = set(re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    name, _, kernels = machine_facts(None)["device"].rpartition(" ")
    assert name in (names or {f"{platform.machine()} CPU"})
    # torch's own words for the same: "CPU capability usage: AVX2"
    assert f"CPU capability usage: {kernels[1:-1]}" in torch.__config__.show()
    assert machine_facts(None) == machine_facts(torch.device("cpu"))


def test_a_cpu_without_a_name_is_named_by_its_kind(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda fact: None)
    assert machine_facts(None)["device"].startswith(f"{platform.machine()} CPU (")


def test_a_gpu_brings_its_name_and_driver(monkeypatch):
    import pynvml

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91000)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "570.1")
    facts = machine_facts(torch.device("cuda:3"))
    assert (facts["device"], facts["driver_version"], facts["cudnn_version"]) == ("GPU 3", "570.1", 91000)

    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert machine_facts(torch.device("cuda:3"))["driver_version"] is None


def test_it_needs_no_torch_to_say_where_it_is():
    check = "import sys; from layerlottery.cost.machine import where; where(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# host and job


@pytest.fixture
def slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(f"SLURM_{name}", value) for name, value in values.items()]


def test_outside_slurm_there_is_only_a_host(slurm, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "node7.cluster.example.org")
    assert where() == {"host": "node7", "slurm_job_id": None, "slurm_restarts": None}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"JOB_ID": "41"}, ("41", 0)),
        ({"JOB_ID": "41", "RESTART_COUNT": "2"}, ("41", 2)),
        ({"JOB_ID": "43", "ARRAY_JOB_ID": "41", "ARRAY_TASK_ID": "7"}, ("41_7", 0)),
        ({"JOB_ID": "", "RESTART_COUNT": "2"}, (None, None)),
        ({"JOB_ID": "41", "RESTART_COUNT": "often"}, ("41", None)),
    ],
)
def test_a_job_is_named_as_slurm_shows_it(slurm, variables, expected):
    slurm(**variables)
    assert (where()["slurm_job_id"], where()["slurm_restarts"]) == expected


def test_now_is_utc_to_the_second():
    before = datetime.now(UTC).replace(microsecond=0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", now())
    assert before <= datetime.fromisoformat(now()) <= datetime.now(UTC)
