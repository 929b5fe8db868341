"""Everything that happens to jobs on a cluster, on purpose: each run still ends, with the tables of a quiet one.

Two small trainings, a dense network and its ticket. What comes before them is made once, without SLURM, and so is the
quiet run that the others are compared with.
"""

import contextlib
import re
import time

import psutil
import pytest
import yaml
from tests.chaos.processes import working_in
from tests.slurm.cluster import told, until
from tests.workflow.project import DENSE, LEVEL, TICKET, TINY, clone

from layerlottery import paths
from layerlottery.config.recipes import Recipes
from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.upkeep.diff import differences

pytestmark = pytest.mark.slurm

RULES = {"train_dense": DENSE, "train_ticket": TICKET}
CONFIG = ("--configfile", "tiny.yaml")
# all epochs take longer than a limit of a minute that SLURM notices half a minute late, on any processor; a
# checkpoint that nobody asked for would hide one that was not saved in time
# beyond one limit, noticed late, and well within two: what ends in a second one's grace is another accident
LEAST_SECONDS = 92
TRIED, FEW = 40, 20
SLOW = TINY | {
    "datasets": {"digits": {"source": "digits", "train_size": 600, "test_size": 30}},
    "training": {"epochs": 400, "batch_size": 30},
    "resources": {"checkpoint_seconds": 3600.0},
}


def trained(root, rule):
    """Where a project trains a network: below the level of its recipe, which knows the number of epochs."""
    training = yaml.safe_load((root / "tiny.yaml").read_text())["training"]
    return RULES[rule].replace(LEVEL, Recipes.model_validate({"training": training}).level("tiny"))


def log_of(root, rule):
    return root / f"results/logs/train/{trained(root, rule).removeprefix('results/')}.log"


def lasting(seconds, epochs):
    """The configuration whose trainings last, at the rate of one that took so many seconds."""
    wanted = max(SLOW["training"]["epochs"], round(LEAST_SECONDS * epochs / seconds))
    return SLOW | {"training": SLOW["training"] | {"epochs": wanted}}


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """The benchmark, with as many epochs as this machine needs."""
    project = clone(tmp_path_factory.mktemp("rate"))
    project.write(SLOW | {"training": SLOW["training"] | {"epochs": TRIED}})
    facts = paths.training_facts(trained(project.root, "train_dense"))
    ran = project.snakemake(facts)
    assert ran.returncode == 0, ran.stderr
    (segment,) = read_facts(project.root / facts)["segments"]
    return lasting(segment["seconds"], TRIED)


@pytest.fixture(scope="module")
def prepared(slow, tmp_path_factory):
    """A benchmark of which only the trainings, and what follows them, are left to do."""
    project = clone(tmp_path_factory.mktemp("prepared"))
    project.write(slow)
    corrupted = paths.corrupted_facts("results/datasets/dataset=digits")
    dense, ticket = (trained(project.root, rule) for rule in RULES)
    ran = project.snakemake(corrupted, paths.initial_weights(ticket), paths.profile(dense))
    assert ran.returncode == 0, ran.stderr
    return project


def copied(prepared, folder, slow):
    project = prepared.copy(folder)
    project.write(slow)
    return project


@pytest.fixture(scope="module")
def quiet(prepared, slow, tmp_path_factory):
    """The tables of a run that nothing disturbed."""
    project = copied(prepared, tmp_path_factory.mktemp("quiet"), slow)
    ran = project.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stderr
    return project.results / "tables"


@pytest.fixture
def project(slurm, prepared, slow, tmp_path):
    return copied(prepared, tmp_path, slow)


def training(slurm, run, rule, epochs=3):
    """The job of a training that has just completed some epochs."""
    until(lambda: run.epochs(log_of(run.root, rule)) >= epochs and rule in slurm.queue())
    return slurm.queue()[rule].number


def resumed(project, rule):
    """After how many epochs the current part of a training began: its log starts anew with each part."""
    path = log_of(project.root, rule)
    found = re.search(r"resumed after (\d+) epochs", path.read_text()) if path.exists() else None
    return int(found[1]) if found else 0


def gone_on(project):
    """Wait until both trainings go on from a checkpoint: SLURM's warning was heard."""
    until(lambda: all(resumed(project, rule) > 2 for rule in RULES))


def whole(project, quiet):
    """The number of parts of each training, once the tables are known to be those of the quiet run."""
    assert differences(project.results / "tables", quiet) == []
    rows = read_table(project.results / "tables" / "runs.parquet").to_pylist()
    return {"train_ticket" if row["removed"] else "train_dense": row["segments"] for row in rows}


def test_cancelled_requeued_drained_and_without_controller(slurm, start, project, quiet):
    run = start(project.root, *CONFIG)
    cancelled, requeued = training(slurm, run, "train_dense"), training(slurm, run, "train_ticket")
    told("scancel", cancelled)
    told("scontrol", "requeue", requeued)
    gone_on(project)
    # the node takes nothing new while its trainings run on, with neither its daemon nor the controller there to see
    node = told("sinfo", "--noheader", "--format=%N").split()[0]
    told("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    for daemon in ("slurmctld", "slurmd"):
        slurm.end_daemon(daemon)
    slurm.start()
    until(lambda: slurm.queue() and {job.state for job in slurm.queue().values()} == {"PENDING"})
    told("scontrol", "update", f"NodeName={node}", "State=RESUME")
    run.ended_well()
    assert whole(project, quiet) == {"train_dense": 2, "train_ticket": 2}
    assert slurm.states(cancelled) == ["CANCELLED"]
    assert slurm.states(requeued) == ["REQUEUED", "COMPLETED"]


def test_displaced_crashed_and_without_snakemake(slurm, start, project, quiet):
    run = start(project.root, *CONFIG)
    jobs = [training(slurm, run, rule) for rule in RULES]
    # somebody with more rights takes both GPUs for a moment
    told("sbatch", "--partition=urgent", "--gpus=2", "--ntasks=1", "--output=/dev/null", "--wrap", "sleep 1")
    gone_on(project)
    slurm.crash_node()
    slurm.start()
    until(lambda: all(slurm.states(job)[2:] == ["RUNNING"] for job in jobs))
    run.kill()
    again = start(project.root, *CONFIG)
    again.ended_well()
    assert min(whole(project, quiet).values()) >= 2


def limited(project, dense, ticket):
    """Give the trainings these resources, and no retry: that is for a failure, and a limit is none."""
    path = project.root / "workflow" / "profiles" / "slurm" / "profile.yaml"
    profile = yaml.safe_load(path.read_text())
    asked = profile["set-resources"]["train_dense"]
    profile["set-resources"] |= {"train_dense": asked | dense, "train_ticket": asked | ticket}
    path.write_text(yaml.safe_dump(profile | {"retries": 0}))


def completed_at_last(states):
    return len(states) > 1 and set(states[:-1]) == {"REQUEUED"} and states[-1] == "COMPLETED"


def test_longer_than_the_time_limit(slurm, start, project, quiet):
    minute = {"slurm_partition": "'minute'", "runtime": 1}
    # SLURM looks at limits twice a minute, and warns up to half a minute early
    limited(project, minute | {"slurm_extra": "''"}, minute | {"slurm_extra": "'--signal=TERM@1'"})
    run = start(project.root, *CONFIG)
    jobs = [training(slurm, run, rule) for rule in RULES]
    run.ended_well()
    parts = whole(project, quiet)
    for rule, job in zip(RULES, jobs, strict=True):
        states = slurm.states(job)
        assert completed_at_last(states)
        # one that is told to stop before or after it trains leaves no part
        assert len(states) >= parts[rule] >= 2


@pytest.fixture
def short(prepared, tmp_path):
    """A benchmark whose trainings end long before two minutes, and the tables of a run that nothing disturbed."""
    projects = [prepared.copy(tmp_path / name) for name in ("undisturbed", "struck")]
    for project in projects:
        project.write(SLOW | {"training": SLOW["training"] | {"epochs": FEW}})
    ran = projects[0].snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stderr
    return projects[1], projects[0].results / "tables"


def held_at_work(project):
    """The processes of both trainings: each is held when it is there, for the other may come late."""
    found = {}

    def both():
        for rule in set(RULES) - set(found):
            folder = trained(project.root, rule)
            for process in working_in(project.root, "bin/layerlottery train", f"--output {folder} ")[:1]:
                process.suspend()
                found[rule] = process
        return len(found) == len(RULES)

    until(both)
    return found


def ended(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def held_at_its_end(project, process):
    """Let a training go on in steps until its last epoch is over, and hold it there, or somewhere behind."""
    log = log_of(project.root, "train_dense")
    process.resume()
    until(lambda: log.exists() and f" epoch {FEW // 2}/{FEW} " in log.read_text())
    while f" epoch {FEW}/{FEW} " not in log.read_text() and not ended(process):
        process.resume()
        time.sleep(0.02)
        process.suspend()


def let_go(held, queue):
    """Whether all are let go: each as soon as its limit has struck, for there are seconds left."""
    for rule in [rule for rule in held if queue[rule].state != "RUNNING"]:
        with contextlib.suppress(psutil.NoSuchProcess):
            held.pop(rule).resume()
    return not held


def test_the_limit_strikes_when_a_training_has_just_ended(slurm, start, short):
    project, expected = short
    limited(project, *[{"slurm_extra": "''", "runtime": 2}] * 2)
    run = start(project.root, *CONFIG)
    working = held_at_work(project)
    dense, ticket = working["train_dense"], working["train_ticket"]
    # this one ends, but the Snakemake in its job does not see it
    deaf = ticket.parent()
    deaf.suspend()
    ticket.resume()
    queue = slurm.queue()
    jobs = [queue[rule].number for rule in RULES]
    held_at_its_end(project, dense)
    until(lambda: ended(ticket))
    held = {"train_dense": dense, "train_ticket": deaf}
    until(lambda: let_go(held, slurm.queue()))
    run.ended_well()
    parts = whole(project, expected)
    assert parts["train_ticket"] == 1
    assert parts["train_dense"] <= 2
    assert all(completed_at_last(slurm.states(job)) for job in jobs)
    assert not list(project.results.rglob("finished"))
