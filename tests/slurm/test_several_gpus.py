"""A training over two GPUs, as the profile sends it; its processes compute on the CPU, since the GPUs are pretend."""

import pytest
from tests.workflow.project import DENSE, TINY, clone

from layerlottery import paths
from layerlottery.store.artifacts import read_facts

pytestmark = pytest.mark.slurm


def test_a_training_has_both_gpus_of_its_node_and_what_is_grouped_one(slurm, start, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOTTERY_DEVICE", "cpu")
    project, before = clone(tmp_path), set(slurm.runs())
    project.write(TINY | {"resources": {"gpus_per_training": 2}})
    start(project.root, "--configfile", "tiny.yaml", "--cores", "2", paths.shift(DENSE)).ended_well(1200)
    jobs = [job for job in slurm.runs() if job not in before]
    (trained,) = [job for job in jobs if job.rule == "train_dense"]
    assert "gres/gpu=2" in trained.allocated.split(",")
    assert "node=1" in trained.allocated.split(",")
    (tested,) = [job for job in jobs if job.rule.startswith(("evaluate", "shift"))]
    assert "gres/gpu=1" in tested.allocated.split(",")
    facts = read_facts(project.root / paths.training_facts(DENSE))
    assert facts["device"].startswith("2 × ")
    assert (facts["threads"], len(facts["segments"])) == (2, 1)
