"""The default benchmark on SLURM, smaller, as the profile sends it: what each job asks for, and the same tables."""

import pytest
import yaml
from tests.workflow.project import clone

from layerlottery.upkeep.diff import differences

pytestmark = pytest.mark.slurm

# fewer seeds, controls and epochs than the default benchmark has, and a rewinding, which it has not: what is dispatched
# is tried here, not what is learned
EPOCHS = 3
FAMILY = {"datasets": ["digits"], "networks": ["resnet20"], "seeds": [0, 1], "removed": [2]}
STUDIES = [
    FAMILY | {"name": "init", "criteria": ["snip", "random"], "controls": ["dense_at_cost", "filters_at_macs"]},
    FAMILY | {"name": "rewinding", "criteria": ["kl"], "scored_at": ["trained"], "rewinds": [2]},
]
TRAININGS = {"train_dense": 2, "train_ticket": 10, "rewind": 2}
NETWORKS = 12
# the members of a group run one after the other; several groups run side by side
GROUPS = ("--group-components", "initialize=2", "score_{scored_at}=3", "evaluate=5")


def smaller(folder):
    """A clone whose default benchmark has these studies."""
    project = clone(folder)
    whole = yaml.safe_load((project.root / "config.yaml").read_text())
    training = whole["training"] | {"epochs": EPOCHS}
    (project.root / "config.yaml").write_text(yaml.safe_dump(whole | {"studies": STUDIES, "training": training}))
    return project


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The tables of a run without SLURM."""
    project = smaller(tmp_path_factory.mktemp("local"))
    ran = project.snakemake("--cores", "2", config=())
    assert ran.returncode == 0, ran.stderr
    return project.results / "tables"


@pytest.fixture(scope="module")
def dispatched(slurm, start, tmp_path_factory):
    """The folder of a run on SLURM, and its jobs."""
    project = smaller(tmp_path_factory.mktemp("dispatched"))
    before = set(slurm.runs())
    start(project.root, *GROUPS).ended_well(3600)
    return project, [job for job in slurm.runs() if job not in before]


def test_every_training_has_a_job_and_a_gpu_of_its_own(dispatched):
    _, jobs = dispatched
    assert {job.state for job in jobs} == {"COMPLETED"}
    for rule, count in TRAININGS.items():
        trained = [job for job in jobs if job.rule == rule]
        assert len(trained) == count
        assert all("gres/gpu=1" in job.requested.split(",") for job in trained)
        assert all("gres/gpu=1" in job.allocated.split(",") for job in trained)


def test_groups_of_gpu_stages_share_one_gpu_and_the_others_have_none(dispatched):
    _, jobs = dispatched
    others = [job for job in jobs if job.rule not in TRAININGS]
    evaluations = [job for job in others if job.rule.startswith("evaluate_")]
    assert 1 < len(evaluations) < NETWORKS
    assert all("gres/gpu=1" in job.allocated.split(",") for job in evaluations)
    alone = [job for job in others if job not in evaluations]
    assert {"prepare", "corrupt", "outliers", "profile"} < {job.rule for job in alone}
    assert all("gpu" not in job.requested + job.allocated for job in alone)


def test_the_tables_are_those_of_a_run_without_slurm(dispatched, local):
    project, _ = dispatched
    assert differences(project.results / "tables", local) == []
    assert (project.results / "report" / "index.html").is_file()
