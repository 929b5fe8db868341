"""The SLURM profile fits the rules; no SLURM is needed for these tests."""

import re
from collections import Counter

import pytest
import yaml
from tests.workflow.project import FIRST, ROOT, TINY, clone, job_table

from layerlottery.config.choices import GPUS
from layerlottery.config.loading import load_benchmark

TEXT = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
RULES = set(re.findall(r"^rule (\w+):", TEXT, re.MULTILINE)) | set(re.findall(r"^use rule \w+ as (\w+)", TEXT, re.M))
# only what trains has a checkpoint
TRAIN = {"train_dense", "train_ticket", "rewind"}
PROFILE = yaml.safe_load((ROOT / "workflow" / "profiles" / "slurm" / "profile.yaml").read_text())
RESOURCES, GROUPS = PROFILE["set-resources"], PROFILE["groups"]


def test_the_rules_that_train_are_those_with_a_checkpoint():
    blocks = re.split(r"^(?:rule|use rule \w+ as) (\w+)", TEXT, flags=re.MULTILINE)
    assert {name for name, body in zip(blocks[1::2], blocks[2::2], strict=True) if "checkpoint=" in body} == TRAIN


@pytest.mark.parametrize("part", ["set-resources", "set-threads", "groups"])
def test_every_rule_of_the_profile_exists(part):
    assert set(PROFILE[part]) <= RULES


@pytest.mark.parametrize("rule", sorted(TRAIN))
def test_a_training_has_gpus_of_its_own_on_one_node_and_is_warned(rule):
    assert (RESOURCES[rule]["gpu"], RESOURCES[rule]["nodes"]) == (f"${GPUS}", 1)
    assert re.fullmatch(r"'--signal=TERM@\d+'", RESOURCES[rule]["slurm_extra"])
    assert rule not in GROUPS


def test_a_group_has_gpus_in_all_its_jobs_or_in_none():
    on_gpu = {rule for rule, wanted in RESOURCES.items() if wanted.get("gpu")}
    for name in set(GROUPS.values()):
        members = {rule for rule, group in GROUPS.items() if group == name}
        assert members <= on_gpu or not members & on_gpu
    assert set(PROFILE["group-components"]) <= set(GROUPS.values())
    # one GPU for the whole group, on which they take turns
    assert PROFILE["resources"] == {"turn": 1}
    assert PROFILE["set-resource-scopes"] == {"turn": "local"}
    grouped = [RESOURCES[rule] for rule in on_gpu & GROUPS.keys()]
    assert {(wanted["gpu"], wanted["turn"]) for wanted in grouped} == {(1, 1)}


@pytest.mark.parametrize("gpus", [1, 4])
def test_a_job_asks_for_the_gpus_that_the_configuration_gives_a_training(tmp_path, gpus):
    project = clone(tmp_path)
    project.write(TINY | {"resources": {"gpus_per_training": gpus}})
    ran = project.snakemake("--workflow-profile", "workflow/profiles/slurm", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    for rule, wanted in (("train_dense", gpus), ("train_ticket", gpus), ("attack", 1)):
        asked = re.search(rf"rule {rule}:\n.*?resources: ([^\n]*)", ran.stdout + ran.stderr, re.DOTALL)[1].split(", ")
        assert f"gpu={wanted}" in asked
        assert ("nodes=1" in asked) == rule.startswith("train")


def minutes(rule, attempt):
    asked = RESOURCES.get(rule, {}).get("runtime", PROFILE["default-resources"]["runtime"])
    grows = re.fullmatch(r"min\((\d+) \* attempt, (\d+)\)", str(asked))
    return min(int(grows[1]) * attempt, int(grows[2])) if grows else asked


@pytest.mark.parametrize("attempt", [1, 2, 1 + PROFILE["retries"]])
def test_no_job_asks_for_more_than_four_hours(attempt):
    limit = 240
    assert max(minutes(rule, attempt) for rule in RULES) <= limit
    many = PROFILE["group-components"]
    assert many["initialize"] * minutes("initialize", attempt) <= limit
    assert many["evaluate"] * minutes("attack", attempt) <= limit
    assert sum(minutes(rule, attempt) for rule, group in GROUPS.items() if group == "tables") <= limit
    # what hangs together: the tickets of a criterion, and its scores of every structure
    runs = load_benchmark(yaml.safe_load((ROOT / "workflow" / "presets" / "paper.yaml").read_text())).runs()
    pruned = Counter(
        (run.dataset, run.network, run.seed, run.criterion, run.draw, run.scored_at) for run in runs if run.removed
    )
    structures = len({run.structure for run in runs if run.removed})
    largest = structures * minutes("score", attempt) + max(pruned.values()) * minutes("prune", attempt)
    assert many["score_{scored_at}"] * largest <= limit


def test_a_lost_job_is_noticed():
    # the plugin looks again after 180 seconds at the latest, and takes squeue only if jobs stay in it for three times
    # this setting
    assert PROFILE["slurm-status-command"] == "squeue"
    assert 3 * PROFILE["slurm-init-seconds-before-status-checks"] > 180


@pytest.mark.slow
def test_no_group_of_the_default_benchmark_waits_for_itself(tmp_path):
    ran = clone(tmp_path).snakemake("--workflow-profile", "workflow/profiles/slurm", "--dry-run", config=())
    assert ran.returncode == 0, ran.stderr
    tickets = [run for run in load_benchmark(yaml.safe_load((ROOT / "config.yaml").read_text())).runs() if run.removed]
    assert job_table(ran)["train_ticket"] == len(tickets) > 100


@pytest.mark.slow
@pytest.mark.parametrize("rewind", [0, 1, "trained"])
def test_no_group_of_rounds_waits_for_itself(tmp_path, rewind):
    rounds = FIRST | {"scored_at": ["trained"], "rewinds": [rewind], "removed": [], "rounds": {"blocks": 1, "until": 3}}
    project = clone(tmp_path)
    project.write(TINY | {"studies": [rounds]})
    ran = project.snakemake("--workflow-profile", "workflow/profiles/slurm", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert job_table(ran)["prune_round"] == 2
