"""`layerlottery publish` on a benchmark that ran to its end: what is in the archive, and what never is."""

import hashlib
import json
import shutil
import socket
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from click.testing import CliRunner
from tests.workflow.project import DENSE, TICKET, TINY

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.config.loading import load_benchmark
from layerlottery.errors import LayerLotteryError
from layerlottery.export.archive import publish
from layerlottery.export.published import Published
from layerlottery.networks.weights import load_network
from layerlottery.report.submission import read_submissions
from layerlottery.store import lock
from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.upkeep.verify import verify

HOST = socket.gethostname().partition(".")[0]
PROFILES = {f"https://w3id.org/ro/wfrun/{name}/0.5" for name in ("process", "workflow")}


def unpacked(archive, folder):
    with zipfile.ZipFile(archive) as held:
        held.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def archive(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "benchmark.zip"
    words = ["publish", str(finished.results), "--output", str(path), "--weights", "all", "--license", "CC-BY-4.0"]
    answer = CliRunner().invoke(cli, words)
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith(f"{path}: ")
    return path


@pytest.fixture(scope="module")
def folder(archive, tmp_path_factory):
    return unpacked(archive, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def metadata(folder):
    return {one["@id"]: one for one in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}


def texts(folder):
    """Every text in a folder: files, and the columns and metadata of tables."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield path, json.dumps(table.to_pydict(), default=str) + str(table.schema.metadata)
        elif path.is_file():
            # of weights the header is text
            yield path, path.read_bytes().decode("utf-8", "replace")


# what is in it


def test_the_parts_of_an_archive(folder):
    wanted = {"README.md", "ro-crate-metadata.json", "manifest.json", "config.yaml", "Snakefile"}
    assert {path.name for path in folder.iterdir() if path.is_file()} == wanted
    tables = {Path(path).name for path in paths.table_files("")}
    assert {path.name for path in (folder / "tables").iterdir()} == tables
    assert (folder / "report" / "index.html").is_file()
    assert len(list((folder / "report" / "pages").rglob("*.html"))) == 2
    assert (folder / "workflow" / "rules" / "train.smk").is_file()


def test_the_same_results_give_the_same_bytes_wherever_they_lie(archive, copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish(Published(copied.results, "all", license="CC-BY-4.0"), Path("again.zip"))
    assert Path("again.zip").read_bytes() == archive.read_bytes()


def test_what_is_unpacked_passes_verification_and_is_a_submission(folder):
    found = verify(folder)
    assert found.good
    assert found.intact == len(paths.table_files("")) + 2
    (submission,) = read_submissions([folder])
    assert len(submission.tables.runs) == 2


def test_tables_say_what_those_of_the_results_say(finished, folder):
    for name in paths.TABLES + paths.PAPER:
        published, own = (read_table(Path(paths.table(f"{one}/tables", name))) for one in (folder, finished.results))
        columns = [column for column in own.column_names if column not in ("host", "slurm_job_id")]
        assert published.select(columns).equals(own.select(columns)), name


def test_the_configuration_is_that_of_the_benchmark(folder):
    read = load_benchmark(yaml.safe_load((folder / "config.yaml").read_text()))
    assert read.manifest_slice() == load_benchmark(TINY).manifest_slice()


def test_weights_rebuild_their_networks_and_have_cards(finished, folder):
    for run in (DENSE, TICKET):
        own = finished.root / run / "weights.safetensors"
        published = folder / "weights" / run.removeprefix("results/networks/") / "weights.safetensors"
        before, after = (load_network(path)[0].state_dict() for path in (own, published))
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert published.with_name("README.md").read_text().startswith("# tiny on digits, ")
    assert len(list((folder / "weights").rglob("*.safetensors"))) == 2


# what never is


def test_no_name_of_a_host_a_user_or_a_folder_of_this_machine(finished, folder):
    runs = read_table(finished.results / "tables" / "runs.parquet")
    assert set(runs["host"].to_pylist()) == {HOST}
    private = {str(finished.root), str(Path.home()) + "/", f'"{HOST}"', f">{HOST}<"}
    for path, text in texts(folder):
        assert [one for one in private if one in text] == [], path
    assert read_facts(folder / "manifest.json")["host"] == {"machine1": 2}


def test_machines_can_be_left_out(finished, tmp_path):
    publish(Published(finished.results, "dense", machines=False), tmp_path / "a.zip")
    folder = unpacked(tmp_path / "a.zip", tmp_path / "unpacked")
    device = read_table(finished.results / "tables" / "runs.parquet")["device"][0].as_py()
    assert [path for path, text in texts(folder) if device in text or "machine1" in text] == []
    assert read_facts(folder / "manifest.json")["device"] == {"none": 2}
    assert verify(folder).good
    # of --weights dense
    assert len(list((folder / "weights").rglob("*.safetensors"))) == 1


# the crate


def test_the_crate_describes_every_file_by_its_bytes(folder, metadata):
    files = [path for path in folder.rglob("*") if path.is_file() and "pages" not in path.parts]
    described = {name for name, one in metadata.items() if "File" in one["@type"]}
    assert described == {path.relative_to(folder).as_posix() for path in files} - {"ro-crate-metadata.json"}
    assert described | {"report/pages/"} == {one["@id"] for one in metadata["./"]["hasPart"]}
    for name in described:
        held = (folder / name).read_bytes()
        assert metadata[name]["sha256"] == hashlib.sha256(held).hexdigest()
        assert metadata[name]["contentSize"] == str(len(held))


def test_the_crate_is_a_workflow_run_crate(folder, metadata):
    """The requirements of RO-Crate 1.1, Workflow RO-Crate 1.0 and Workflow Run Crate 0.5 that apply here."""
    descriptor, root = metadata["ro-crate-metadata.json"], metadata["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert {"@id": "https://w3id.org/ro/crate/1.1"} in descriptor["conformsTo"]
    assert root.keys() >= {"name", "description", "datePublished", "license"}
    assert {one["@id"] for one in root["conformsTo"]} >= PROFILES
    workflow = metadata[root["mainEntity"]["@id"]]
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} == set(workflow["@type"])
    assert metadata[workflow["programmingLanguage"]["@id"]]["name"] == "Snakemake"
    run = metadata[root["mentions"]["@id"]]
    assert run["@type"] == "CreateAction"
    assert run["instrument"] == root["mainEntity"]
    facts = read_facts(folder / "manifest.json")
    assert (run["startTime"], run["endTime"]) == (facts["started"], facts["ended"])
    assert run["object"] == {"@id": "config.yaml"}
    made = {one["@id"] for one in run["result"]}
    assert made >= {"manifest.json", "tables/summary.parquet", "report/index.html"}
    # nobody is made up
    assert not {"agent", "author", "creator"} & {key for one in metadata.values() for key in one}


def test_everything_that_the_crate_refers_to_is_described(metadata):
    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else []
            for part in value.values():
                yield from references(part)
        elif isinstance(value, list):
            for part in value:
                yield from references(part)

    # the address of the specification itself needs no entity
    known = metadata.keys() | {"https://w3id.org/ro/crate/1.1"}
    assert set(references(list(metadata.values()))) - known == set()


# what is refused


def told(published, output, **given):
    with pytest.raises(LayerLotteryError) as caught:
        publish(published, output, **given)
    assert not output.exists()
    return str(caught.value)


def test_damaged_results(copied, tmp_path):
    path = copied.results / "tables" / "summary.parquet"
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    line = told(Published(copied.results), tmp_path / "a.zip")
    assert line.startswith(f"{copied.results}: does not pass verification: {path}: ")


@pytest.mark.parametrize("name", ["manifest.json", "report/index.html"])
def test_unfinished_results(name, copied, tmp_path):
    (copied.results / name).unlink()
    line = told(Published(copied.results), tmp_path / "a.zip")
    end = "missing, so this benchmark has not ended: snakemake --cores all"
    assert line == f"{copied.results / name}: {end}"


def test_results_in_use(copied, tmp_path):
    held = lock.try_lock(copied.results / lock.NAME)
    try:
        assert ": in use by a benchmark (" in told(Published(copied.results), tmp_path / "a.zip")
    finally:
        held.release()


def test_tables_without_their_networks_have_no_weights_to_publish(finished, tmp_path):
    for name in ("tables", "report"):
        shutil.copytree(finished.results / name, tmp_path / "results" / name)
    shutil.copy(finished.results / "manifest.json", tmp_path / "results")
    line = told(Published(tmp_path / "results", "dense"), tmp_path / "a.zip")
    assert line.endswith("weights.safetensors: no such file; allowed without the networks: --weights none")
    names = publish(Published(tmp_path / "results"), tmp_path / "a.zip")
    assert [name for name in names if name.endswith(".safetensors")] == []
    readme = zipfile.ZipFile(tmp_path / "a.zip").read("README.md").decode()
    assert "## Weights" not in readme
    assert "License: not stated in this archive." in readme


@pytest.mark.parametrize(
    ("published", "output", "line"),
    [
        ({}, "a.tar", "--output: found a.tar; allowed: a name that ends in .zip"),
        ({"license": "my own"}, "a.zip", "--license: found 'my own'; allowed: an SPDX name such as CC-BY-4.0"),
    ],
)
def test_words_that_mean_nothing(published, output, line, finished, tmp_path):
    assert told(Published(finished.results, **published), tmp_path / output) == line
