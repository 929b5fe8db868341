"""Code of the user's own in a benchmark: what a change of a file runs again, and nothing else."""

import shutil
from pathlib import Path

import pytest
import yaml
from tests.workflow.project import ROOT, clone, counted, edited

from layerlottery.config.recipes import Recipes
from layerlottery.store.artifacts import read_table
from layerlottery.stubs.write import KINDS, write_stub

CONFIG = edited(
    yaml.safe_load((ROOT / "docs" / "examples" / "benchmark.yaml").read_text()),
    lambda config: (
        config.update(results="results"),
        config["datasets"]["stripes"]["options"].update(images=40),
        config["networks"]["mixer"]["options"].update(width=4, depth=2),
        config["criteria"]["influence"].update(images_per_class=1),
        config["studies"][0].update(seeds=[0], criteria=["influence", "random"], removed=[1]),
        config["training"].update(epochs=1),
        config["attack"]["custom"]["momentum"]["options"].update(steps=1),
        # what Snakemake would take for a wildcard
        config["attack"]["custom"].update(same={"function": "same.py:own", "options": {"word": "{seed} {}"}}),
    ),
)
SAME = """
def own(model, images, labels, *, epsilon, seed, word):
    assert word == "{seed} {}"
    return images
"""
NETWORK = "results/networks/dataset=stripes/network=mixer/seed=0"
DENSE = f"{NETWORK}/recipe={Recipes.model_validate({'training': CONFIG['training']}).level('mixer')}"
TARGETS = [
    f"{DENSE}/attack.parquet",
    *(
        f"{NETWORK}/structure=layers/criterion={name}/draw=0/scored_at=init/scores.json"
        for name in ("influence", "random")
    ),
]
TRAIN = {"initialize": 1, "score": 2, "train_dense": 1, "attack": 1}
CHANGED = {
    "nothing": {},
    "criterion.py": {"score": 1},
    "attack.py": {"attack": 1},
    "network.py": TRAIN,
    "dataset.py": {"prepare": 1} | TRAIN,
}


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("extended"))
    shutil.copytree(ROOT / "docs" / "examples", project.root / "docs" / "examples")
    (project.root / "same.py").write_text(SAME)
    project.write(CONFIG, "own.yaml")
    project.ran = project.snakemake(*TARGETS, config=("own.yaml",))
    assert project.ran.returncode == 0, project.ran.stderr
    return project


@pytest.fixture(scope="module")
def announced(extended, tmp_path_factory):
    runs = {}
    for name in CHANGED:
        copy = extended.copy(tmp_path_factory.mktemp("changed"))
        if name != "nothing":
            with (copy.root / "docs" / "examples" / name).open("a") as file:
                file.write("# a comment\n")
        words = ["--snakefile", str(copy.root / "Snakefile"), "--directory", str(copy.root)]
        runs[name] = [*TARGETS, *words, "--configfile", str(copy.root / "own.yaml")]
    return extended.dry_runs(runs)


def test_the_own_attacks_stand_beside_the_others(extended):
    rows = read_table(extended.root / TARGETS[0]).to_pylist()
    assert list(dict.fromkeys(row["name"] for row in rows)) == ["fgsm", "pgd", "momentum", "same"]
    assert len({row["accuracy"] for row in rows if row["name"] == "same"}) == 1


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_file_runs_again_what_depends_on_it(announced, name):
    assert counted(announced[name]) == CHANGED[name]


def test_a_changed_criterion_is_scored_alone(announced):
    assert [job.outputs for job in announced["criterion.py"]] == [[TARGETS[1]]]


def test_what_new_writes_is_a_benchmark_that_can_run(fresh, monkeypatch):
    monkeypatch.chdir(fresh.root)
    runs = {}
    for kind in KINDS:
        *_, benchmark = write_stub(kind, f"my_{kind}", Path("own"))
        words = ["--snakefile", str(fresh.root / "Snakefile"), "--directory", str(fresh.root)]
        runs[kind] = [*words, "--configfile", str(benchmark)]
    for kind, jobs in fresh.dry_runs(runs).items():
        told = counted(jobs)
        # two seeds, each with a dense network and two tickets
        assert (told["train_dense"], told["train_ticket"], told["report"]) == (2, 4, 1), kind
