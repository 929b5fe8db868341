"""`layerlottery init`: a folder that Snakemake runs a benchmark in; the wheel's own test runs one in it."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner
from tests.workflow.project import ROOT, Project, job_table

from layerlottery import workflow_files
from layerlottery.cli.main import cli
from layerlottery.config.loading import load_benchmark
from layerlottery.config.overlay import completed
from layerlottery.errors import LayerLotteryError

PRESETS = sorted((ROOT / "workflow" / "presets").glob("*.yaml"))


def init(*words):
    ran = CliRunner().invoke(cli, ["init", *map(str, words)])
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def benchmark(folder, file="config.yaml"):
    """What Snakemake would run with a configuration of a folder, in it."""
    path = folder / file
    return load_benchmark(completed(yaml.safe_load(path.read_text()), path.parent))


def test_a_repository_knows_its_own_files():
    assert workflow_files.FOLDER == ROOT
    assert str(ROOT / "Snakefile") == workflow_files.SNAKEFILE


def test_configuration_presets_and_profiles_are_copies_and_rules_the_packages(tmp_path):
    folder = tmp_path / "a place"
    said = init(folder)
    assert said.splitlines() == [f"{folder}: a benchmark; run it: cd '{folder}' && snakemake --cores all"]
    assert {path.name for path in folder.iterdir()} == {"Snakefile", "config.yaml", "profiles", "workflow"}
    assert (folder / "config.yaml").read_bytes() == (ROOT / "config.yaml").read_bytes()
    for name in ("presets", "profiles", "schemas"):
        ours, theirs = (
            {path.relative_to(root): path.read_bytes() for path in (root / "workflow" / name).rglob("*.*")}
            for root in (ROOT, folder)
        )
        assert ours == theirs
    assert not (folder / "workflow" / "rules").exists()
    assert (folder / "profiles" / "default" / "profile.yaml").is_file()
    assert str(ROOT) not in (folder / "Snakefile").read_text()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_becomes_the_configuration_with_what_it_extends(path, tmp_path):
    init(tmp_path, "--preset", path.stem)
    assert benchmark(tmp_path) == benchmark(path.parent, path.name)


def test_a_dry_run_there_has_the_jobs_of_a_clone(tmp_path):
    init(tmp_path, "--preset", "cifar10_cpu")
    project, clone = Project(tmp_path), Project(ROOT)
    preset = "workflow/presets/cifar10_cpu.yaml"
    here = project.snakemake("--dry-run", config=())
    there = clone.snakemake("--dry-run", "--config", f"results={tmp_path}/none", config=(preset,))
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    assert job_table(here) == job_table(there)
    assert job_table(here)["train_dense"] > 1


@pytest.mark.parametrize("name", ["config.yaml", "Snakefile", "workflow", "profiles"])
def test_a_folder_that_holds_a_benchmark_is_left_alone(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(LayerLotteryError, match=rf"found {name}; allowed: a folder without Snakefile, config.yaml"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_files_may_be_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    init(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "Snakefile").is_file()


def test_an_unknown_preset_makes_nothing(tmp_path):
    with pytest.raises(LayerLotteryError, match=r"--preset: found 'papers'; allowed: .*, paper, .*"):
        init(tmp_path / "new", "--preset", "papers")
    assert not (tmp_path / "new").exists()


def test_an_installed_package_has_them_inside(tmp_path):
    package = tmp_path / "layerlottery"
    package.mkdir()
    for name in ("__init__.py", "version.py", "workflow_files.py"):
        shutil.copy(ROOT / "src" / "layerlottery" / name, package)
    print_it = "from layerlottery.workflow_files import SNAKEFILE; print(SNAKEFILE)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def found():
        ran = subprocess.run(
            [sys.executable, "-c", print_it], env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    assert found() == str(tmp_path.parent / "Snakefile")
    (package / "repository").mkdir()
    assert found() == str(package / "repository" / "Snakefile")


def test_a_folder_that_looks_like_an_option_can_be_entered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "cd ./-dash && snakemake" in init("--", "-dash")
