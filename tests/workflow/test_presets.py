"""Presets beyond the lottery paper, planned by Snakemake; none of their files needs to be there."""

import pytest
from tests.workflow.project import ROOT, clone, counted

# networks x seeds x data sets; tickets of the studies, those that two of them share counted once
EXPECTED = {
    "extended": {"initialize": 18, "train_dense": 18, "train_ticket": 18 * (4 * 3 + 3 * 2 + 2), "prepare": 2},
    "imagenet": {"initialize": 1, "train_dense": 1, "train_ticket": 5 * 5 + 1, "prepare": 1},
    # one ticket a round; of random removal too, but for ResNet110, and of the dense network in the same rounds
    "pons": {"initialize": 15, "train_dense": 15, "train_ticket": 3 * (3 * (9 + 15 + 21 + 20) + 2 * 47), "prepare": 2},
    "consensus": {"initialize": 3, "train_dense": 3, "train_ticket": 3 * (3 + 2) * 21, "prepare": 1},
    # 20, 36, 49 and 59 % in rounds
    "complexity": {"initialize": 6, "train_dense": 6, "train_ticket": 3 * 4 * (2 * 3 + 4), "prepare": 1},
    "pons_cpu": {"initialize": 3, "train_dense": 3, "train_ticket": 3 * 3 * 9, "prepare": 1},
    "consensus_cpu": {"initialize": 2, "train_dense": 2, "train_ticket": 2 * 2 * 21, "prepare": 1},
    "complexity_cpu": {"initialize": 3, "train_dense": 3, "train_ticket": 3 * 4 * (2 + 2), "prepare": 1},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("presets"))
    folder = ["--snakefile", str(project.root / "Snakefile"), "--directory", str(project.root)]
    return project.dry_runs(
        {name: [*folder, "--configfile", str(ROOT / "workflow" / "presets" / f"{name}.yaml")] for name in EXPECTED}
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_a_preset_plans_all_of_its_networks(planned, name):
    counts = counted(planned[name])
    assert {rule: counts[rule] for rule in EXPECTED[name]} == EXPECTED[name]
    tickets = counts["train_ticket"]
    assert counts["prune"] + counts.get("prune_round", 0) == counts["compare"] == counts["attack_ticket"] == tickets
    assert counts["shift"] == tickets + counts["train_dense"]
