"""Profiles for clusters that no test has at hand: they fit the rules, and Snakemake plans with them.

The dry runs need the executors' plugins (docs/cluster.md), which are not among this repository's own: Snakemake imports
all that are installed whenever it starts, and the one for Kubernetes takes most of a second.
"""

import importlib.util

import pytest
import yaml
from tests.slurm.test_profile import GROUPS, RULES, TRAIN
from tests.slurm.test_profile import PROFILE as SLURM
from tests.workflow.islands import in_storage
from tests.workflow.project import EVERY_JOB, ROOT, job_table

# executor -> words that a dry run needs beside the profile: no bucket answers here
CLUSTERS = {"kubernetes": in_storage("bucket"), "lsf": [], "htcondor": []}
ON_GPU = TRAIN | {rule for rule, wanted in SLURM["set-resources"].items() if wanted.get("gpu")}


def profile(name):
    return yaml.safe_load((ROOT / "workflow/profiles" / name / "profile.yaml").read_text())


def asks_for_a_gpu(wanted):
    return wanted.get("gpu") == 1 or wanted.get("request_gpus") == 1 or "-gpu num=1" in wanted.get("lsf_extra", "")


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_profile_fits_the_rules(name):
    held = profile(name)
    for part in ("set-resources", "set-threads", "groups"):
        assert set(held.get(part, {})) <= RULES
    assert {rule for rule, wanted in held["set-resources"].items() if asks_for_a_gpu(wanted)} == ON_GPU
    assert not TRAIN & set(held.get("groups", {}))
    assert held["retries"] > 0


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_profile_says_that_it_has_not_been_tried(name):
    text = (ROOT / "workflow/profiles" / name / "profile.yaml").read_text()
    assert "not run on a real cluster" in text.partition("executor:")[0]


def test_pods_share_stages_as_jobs_of_slurm_do():
    assert profile("kubernetes")["groups"] == GROUPS
    assert profile("kubernetes")["group-components"] == SLURM["group-components"]


def test_pods_with_a_gpu_name_its_maker_and_have_limits():
    # without the one the plugin refuses the job, without the other Kubernetes does
    held = profile("kubernetes")
    assert all(held["set-resources"][rule]["gpu_manufacturer"] == "'nvidia'" for rule in ON_GPU)
    assert held["default-resources"]["scale"] == 0


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_dry_run_with_the_profile_plans_every_job(fresh, name):
    plugin = f"snakemake_executor_plugin_{name}"
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f"needs {plugin.replace('_', '-')}")
    profile = ["--workflow-profile", f"workflow/profiles/{name}"]
    ran = fresh.snakemake("--dry-run", *profile, *CLUSTERS[name])
    assert ran.returncode == 0, ran.stderr
    assert job_table(ran) == EVERY_JOB
