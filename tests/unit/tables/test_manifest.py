"""The manifest: counts as pandas finds them in the table, hashes as sha256sum prints them, nothing that varies."""

import json
import subprocess

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.config.loading import load_benchmark
from layerlottery.config.stages import STAGES
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, write_document, write_table
from layerlottery.store.hashing import digest
from layerlottery.tables.manifest import manifest
from layerlottery.version import __version__

STUDY = {
    "name": "grid",
    "datasets": ["digits"],
    "networks": ["resnet20"],
    "seeds": [0, 1],
    "criteria": ["grasp"],
    "removed": [1, 2],
}
CONFIG = {"datasets": {"digits": {"source": "digits"}}, "studies": [STUDY]}
TRAINED = {
    "package_version": "1.0",
    "git_commit": "a" * 40,
    "torch_version": "2.1",
    "cuda_version": None,
    "driver_version": None,
    "device": "a CPU",
    "host": "node1",
    "slurm_job_id": None,
    "started": "2030-01-02T00:00:00Z",
    "ended": "2030-01-02T01:00:00Z",
}
GPU = {"cuda_version": "13.0", "driver_version": "570.1", "device": "a GPU"}
RUNS = [
    TRAINED | {"seed": 1},
    TRAINED | {"seed": 0, "started": "2030-01-01T23:59:59Z", "git_commit": "a" * 40 + "-dirty"},
    TRAINED | GPU | {"seed": 0, "slurm_job_id": "41_10", "ended": "2030-01-03T00:00:00Z"},
    # resumed in another job, on another node
    TRAINED | GPU | {"seed": 0, "slurm_job_id": "41_9, 7", "host": "node1, node2", "git_commit": None},
    TRAINED | {"seed": 0, "host": None, "started": None, "ended": None},
]


def write_tables(folder, runs):
    for path in map(str, paths.table_files(str(folder))):
        path = folder / path.rpartition("/")[2]
        if path.suffix == ".parquet":
            rows = runs if path.stem == "runs" else [{"name": path.stem}]
            write_table(path, pa.Table.from_pylist(rows), config_hash="made")
        else:
            write_document(path, f"of {path.stem}", comment=("% ", ""), config_hash="made")
    return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("tables"), RUNS)


@pytest.fixture(scope="module")
def facts(tables):
    manifest(tables, tables.parent / "manifest.json", load_benchmark(CONFIG))
    return read_facts(tables.parent / "manifest.json")


def test_the_file_holds_what_the_function_returns(tables, facts, tmp_path):
    made = manifest(tables, tmp_path / "manifest.json", load_benchmark(CONFIG))
    assert facts == made | {"config_hash": facts["config_hash"]}


@pytest.mark.parametrize(
    "column", ["package_version", "git_commit", "torch_version", "cuda_version", "driver_version", "device"]
)
def test_every_value_is_counted(facts, column):
    expected = pd.DataFrame(RUNS)[column].fillna("none").value_counts()
    assert facts[column] == expected.to_dict()


def test_networks_seeds_and_times(facts):
    assert (facts["networks"], facts["seeds"]) == (5, [0, 1])
    assert (facts["started"], facts["ended"]) == ("2030-01-01T23:59:59Z", "2030-01-03T00:00:00Z")


def test_a_resumed_network_counts_for_each_host_and_names_each_job(facts):
    assert facts["host"] == {"node1": 4, "node2": 1, "none": 1}
    assert facts["slurm_jobs"] == {"count": 3, "ids": ["7", "41_9", "41_10"]}


def test_revisions_and_version_are_those_of_the_code(facts):
    assert (facts["revisions"], facts["written_by"]) == (
        {name: stage.revision for name, stage in STAGES.items()},
        __version__,
    )


def test_hashes_are_those_of_sha256sum(tables, facts):
    lines = subprocess.run(
        ["sha256sum", *sorted(path.name for path in tables.iterdir())],
        cwd=tables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert facts["tables"] == {name: content for content, name in (line.split() for line in lines)}
    assert len(lines) == len(paths.TABLES) + 3 * len(paths.PAPER)


def test_the_same_tables_give_the_same_file(tables, facts, tmp_path):
    manifest(tables, tmp_path / "manifest.json", load_benchmark(CONFIG))
    assert (tmp_path / "manifest.json").read_bytes() == (tables.parent / "manifest.json").read_bytes()


def test_tables_of_an_earlier_version_have_no_provenance(tmp_path):
    tables = write_tables(tmp_path / "tables", [{"seed": 3}, {"seed": 4}])
    facts = manifest(tables, tmp_path / "manifest.json", load_benchmark(CONFIG))
    assert (facts["networks"], facts["seeds"]) == (2, [3, 4])
    assert facts["git_commit"] == facts["host"] == {"none": 2}
    assert (facts["slurm_jobs"], facts["started"], facts["ended"]) == ({"count": 0, "ids": []}, None, None)


@pytest.mark.parametrize("name", ["runs.parquet", "summary.parquet", "table1.parquet", "table1.tex", "claims.md"])
def test_a_damaged_or_missing_table_is_named(tmp_path, name):
    path = write_tables(tmp_path / "tables", RUNS) / name
    held = bytearray(path.read_bytes())
    held[3] ^= 1
    path.write_bytes(held)
    with pytest.raises(LayerLotteryError, match=rf"/{name}: its content does not match its hash"):
        manifest(path.parent, tmp_path / "manifest.json", load_benchmark(CONFIG))
    path.unlink()
    with pytest.raises(LayerLotteryError, match=rf"/{name}: no such file"):
        manifest(path.parent, tmp_path / "manifest.json", load_benchmark(CONFIG))
    assert not (tmp_path / "manifest.json").exists()


def test_the_command_takes_the_configuration_of_the_rule(tables, facts, tmp_path):
    given = load_benchmark(CONFIG).manifest_slice()
    words = ["--settings", given, "--tables", str(tables), "--output", str(tmp_path / "manifest.json")]
    assert CliRunner().invoke(cli, ["manifest", *words]).exit_code == 0
    assert read_facts(tmp_path / "manifest.json") == facts


# the configuration


CHANGED = {
    "grasp": {"temperature": 1.0},  # the default of all criteria, but not of this one
    "own": {"function": "snip", "temperature": 1.0},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"results": "elsewhere"},
        {"resources": {"training_threads": 8, "warm_worker": False}},
        {"training": {"epochs": 200}, "attack": {}, "report": {"title": "layerlottery"}},
        {"criteria": {"grasp": {"temperature": 200.0}}},
        {"studies": [STUDY | {"draws": 1, "rewinds": [0], "fills": []}]},
        dict(reversed(CONFIG.items())),
    ],
    ids=str,
)
def test_what_changes_no_result_changes_no_manifest(facts, change):
    assert digest(json.loads(load_benchmark(CONFIG | change).manifest_slice())) == facts["configuration_hash"]


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"epochs": 201}},
        {"report": {"title": "another"}},
        {"criteria": {"grasp": {"temperature": 1.0}}},
        {"criteria": {"own": {"function": "snip"}}},
        {"studies": [STUDY | {"seeds": [0, 1, 2]}]},
        {"energy": {"country": "FRA"}},
        {"datasets": {"digits": {"source": "digits", "test_fraction": 0.25}}},
    ],
    ids=str,
)
def test_a_real_change_changes_the_manifest(facts, change):
    assert digest(json.loads(load_benchmark(CONFIG | change).manifest_slice())) != facts["configuration_hash"]


@pytest.mark.parametrize("criteria", [{}, CHANGED], ids=["built-in", "changed"])
def test_the_configuration_can_be_run_again(criteria):
    benchmark = load_benchmark(CONFIG | {"criteria": criteria, "results": "mine"})
    again = load_benchmark(json.loads(benchmark.manifest_slice()))
    assert again.runs() == benchmark.runs()
    assert all(again.criterion(name) == benchmark.criterion(name) for name in ("grasp", "snip", *criteria))
    assert again.manifest_slice() == benchmark.manifest_slice()


def test_every_benchmark_of_the_repository_survives_its_manifest(request):
    root = request.config.rootpath
    for path in [root / "config.yaml", *(root / "workflow" / "presets").glob("*.yaml")]:
        benchmark = load_benchmark(yaml.safe_load(path.read_text()), path)
        again = load_benchmark(json.loads(benchmark.manifest_slice()))
        kept = {"results": benchmark.results, "resources": benchmark.resources}
        assert again.model_copy(update=kept) == benchmark
