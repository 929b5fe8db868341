"""Rounds, fine-tuning and recipes in a real workflow: what runs, what is resumed, what another recipe leaves alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.sharing import shared
from tests.workflow.conftest import held, run_to_its_end
from tests.workflow.project import DENSE, FIRST, TINY, clone, edited, job_table

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.store.artifacts import read_facts, read_table, read_tensors, read_weights

TUNED = {"name": "tuned", "criteria": ["kl"], "scored_at": ["trained"], "rewinds": ["trained"]}
# the first blocks of three rounds are fine-tuned, and rewound to θ1; filters go in two rounds
ROUNDS = TINY | {
    "studies": [
        FIRST | TUNED | {"removed": [], "rounds": {"blocks": 1, "until": 2}, "controls": ["dense_tuned"]},
        FIRST | TUNED | {"name": "rewound", "rewinds": [1], "removed": [], "rounds": {"blocks": 1, "until": 2}},
        FIRST
        | TUNED
        | {"name": "filters", "criteria": ["l1"], "structures": ["filters_by_share"], "rewinds": ["trained", 0]}
        | {"removed": [], "rounds": {"filters": 0.2, "until": 0.4}},
    ],
    "fine_tuning": {"epochs": 1, "batch_size": 30, "learning_rate": 0.05},
}
TAIL = {"aggregate": 1, "tabulate": 1, "report": 1, "manifest": 1, "all": 1}
# of the ticket, and of the dense network that goes through as many rounds
ONE_MORE = dict.fromkeys(("prune_round", "train_ticket", "attack_ticket", "shift", "compare", "score_round"), 2)


def further(config):
    config["studies"][0]["rounds"]["until"] = 3


def tickets(config, study=0):
    """The folders of a study's rounds, in their order."""
    one = config | {"studies": [config["studies"][study]]}
    tuned = "trained" in one["studies"][0]["rewinds"]
    benchmark = Benchmark.model_validate({key: one[key] for key in one if tuned or key != "fine_tuning"})
    whole = config["studies"][study].get("structures", ["layers"])
    return [Path("results", run.folder) for run in benchmark.runs() if run.structure in whole]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    def make(folder):
        project = clone(folder)
        project.write(ROUNDS)
        run_to_its_end(project)

    with shared(tmp_path_factory, "rounds", make) as folder:
        yield held(folder)


@pytest.fixture
def grown(rounds, tmp_path):
    """A copy that is asked for a third round."""
    project = rounds.copy(tmp_path)
    project.write(edited(ROUNDS, further))
    return project


def test_each_round_removes_what_the_result_of_the_one_before_has_least_of(rounds):
    first, second = (rounds.root / folder for folder in tickets(ROUNDS))
    scores = read_facts(Path(paths.scores(str(second))))["blocks"]
    gone = [set(read_facts(Path(paths.ticket_facts(str(one))))["removed_blocks"]) for one in (first, second)]
    assert [len(one) for one in gone] == [1, 2]
    assert gone[0] < gone[1]
    # scored is what is left, and of what may go the lowest went
    assert {row["name"] for row in scores}.isdisjoint(gone[0])
    (chosen,) = gone[1] - gone[0]
    left = {row["stage"]: [other["name"] for other in scores if other["stage"] == row["stage"]] for row in scores}
    allowed = [row for row in scores if row["removable"] and len(left[row["stage"]]) > 2]
    assert min(allowed, key=lambda row: row["score"])["name"] == chosen


def kept(folder, names):
    tensors = read_tensors(folder)[0]
    return {name: tensors[name].tobytes() for name in names}


def test_fine_tuned_rounds_start_from_the_trained_weights_of_the_one_before(rounds):
    first, second = (rounds.root / folder for folder in tickets(ROUNDS))
    for before, after in ((rounds.root / DENSE, first), (first, second)):
        start = Path(paths.initial_weights(str(after)))
        names = read_tensors(start)[0].keys()
        assert kept(start, names) == kept(Path(paths.trained_weights(str(before))), names)
    facts = read_facts(Path(paths.training_facts(str(second))))
    assert (facts["epochs"], facts["training_settings"]["learning_rate"]) == (1, 0.05)


def test_the_dense_network_goes_through_the_same_rounds_whole(rounds):
    first, second = (Path(str(rounds.root / one).replace("=layers", "=dense_tuned")) for one in tickets(ROUNDS))
    for before, after in ((rounds.root / DENSE, first), (first, second)):
        start, trained = Path(paths.initial_weights(str(after))), Path(paths.trained_weights(str(before)))
        names = read_tensors(trained)[0].keys()
        assert kept(start, names) == kept(trained, names)
        assert read_facts(Path(paths.ticket_facts(str(after))))["removed_blocks"] == []
    rows = read_table(rounds.results / "tables" / "comparisons.parquet").to_pylist()
    found = [row["removed"] for row in rows if row["control"] == "dense_tuned"]
    assert found == [1, 2]


def test_rewound_rounds_go_back_to_the_dense_networks_weights(rounds):
    start = rounds.root / paths.start_weights(DENSE, "1")
    for folder in tickets(ROUNDS, study=1):
        initial = Path(paths.initial_weights(str(rounds.root / folder)))
        names = read_tensors(initial)[0].keys()
        assert kept(initial, names) == kept(start, names)
        # one of the dense training's two epochs is left
        assert read_table(Path(paths.curve(str(rounds.root / folder))))["epoch"].to_pylist() == [2]


def test_filters_go_by_their_share_of_those_left(rounds):
    total = filters(read_weights(rounds.root / paths.trained_weights(DENSE))[0])
    for folder in tickets(ROUNDS, study=2):
        left = filters(read_weights(Path(paths.initial_weights(str(rounds.root / folder))))[0])
        # coupled filters go together: at most one group too few or too many
        wanted = total * 0.8 ** (2 if "round=2" in folder.name else 1)
        assert abs(left - wanted) <= 4


def filters(tensors):
    return sum(len(one) for one in tensors.values() if one.ndim == 4)


def test_a_round_more_runs_that_round_alone(grown):
    assert grown.jobs() == ONE_MORE | {"profile": 1} | TAIL


def test_a_finished_benchmark_of_rounds_runs_nothing(rounds, tmp_path):
    project = rounds.copy(tmp_path)
    project.write(ROUNDS)
    assert project.jobs() == {}


def test_the_ticket_of_one_block_at_once_is_the_first_round(grown):
    grown.write(edited(ROUNDS, lambda config: config["studies"].append(FIRST | TUNED | {"name": "once"})))
    assert grown.jobs() == TAIL


LONG = {"epochs": 30, "batch_size": 30, "learning_rate": 0.05}


@pytest.mark.slow
def test_a_third_round_that_is_killed_goes_on_and_equals_the_undisturbed(rounds, tmp_path):
    config = edited(ROUNDS, further) | {"fine_tuning": LONG, "resources": {"checkpoint_seconds": 0}}
    third = tickets(config)[-1]
    target = str(third / "weights.safetensors")
    found = []
    for name in ("disturbed", "undisturbed"):
        project = rounds.copy(tmp_path / name)
        project.write(config)
        if name == "disturbed":
            kill_when(project, target, project.root / paths.Folders("results").checkpoint(third.relative_to("results")))
            assert not (project.root / target).exists()
        ran = project.snakemake("--rerun-incomplete", target)
        assert ran.returncode == 0, ran.stderr
        if name == "disturbed":
            # no other training, and no earlier round, ran again
            assert job_table(ran).items() <= {"train_ticket": 1}.items()
            log = project.root / paths.Folders("results").log("train", str(third.relative_to("results")))
            assert "resumed after" in log.read_text()
        found.append({path.name: path.read_bytes() for path in [project.root / target]} | curve(project.root / third))
    assert found[0] == found[1]


def curve(folder):
    rows = read_table(Path(paths.curve(str(folder)))).to_pylist()
    return {"curve": [{name: value for name, value in row.items() if name != "seconds"} for row in rows]}


def kill_when(project, target, checkpoint):
    """Run towards a target, and kill all of the run at once when a training has left its first checkpoint."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target, "--configfile", "tiny.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=project.root, env=environment, start_new_session=True) as process:
        limit = time.monotonic() + 120
        while not checkpoint.exists():
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    project.snakemake("--unlock")


def test_another_recipe_and_the_way_back_destroy_nothing(finished, tmp_path):
    project = finished.copy(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in project.results.rglob("weights.safetensors")}
    assert len(before) == 2
    project.write(edited(TINY, lambda config: config["training"].update(epochs=3)))
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stderr
    trained = {"train_dense": 1, "train_ticket": 1}
    # neither θ0 nor its scores depend on a recipe
    again = {"prune": 1, **trained, "attack": 1, "attack_ticket": 1, "shift": 2, "compare": 1, "profile": 1}
    assert job_table(ran) == again | TAIL
    assert {path: path.stat().st_mtime_ns for path in before} == before
    project.write(TINY)
    assert project.jobs() == TAIL
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stderr
    rows = read_table(project.results / "tables" / "runs.parquet").to_pylist()
    assert {row["epochs"] for row in rows} == {2}
    # the other recipe's networks are nobody's now
    stale = project.call("layerlottery", "stale", "--configfile", "tiny.yaml")
    assert stale.returncode == 0, stale.stderr
    lines = [line for line in stale.stdout.splitlines() if "/recipe=" in line]
    assert lines
    assert not any(DENSE.removeprefix("results/") in line for line in lines)
