"""Results in a storage, here a folder: every job gets what it declares, and the tables are those of a shared disk."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.workflow.conftest import run_to_its_end
from tests.workflow.islands import in_storage, interrupted, islands
from tests.workflow.project import DENSE, FIRST, NETWORK, TINY, clone

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.store.artifacts import read_weights
from layerlottery.upkeep.diff import differences

pytest.importorskip("snakemake_storage_plugin_fs", reason="needs snakemake-storage-plugin-fs")
needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync, with which the fs plugin copies")

# what rewinds, and scores weights
WIDE = TINY | {"studies": [FIRST | {"rewinds": [1], "structures": ["layers", "weights"]}]}
TRAIN, TEST = paths.prepared_arrays(".", "train"), paths.prepared_arrays(".", "test")
# of the files that no other rule needs to name: what lies beside facts that it names
BESIDE = {
    **dict.fromkeys(("corrupt", "outliers"), paths.prepared_arrays(".")),
    **dict.fromkeys(("train_dense", "train_ticket", "rewind"), TRAIN + TEST),
    **dict.fromkeys(("score", "score_weights"), TRAIN),
    **dict.fromkeys(("attack", "attack_ticket", "compare"), TEST),
    "shift": [
        *paths.prepared_arrays(".", "test", "shifted", "held_out"),
        paths.corrupted_images("."),
        paths.outlier_images("."),
    ],
}


def arrays(text):
    """The arrays that the jobs of a dry run name as inputs: rule -> names."""
    blocks = re.split(r"\n(?=(?:local)?rule )", text)[1:]
    found = {}
    for block in blocks:
        inputs = re.search(r"^    input: (.+)$", block, re.MULTILINE)
        names = {Path(file).name for file in re.findall(r"[^ ,]+\.npy", inputs[1] if inputs else "")}
        found.setdefault(block.partition(":")[0].split()[-1], set()).update(names)
    return {rule: names for rule, names in found.items() if names}


def pages(results):
    """The pages of the networks, to which the report links."""
    found = {str(page.relative_to(results)) for page in (results / "report/pages").rglob("*.html")}
    assert found
    return found


def expected(rules):
    return {rule: {Path(file).name for file in BESIDE[rule]} for rule in rules}


def test_in_a_storage_each_job_names_the_arrays_that_it_reads(fresh, tmp_path):
    fresh.write(WIDE)
    ran = fresh.snakemake("--dry-run", *in_storage(tmp_path / "storage"))
    assert arrays(ran.stdout + ran.stderr) == expected(BESIDE), ran.stderr


def test_on_a_shared_disk_jobs_find_them_beside_the_facts(fresh):
    fresh.write(WIDE)
    ran = fresh.snakemake("--dry-run")
    assert arrays(ran.stdout + ran.stderr) == expected(["corrupt", "outliers"]), ran.stderr


@pytest.mark.parametrize(("network", "reads"), [("tiny", False), ("built", True)])
def test_only_a_network_of_unknown_blocks_looks_at_images_when_it_is_made(network, reads):
    built = {"family": "torchvision", "name": "resnet18"}
    config = TINY | {"networks": TINY["networks"] | {"built": built}, "studies": [FIRST | {"networks": [network]}]}
    wanted = Benchmark.model_validate(config).asked_arrays(SimpleNamespace(dataset="digits", network=network))
    assert [Path(file).name for file in wanted] == ([Path(file).name for file in TRAIN] if reads else [])


@needs_rsync
def test_a_training_in_a_storage_is_that_of_a_shared_disk(fresh, finished, tmp_path):
    storage = tmp_path / "storage"
    ran = fresh.snakemake(paths.training_facts(DENSE), *in_storage(storage))
    assert ran.returncode == 0, ran.stderr
    ours, theirs = (read_weights(Path(paths.trained_weights(str(root / DENSE)))) for root in (storage, finished.root))
    assert ours[1]["content"] == theirs[1]["content"]
    assert [path.name for path in fresh.results.rglob("*") if path.is_file()] == [".lock"]


@pytest.mark.slow
@needs_rsync
def test_a_benchmark_in_a_storage_has_the_tables_of_one_on_a_shared_disk(fresh, finished, tmp_path_factory):
    storage = tmp_path_factory.mktemp("storage")
    ran = fresh.snakemake(*in_storage(storage))
    assert ran.returncode == 0, ran.stderr
    results = storage / "results"
    assert differences(results / "tables", finished.results / "tables") == []
    # the working folder holds the lock, and checkpoints' empty folders
    assert [path.name for path in fresh.results.rglob("*") if path.is_file()] == [".lock"]
    assert pages(results) == pages(finished.results)
    again = fresh.snakemake(*in_storage(storage))
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
@needs_rsync
def test_jobs_that_share_nothing_make_the_tables_of_a_shared_disk(fresh, tmp_path_factory):
    """With the profile for Kubernetes but for Kubernetes itself: its groups, resources, retries."""
    storage = tmp_path_factory.mktemp("storage")
    fresh.write(WIDE)
    shared = clone(tmp_path_factory.mktemp("shared"))
    shared.write(WIDE)
    run_to_its_end(shared)
    profile = ["--workflow-profile", "workflow/profiles/kubernetes"]
    ran = islands(fresh, storage, *profile)
    assert ran.returncode == 0, ran.stderr
    assert differences(storage / "results/tables", shared.results / "tables") == []
    again = islands(fresh, storage, *profile)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
@needs_rsync
@pytest.mark.parametrize("volume", [False, True])
def test_a_killed_training_goes_on_where_its_checkpoints_lie_on_a_volume(fresh, tmp_path_factory, volume):
    storage, place = tmp_path_factory.mktemp("storage"), tmp_path_factory.mktemp("volume")
    config = TINY | {"training": {"epochs": 60, "batch_size": 30}, "resources": {"checkpoint_seconds": 0}}
    fresh.write(config)
    level = Benchmark.model_validate(config).level("tiny")
    target = f"{NETWORK}/recipe={level}/training.json"
    assert interrupted(fresh, storage, target, place if volume else None) == 0
    (log,) = (storage / "results/logs/train").rglob("*.log")
    assert ("resumed after" in log.read_text()) is volume
