"""What commands and the Snakefile may import before they have work to do."""

import json
import re
import subprocess
import sys

import pytest
from tests.workflow.project import ROOT

RULES = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
# every job of Snakemake reads them again
READ = [line for file in RULES for line in re.findall(r"^(?:from|import) layerlottery\b.*", file.read_text(), re.M)]


@pytest.mark.parametrize(
    "imports",
    [
        "\n".join([*READ, "import yaml", f"load_benchmark(yaml.safe_load(open('{ROOT}/config.yaml')))"]),
        "import layerlottery.networks.prune, layerlottery.tables.aggregate",
        "import layerlottery.cli.launcher, layerlottery.cli.main, layerlottery.data.prepare",
    ],
    ids=["the Snakefile", "stages", "commands"],
)
def test_what_must_start_fast_imports_no_torch(imports):
    assert len(READ) > 3
    heavy = "[name for name in ('torch', 'snakemake', 'matplotlib', 'foolbox') if name in sys.modules]"
    ran = subprocess.run(
        [sys.executable, "-c", f"{imports}\nimport sys; print({heavy})"], capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("[]\n", "", 0)


def loaded(program):
    """The names of all modules that a program has imported at its end."""
    program += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["show", "--help"], ["plan", "--help"], ["--version"]])
def test_help_reads_no_settings(words):
    program = f"""
from layerlottery.cli.main import cli
try:
    cli({words}, prog_name="layerlottery")
except SystemExit as done:
    assert done.code == 0"""
    assert not loaded(program) & {
        "pydantic",
        "yaml",
        "numpy",
        "pyarrow",
        "pandas",
        "torch",
        "layerlottery.store.artifacts",
    }


def test_the_snakefile_reads_no_arrays_and_tables():
    # where an image set is prepared its facts are read, too
    program = "\n".join([*READ, "import layerlottery.runtime.begin"])
    assert not loaded(program) & {"numpy", "pyarrow", "pandas", "scipy"}


def test_stages_import_what_they_use():
    program = """
import torch
import layerlottery.criteria.score, layerlottery.evaluation.compare, layerlottery.evaluation.attack
import layerlottery.training.train, layerlottery.networks.prune, layerlottery.networks.initialize
from layerlottery import score
from layerlottery.config.networks import NetworkSettings
from layerlottery.networks.resnet import CifarResNet
network = CifarResNet(NetworkSettings(depth=20, width=4), channels=3, classes=4)
score(network, batch=(torch.rand(4, 3, 8, 8), torch.arange(4)), criterion="snip")
"""
    unused = {"torch._dynamo", "sympy", "foolbox", "codecarbon", "sklearn", "scipy", "matplotlib", "pandas"}
    assert not loaded(program) & unused
