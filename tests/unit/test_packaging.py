"""What the package asks for: versions, which of them are tried, and who is told what when a package is missing."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tests.workflow.project import ROOT

from layerlottery.cli import guard
from layerlottery.extras import EXTRAS, missing

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
NOT_BY_MAKE = {"kubernetes", "lsf", "htcondor"}


def named(requirements):
    """Requirements by the name that package indexes know them by; of one that stands twice both limits count."""
    found = {}
    for one in map(Requirement, requirements):
        name = canonicalize_name(one.name)
        found[name] = found.get(name, one.specifier) & one.specifier
    return found


def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_the_conda_environment_has_what_a_benchmark_needs_as_it_was_tried():
    environment = yaml.safe_load((ROOT / "envs" / "layerlottery.yaml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    needed = named([*PROJECT["dependencies"], *OPTIONAL["benchmark"]])
    assert pip == [f"{name}=={pinned()[name]}" for name in needed]
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert f">={python.removeprefix('python=')}" == PROJECT["requires-python"]


def test_make_installs_versions_that_the_package_asks_for():
    extras = [wanted for name, wanted in OPTIONAL.items() if name not in NOT_BY_MAKE]
    wanted, pins = named([*PROJECT["dependencies"], *chain(*extras)]), pinned()
    assert {
        name: (str(limits), pins.get(name)) for name, limits in wanted.items() if pins.get(name) not in limits
    } == {}


@pytest.mark.parametrize("extra", [None, *OPTIONAL])
def test_every_dependency_has_a_version_from_which_on_it_is_known_to_work(extra):
    limits = named(PROJECT["dependencies"] if extra is None else [*PROJECT["dependencies"], *OPTIONAL[extra]])
    assert [name for name, one in limits.items() if not any(part.operator in (">=", "==") for part in one)] == []


def test_a_benchmark_is_asked_for_in_no_version_older_than_was_run():
    # the library's are tried at their lowest, with make test-lowest; these are not, so their lowest is the one in use
    lowest = {
        name: part.version for name, one in named(OPTIONAL["benchmark"]).items() for part in one if ">" in str(part)
    }
    assert {name: pinned()[name] for name in lowest} == lowest


def test_classifiers_name_the_versions_from_the_lowest_on():
    versions = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if one.startswith("Programming Language")]
    assert versions[0] == PROJECT["requires-python"].removeprefix(">=")
    assert versions == sorted(versions, key=Version)


# what is missing


def imported():
    """Packages of others that src imports, anywhere."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    names = {name.partition(".")[0] for name in found}
    ours = {path.name for path in (ROOT / "src").iterdir()}
    # Snakemake alone imports its plugin
    return names - sys.stdlib_module_names - ours - {"snakemake_interface_logger_plugins"}


def test_every_package_that_is_imported_is_in_the_core_or_its_extra_is_known():
    makers = importlib.metadata.packages_distributions()
    core = {*named(PROJECT["dependencies"]), "pydantic-core"}
    # they come with those that an extra names
    brought = {"eagerpy": "foolbox", "py-cpuinfo": "codecarbon", "snakemake-interface-common": "snakemake"}
    for module in sorted(imported()):
        distributions = {canonicalize_name(name) for name in makers[module]}
        if not distributions & core:
            wanted = named(OPTIONAL[EXTRAS[module]])
            assert distributions & wanted.keys() or {brought.get(name) for name in distributions} & wanted.keys(), (
                module
            )


def test_it_is_told_which_extra_brings_a_missing_package():
    error = ModuleNotFoundError("No module named 'sklearn.metrics'", name="sklearn.metrics")
    assert missing(error) == "the package sklearn is not installed: pip install 'layerlottery[benchmark]'"
    assert missing(ModuleNotFoundError("No module named 'mine'", name="mine")) is None
    # an import that fails in a package that is there is another matter
    assert missing(ImportError("cannot import name", name="pandas")) is None


def test_a_command_that_lacks_a_package_says_so_in_one_line(capsys):
    def command(**given):
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    with pytest.raises(SystemExit) as ended:
        guard.run_guarded(command)
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(
        "the package pandas is not installed: pip install 'layerlottery[benchmark]'\n"
    )


WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None
"""


def without(names, program):
    """Run a program where these packages can't be imported."""
    command = [sys.executable, "-c", WITHOUT.replace("{names}", repr(sorted(names))) + program]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_console_script_of_the_library_alone_says_in_one_line_what_it_lacks():
    ran = without(EXTRAS, "sys.argv = ['layerlottery', '--help']\nfrom layerlottery.cli.launcher import main\nmain()")
    line = r"layerlottery: commands: the package \w+ is not installed: pip install 'layerlottery\[benchmark\]'\n"
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(line, ran.stderr), ran.stderr


LIBRARY = """
import torch
from torch import nn
import layerlottery as ll

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return x + self.conv(torch.relu(x))

def make():
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Block(), Block(), Block(), *tail)

torch.manual_seed(0)
model, batch = make(), (torch.rand(12, 3, 8, 8), torch.arange(12) % 3)
assert list(ll.find_blocks(model, batch[0])) == ["1", "2", "3"]
for name, chosen in ll.CRITERIA.items():
    if not chosen.fits("layers"):
        continue
    try:
        assert len(ll.score(model, batch, name)) == 3, name
    except ll.LayerLotteryError as error:
        assert "the same value" in str(error)  # of so small a network; what it imports it has imported
ticket = ll.find_ticket(model, batch, "grasp", remove=1)
ll.save_ticket(ticket, "ticket.safetensors")
loaded = ll.load_ticket("ticket.safetensors", make)
assert torch.equal(loaded.model(batch[0]), ticket.model(batch[0]))
assert ll.model_card(ticket, name="three less one").startswith("# three less one")
"""


def test_the_library_needs_none_of_the_extras(tmp_path):
    ran = without(EXTRAS, f"import os\nos.chdir({str(tmp_path)!r})\n{LIBRARY}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"ticket.safetensors"}
