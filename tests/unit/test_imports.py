"""What commands may import before they have work to do."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    [
        "layerlottery.config.benchmark, layerlottery.paths, layerlottery.runtime.begin, layerlottery.config.stages",
        "layerlottery.networks.prune, layerlottery.tables.aggregate",
        "layerlottery.cli.launcher, layerlottery.cli.main, layerlottery.data.prepare",
    ],
)
def test_modules_that_must_start_fast_import_no_torch(modules):
    check = (
        "import sys; print([name for name in ('torch', 'snakemake', 'matplotlib', 'foolbox') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", f"import {modules}; {check}"], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("[]\n", "", 0)
