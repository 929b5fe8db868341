"""What commands and the Snakefile may import before they have work to do."""

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
