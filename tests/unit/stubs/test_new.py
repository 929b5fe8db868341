"""The command `new`: what it writes works as it is, and what it can't write is told in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.workflow.project import ROOT

from layerlottery.cli.main import cli
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.evaluation import ATTACKS
from layerlottery.config.loading import load_benchmark
from layerlottery.stubs.write import KINDS, write_stub

NAMES = {kind: f"my_{kind}" for kind in KINDS}


def call(*words):
    return CliRunner().invoke(cli, ["new", *words])


def told(*words):
    """The one line that a refused command ends with."""
    answer = call(*words)
    assert answer.exit_code == 1
    return str(answer.exception)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A working directory with one stub of each kind in its folder `own`."""
    root = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for kind, name in NAMES.items():
            answer = call(kind, name, "--output", "own")
            assert answer.exit_code == 0, answer.output
            paths = [f"own/{name}.py", f"own/test_{name}.py", f"own/{name}.yaml"]
            assert answer.output.splitlines()[:3] == paths
    return root


def test_the_tests_of_all_four_pass(written):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "own"]
    ran = subprocess.run(command, cwd=written, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert "12 passed" in ran.stdout


def test_what_is_written_has_no_fault_that_a_linter_finds(written):
    words = ["check", "--select", "E,F,N,B,UP,SIM,RUF,PT", "--no-cache", "--isolated", "--line-length", "120", "own"]
    ran = subprocess.run([sys.executable, "-m", "ruff", *words], cwd=written, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_uses_the_function(written, kind, monkeypatch):
    monkeypatch.chdir(written)
    name = NAMES[kind]
    benchmark = load_benchmark(yaml.safe_load(Path("own", f"{name}.yaml").read_text()))
    used = {
        "criterion": lambda: benchmark.criterion(name),
        "network": lambda: benchmark.network(name),
        "dataset": lambda: benchmark.datasets[name],
        "attack": lambda: benchmark.attack.custom[name],
    }[kind]()
    assert used.function == f"own/{name}.py:{name}"
    assert len(benchmark.runs()) == 6
    assert all(name in (run.dataset, run.network, run.criterion) for run in benchmark.runs()) is (
        kind in ("network", "dataset")
    )


def test_a_plain_call_writes_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("attack", "mine").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "mine.yaml", "test_mine.py"]
    assert "function: mine.py:mine" in Path("mine.yaml").read_text()


@pytest.mark.parametrize("name", ["2nd", "with-dash", "Upper", "class", "a b", "../up", "", "_hidden", "x" * 60])
def test_no_name_of_a_module(name, tmp_path):
    assert told("criterion", name, "--output", str(tmp_path)).startswith(
        f"NAME: found {name!r}; allowed: a Python name"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name"), [("criterion", min(CRITERIA)), ("attack", min(ATTACKS)), ("network", "resnet20")]
)
def test_a_built_in_name(kind, name, tmp_path):
    assert told(kind, name, "--output", str(tmp_path)) == f"NAME: {name} is a built-in {kind}; choose another"


@pytest.mark.parametrize("name", ["true", "no", "off", "null"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_yaml_reads_as_something_else(kind, name, tmp_path):
    line = told(kind, name, "--output", str(tmp_path))
    assert line == f"NAME: {name} is no text in YAML, where the benchmark names it; choose another"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["random", "torch", "layerlottery"])
def test_a_name_that_another_module_has(name, tmp_path):
    line = told("dataset", name, "--output", str(tmp_path))
    assert line == f"NAME: {name} is a Python module that is installed; choose another"


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py", "mine.yaml"])
def test_a_file_that_exists_stays_and_nothing_is_written(file, tmp_path):
    (tmp_path / file).write_text("mine")
    line = told("network", "mine", "--output", str(tmp_path))
    assert line == f"{tmp_path / file}: exists already; choose another name, or another folder with --output"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {file: "mine"}


def test_a_link_that_leads_nowhere_stays(tmp_path):
    (tmp_path / "mine.py").symlink_to(tmp_path / "elsewhere.py")
    assert "exists already" in told("network", "mine", "--output", str(tmp_path))
    assert not (tmp_path / "elsewhere.py").exists()


@pytest.mark.parametrize("folder", ["with space", "{seed}", "a:b", "a#b"])
def test_a_folder_that_snakemake_or_yaml_would_misread(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told("network", "mine", "--output", folder).startswith("--output: found ")
    assert list(tmp_path.iterdir()) == []


def test_the_kinds_are_those_of_the_command():
    (kind,) = (one for one in cli.commands["new"].params if one.name == "kind")
    assert tuple(kind.type.choices) == KINDS


def test_every_template_belongs_to_a_kind(tmp_path):
    folder = ROOT / "src" / "layerlottery" / "stubs"
    wanted = {"benchmark.yaml.j2", *(f"{start}{kind}.py.j2" for kind in KINDS for start in ("", "test_"))}
    assert {path.name for path in folder.glob("*.j2")} == wanted
    assert [path.name for path in write_stub("attack", "mine", tmp_path)] == ["mine.py", "test_mine.py", "mine.yaml"]


@pytest.mark.parametrize("name", ["conftest", "test_x", "x_test"])
def test_names_that_pytest_reads_are_refused(name, tmp_path):
    assert told("criterion", name, "--output", str(tmp_path)).startswith(f"NAME: {name} is what pytest calls files")
    assert not [*tmp_path.iterdir()]
