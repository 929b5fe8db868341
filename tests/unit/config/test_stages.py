"""The stage table knows every file that the inventories knew which it replaces."""

from pathlib import Path

import pytest
import yaml
from tests.unit.config import old_inventories as old

from layerlottery import paths
from layerlottery.config.benchmark import load_benchmark
from layerlottery.config.stages import STAGES, made
from layerlottery.store import lock
from layerlottery.upkeep import stale, verify

ROOT = Path(__file__).parents[3]
CONFIGURATIONS = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))]


@pytest.fixture(params=CONFIGURATIONS, ids=lambda path: path.stem)
def benchmark(request):
    return load_benchmark(yaml.safe_load(request.param.read_text()))


def test_files_of_a_benchmark(benchmark):
    assert stale.asked_files(benchmark) == old.asked_files(benchmark)
    found = benchmark.network_results()
    assert (set(found), len(found)) == (set(old.network_results(benchmark)), len(old.network_results(benchmark)))
    for run in benchmark.runs():
        files = list(made({paths.TICKET if run.removed else paths.DENSE: [run.folder]}))
        assert sorted(files) == sorted(old.expected(run))


def test_patterns():
    found = {(pattern.pattern, owner) for pattern, owner in stale._patterns()}
    assert found == {(paths.expression(pattern), owner) for pattern, owner in old.patterns()}
    assert (lock.NAME, ".") in old.patterns()
    assert set(verify.MADE) == {one.removeprefix("./") for one in old.MADE}
    # a rewind's journal, and what waits for one, did not count as ours
    more = {one.removeprefix("./") for one in paths.training_state(paths.Folders(".").checkpoint(paths.START))}
    assert set(verify.ON_THE_WAY) - {one.removeprefix("./") for one in (*old.MADE, *old.ON_THE_WAY)} <= more
    assert set(verify.ON_THE_WAY) >= {one.removeprefix("./") for one in (*old.MADE, *old.ON_THE_WAY)}


def test_every_rule_belongs_to_one_stage():
    rules = [rule for stage in STAGES.values() for rule in stage.rules or (stage.name,)]
    assert len(rules) == len(set(rules))
