"""What an edit runs again: exactly which jobs, and for which networks.

All edits are made to one finished benchmark: dense networks of seeds 0 and 1; l1 tickets with 1 removed for both and of
2 removed for seed 0; random tickets with 1 and 2 removed for seed 0. That is 2 dense networks and 5 tickets.
"""

import os
import re
import shutil
from typing import NamedTuple

import pytest
import yaml
from tests.workflow.project import (
    DENSE,
    GROWN,
    NETWORK,
    PER_DATASET,
    PER_SEED,
    ROOT,
    TICKET,
    counted,
    edited,
    job_table,
    snapshot,
)

from layerlottery import paths
from layerlottery.config.stages import STAGES
from layerlottery.store.artifacts import read_table
from layerlottery.upkeep.diff import differences

# the manifest holds the whole configuration but for `resources`
LAST = {"manifest": 1, "all": 1}
REPORT = {"report": 1} | LAST
TABULATE = {"tabulate": 1} | REPORT
TAIL = {"aggregate": 1} | TABULATE


def tickets(count):
    """The jobs of new tickets whose scores are there."""
    return dict.fromkeys(("prune", "train_ticket", "attack_ticket", "shift", "compare"), count)


ATTACKS = {"attack": 2, "attack_ticket": 5}
TRAININGS = {"train_dense": 2, "train_ticket": 5, **ATTACKS, "shift": 7, "compare": 5}
# of another recipe: tickets lie in its folder, their scores of θ0 do not
RETRAINED = TRAININGS | {"prune": 5, "profile": 2}
SCORED = {"score": 3} | tickets(5) | {"profile": 2}
EVERYTHING = {**PER_DATASET, "initialize": 2, **SCORED, **TRAININGS}


class Edit(NamedTuple):
    """A change of the configuration, the jobs that it runs again, and what their outputs have in their paths."""

    change: object
    jobs: dict
    where: str = ""


def sets(key, **values):
    """Set values of one section."""
    return lambda config: config.setdefault(key, {}).update(values)


def study(number, **values):
    """Set values of the first or the second study."""
    return lambda config: config["studies"][number].update(values)


def another(**values):
    """Add a third study, by default of tickets that exist already."""
    return lambda config: config["studies"].append(config["studies"][1] | {"name": "third"} | values)


def reordered(config):
    items = list(config.items())
    config.clear()
    config.update(reversed(items))


ADDED = {
    "a seed": Edit(study(0, seeds=[0, 1, 2]), PER_SEED | LAST, "/seed=2/"),
    "a number removed": Edit(study(1, removed=[1, 2, 3]), tickets(2) | {"profile": 1} | TAIL, "/removed=3/"),
    "a criterion": Edit(
        study(1, criteria=["l1", "random", "snip"]),
        {"score": 1} | tickets(2) | {"profile": 1} | TAIL,
        "/criterion=snip/",
    ),
    "a draw": Edit(study(1, draws=2), {"score": 2} | tickets(4) | {"profile": 1} | TAIL, "/draw=1/"),
    "a structure": Edit(
        study(1, structures=["layers", "filters"]),
        {"score": 2} | tickets(4) | {"profile": 1} | TAIL,
        "/structure=filters/",
    ),
    "a rewind": Edit(study(0, rewinds=[0, 1]), {"rewind": 2} | tickets(2) | {"profile": 2} | TAIL, "/rewind=1[./]"),
    "fresh weights": Edit(
        study(0, rewinds=[0, "random"]), {"reinitialize": 2} | tickets(2) | {"profile": 2} | TAIL, "/rewind=random[./]"
    ),
    "scoring trained weights": Edit(
        study(0, scored_at=["init", "trained"]),
        {"score": 2} | tickets(2) | {"profile": 2} | TAIL,
        "/scored_at=trained/",
    ),
    "a study of tickets that exist": Edit(another(), TAIL),
    "a study": Edit(
        another(seeds=[3], criteria=["snip"], removed=[2]),
        PER_SEED | LAST,
        "/seed=3/(.*/criterion=snip/|(recipe=[^/]+/)?[^/]+$)",
    ),
    "an image set": Edit(
        lambda config: (
            config["datasets"].update(more={"source": "digits", "train_size": 50}),
            config["studies"].append(config["studies"][0] | {"name": "third", "datasets": ["more"], "seeds": [0]}),
        ),
        PER_DATASET | PER_SEED | LAST,
        "/dataset=more/",
    ),
    "an image set that no study uses": Edit(lambda config: config["datasets"].update(more={"source": "digits"}), LAST),
}
CHANGED = {
    "epsilon": Edit(sets("attack", epsilons=[4.0]), ATTACKS | TAIL),
    "steps of an attack": Edit(sets("attack", pgd_steps=3), ATTACKS | TAIL),
    "severities": Edit(sets("corruptions", severities=[4]), {"corrupt": 1, "shift": 7} | TAIL),
    "outliers": Edit(sets("outliers", images=10), {"outliers": 1, "shift": 7} | TAIL),
    "images held out": Edit(lambda config: config["datasets"]["digits"].update(held_out=10), EVERYTHING | TAIL),
    "calibration bins": Edit(sets("shift", calibration_bins=10), {"shift": 7} | TAIL),
    "images of the comparison": Edit(sets("compare", images=20), {"compare": 5} | TAIL),
    "epochs": Edit(sets("training", epochs=3), RETRAINED | TAIL),
    "learning rate": Edit(sets("training", learning_rate=0.2), RETRAINED | TAIL),
    "batch size": Edit(sets("training", batch_size=20), RETRAINED | TAIL),
    "rounds of the profile": Edit(sets("profile", rounds=2), {"profile": 2} | TAIL),
    "a criterion's images": Edit(
        sets("criteria", l1={"images_per_class": 2}),
        {"score": 2} | tickets(3) | {"profile": 2} | TAIL,
        "/criterion=l1/",
    ),
    "size of the training set": Edit(
        lambda config: config["datasets"]["digits"].update(train_size=50), EVERYTHING | TAIL
    ),
    "width of the network": Edit(
        sets("networks", tiny={"depth": 20, "width": 3}), {"initialize": 2} | SCORED | TRAININGS | TAIL
    ),
    "country of the energy": Edit(sets("energy", country="FRA"), TAIL),
    "own carbon intensity": Edit(sets("energy", carbon_intensity=0.05), TAIL),
    "Lacoste's intensity": Edit(sets("energy", lacoste_intensity=0.1), TAIL),
    "xi": Edit(sets("statistics", xi=[1.0, 2.0]), TAIL),
    "confidence": Edit(sets("statistics", confidence=0.9), TAIL),
    "a margin": Edit(sets("margins", memory=1.0), TABULATE),
    "title of the page": Edit(sets("report", title="another"), REPORT),
    "xi of the verdict": Edit(sets("report", xi=0.0), REPORT),
    "name of a study": Edit(study(1, name="renamed"), TAIL),
}
REMOVED = {
    "a seed": Edit(study(0, seeds=[0]), TAIL),
    "a number removed": Edit(study(1, removed=[1]), {"profile": 1} | TAIL, "/seed=0/profile"),
    "a criterion": Edit(study(1, criteria=["l1"]), {"profile": 1} | TAIL, "/seed=0/profile"),
    "a study": Edit(lambda config: config["studies"].pop(), {"profile": 1} | TAIL, "/seed=0/profile"),
    "a study whose tickets another asks for": Edit(
        lambda config: config["studies"].insert(0, config["studies"].pop(0) | {"seeds": [1]}), TAIL
    ),
}
NOTHING = {
    "no edit": Edit(lambda config: None, {}),
    "order of the keys": Edit(reordered, {}),
    "a default value written out": Edit(sets("training", momentum=0.9), {}),
    "a default section written out": Edit(sets("statistics", resamples=9999, confidence=0.95), {}),
    "a default of a study written out": Edit(study(0, rewinds=[0], draws=1, fills=[]), {}),
    "threads": Edit(sets("resources", training_threads=2, evaluation_threads=3), {}),
    "gpus": Edit(sets("resources", gpus_per_training=2), {}),
    "the warm worker": Edit(sets("resources", warm_worker=False), {}),
    "live curves": Edit(sets("logging", tensorboard=True, wandb="project", mlflow="experiment"), {}),
}
EDITS = {
    f"{kind}: {name}": edit
    for kind, edits in {"added": ADDED, "changed": CHANGED, "removed": REMOVED, "nothing": NOTHING}.items()
    for name, edit in edits.items()
}
# the stages whose revision is raised, and what that runs again
RAISED = {
    "prepare": EVERYTHING | TAIL,
    "corrupt": {"corrupt": 1, "shift": 7} | TAIL,
    "outliers": {"outliers": 1, "shift": 7} | TAIL,
    "initialize": {"initialize": 2} | SCORED | TRAININGS | TAIL,
    "score": SCORED | TAIL,
    "prune": tickets(5) | {"profile": 2} | TAIL,
    "train": TRAININGS | TAIL,
    "rewind": {},
    "attack": ATTACKS | TAIL,
    "shift": {"shift": 7} | TAIL,
    "profile": {"profile": 2} | TAIL,
    "compare": {"compare": 5} | TAIL,
    "aggregate": TAIL,
    "tabulate": TABULATE,
    "report": {"report": 1, "all": 1},
    "manifest": LAST,
}
COMMENTED = "# a comment\n\n"
# these make outputs that do not lie in a network's folder
OF_ALL = {*TAIL, "aggregate", "tabulate", "report", "manifest", "all"}


@pytest.fixture(scope="module")
def touchable(grown, tmp_path_factory):
    project = grown.copy(tmp_path_factory.mktemp("touchable"))
    project.write(GROWN)
    return project


@pytest.fixture(scope="module")
def announced(touchable):
    """The jobs that every edit and every raised revision would run, all from one process."""
    runs = {f"raised: {stage}": [f"REVISION={stage}", "--configfile", "tiny.yaml"] for stage in RAISED}
    for number, (name, edit) in enumerate(EDITS.items()):
        touchable.write(edited(GROWN, edit.change), f"edit{number}.yaml")
        runs[name] = ["--configfile", f"edit{number}.yaml"]
    commented = COMMENTED + (touchable.root / "tiny.yaml").read_text().replace("\n", " # a comment\n")
    assert yaml.safe_load(commented) == GROWN
    (touchable.root / "commented.yaml").write_text(commented)
    runs["commented"] = ["--configfile", "commented.yaml"]
    return touchable.dry_runs(runs)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_again_what_it_affects_and_nothing_else(announced, name):
    edit, jobs = EDITS[name], announced[name]
    assert counted(jobs) == edit.jobs
    paths_made = [path for job in jobs if job.rule not in OF_ALL for path in job.outputs]
    # a family is profiled in turns: its new tickets measure the old ones anew
    others = [path for path in paths_made if not re.search(edit.where, path) and not path.endswith("/profile.json")]
    assert others == []


@pytest.mark.parametrize("stage", RAISED)
def test_a_raised_revision_runs_its_stage_and_what_follows(announced, stage):
    assert counted(announced[f"raised: {stage}"]) == RAISED[stage]


def test_every_stage_has_a_revision_and_its_row_here():
    assert set(RAISED) == set(STAGES)


def test_a_comment_in_the_configuration_runs_nothing(announced):
    assert announced["commented"] == []


def test_an_added_rewind_trains_no_dense_network(announced):
    made = [path for job in announced["added: a rewind"] for path in job.outputs]
    assert f"{DENSE}/weights.safetensors" not in made
    assert f"{DENSE}/rewind=1.safetensors" in made


# what is real


def mtime(path):
    return path.stat().st_mtime_ns


def test_added_seed_and_study_ran_alone_and_left_the_old_files_untouched(finished, grown):
    new = {"initialize": 1, "train_dense": 1, "train_ticket": 4, "score": 2, "prune": 4, "profile": 2, "compare": 4}
    assert job_table(grown.ran) == new | {"attack": 1, "attack_ticket": 4, "shift": 5} | TAIL
    # the family of seed 0 has new tickets: its profile alone is measured again
    pairs = {path: grown.root / path.relative_to(finished.root) for path in finished.results.glob("[dn]*/**/*.*")}
    assert len(pairs) > 30
    assert [old.name for old, new in pairs.items() if mtime(old) != mtime(new)] == ["profile.json"]
    runs = read_table(grown.results / "tables" / "runs.parquet").to_pylist()
    assert [(row["seed"], row["criterion"], row["removed"]) for row in runs] == [
        (0, None, 0),
        (1, None, 0),
        (0, "l1", 1),
        (1, "l1", 1),
        (0, "l1", 2),
        (0, "random", 1),
        (0, "random", 2),
    ]


def touch(path):
    """Give a file a new time, as a copy or a checkout of the same version does."""
    os.utime(path)


@pytest.mark.parametrize(
    "names",
    [
        ["Snakefile", "workflow/rules/*.smk", "envs/*.yaml", "config.yaml", "tiny.yaml"],
        ["results/datasets/dataset=digits/*"],
        [f"{TICKET}/weights.safetensors", f"{NETWORK}/initial.safetensors", "results/tables/runs.parquet"],
    ],
    ids=["workflow and configuration", "prepared images", "results"],
)
def test_touched_files_run_nothing(touchable, names):
    files = [path for name in names for path in touchable.root.glob(name)]
    assert len(files) >= len(names)
    for path in files:
        touch(path)
    assert touchable.jobs() == {}


def test_an_edited_module_runs_nothing_until_a_revision_says_so(touchable, tmp_path):
    package = tmp_path / "layerlottery"
    # with the logger plugin beside it
    shutil.copytree(ROOT / "src", tmp_path, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for path in package.rglob("*.py"):
        path.write_text(path.read_text() + "\n# a comment\n")
    there = {"PYTHONPATH": str(tmp_path)}
    assert touchable.jobs(environment=there) == {}
    table = package / "config" / "stages.py"
    table.write_text(re.sub(r'("attack",\s+)\d+,', rf"\g<1>{STAGES['attack'].revision + 1},", table.read_text()))
    assert touchable.jobs(environment=there) == RAISED["attack"]


def test_a_rewind_asked_for_later_leaves_the_dense_network_alone(copied):
    study = {"name": "later", "criteria": ["l1"], "scored_at": ["trained"], "rewinds": [1]}
    copied.write(edited(GROWN, lambda config: config.update(studies=[config["studies"][0] | {"seeds": [0]} | study])))
    before = mtime(copied.root / DENSE / "weights.safetensors")
    target = DENSE + "/structure=layers/criterion=l1/draw=0/scored_at=trained/removed=1/rewind=1/curve.parquet"
    ran = copied.snakemake(target)
    assert ran.returncode == 0, ran.stderr
    assert job_table(ran) == {"score": 1, "rewind": 1, "prune": 1, "train_ticket": 1}
    assert read_table(copied.root / target)["epoch"].to_pylist() == [2]
    assert mtime(copied.root / DENSE / "weights.safetensors") == before


# removed and put back


def networks(project):
    rows = read_table(project.results / "tables" / "runs.parquet").to_pylist()
    return {(row["seed"], row["criterion"], row["removed"]) for row in rows}


ALL_NETWORKS = {
    (0, None, 0),
    (1, None, 0),
    (0, "l1", 1),
    (1, "l1", 1),
    (0, "l1", 2),
    (0, "random", 1),
    (0, "random", 2),
}
# what the tables still hold after a part has been removed
LEFT = {
    "a seed": {row for row in ALL_NETWORKS if row[0] == 0},
    "a number removed": {row for row in ALL_NETWORKS if row[2] < 2},
    "a criterion": {row for row in ALL_NETWORKS if row[1] != "random"},
    "a study": {row for row in ALL_NETWORKS if row[1] != "random" and row[2] < 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("part", LEFT)
def test_a_removed_part_keeps_its_files_and_comes_back_without_training(grown, part, tmp_path):
    project = grown.copy(tmp_path)
    edit = REMOVED[part]
    before = snapshot(project.results / "networks") | snapshot(project.results / "datasets")
    profiled = {name for name in before if name.endswith("profile.json")}
    project.write(edited(GROWN, edit.change))
    ran = project.snakemake()
    assert (ran.returncode, job_table(ran)) == (0, edit.jobs), ran.stderr
    assert networks(project) == LEFT[part]
    project.write(GROWN)
    ran = project.snakemake()
    assert (ran.returncode, job_table(ran)) == (0, edit.jobs), ran.stderr
    after = snapshot(project.results / "networks") | snapshot(project.results / "datasets")
    assert set(after) == set(before)
    differing = {name for name in before if after[name] != before[name]}
    assert differing <= profiled
    assert differing == set() or "profile" in edit.jobs
    assert networks(project) == ALL_NETWORKS
    assert differences(grown.results / "tables", project.results / "tables") == []
    if "profile" not in edit.jobs:
        for name in paths.TABLES:
            table = paths.table("tables", name)
            assert (project.results / table).read_bytes() == (grown.results / table).read_bytes()
    assert "Nothing to be done" in project.snakemake().stderr
