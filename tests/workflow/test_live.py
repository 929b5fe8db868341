"""Live curves of a whole benchmark: switched on by the configuration, on this machine and in a job elsewhere."""

import pytest
from tests.workflow.project import DENSE, LEVEL, TINY, job_table

from layerlottery.config.choices import LOGGING

WATCHED = TINY | {"logging": {"tensorboard": True}}
RUNS = ["digits/tiny dense seed=0", "digits/tiny l1 removed=1 seed=0"]


def runs(project):
    live = project.results / "live"
    return sorted({path.parent.relative_to(live).as_posix() for path in live.rglob("events*")})


@pytest.mark.slow
def test_trainings_are_watched_and_switching_it_on_or_off_runs_nothing(fresh):
    fresh.write(WATCHED)
    ran = fresh.snakemake("--until", "train_dense", "train_ticket")
    assert ran.returncode == 0, ran.stderr
    assert runs(fresh) == RUNS
    trained = "results/networks/**/training.json"
    before = {path: path.stat().st_mtime_ns for path in fresh.root.glob(trained)}
    fresh.write(TINY)
    assert fresh.jobs("--until", "train_dense", "train_ticket") == {}
    fresh.write(WATCHED | {"logging": {"wandb": "other"}})
    assert fresh.jobs("--until", "train_dense", "train_ticket") == {}
    assert before == {path: path.stat().st_mtime_ns for path in fresh.root.glob(trained)}


@pytest.mark.slow
def test_a_job_on_another_machine_reads_it_from_the_configuration(copied):
    """As the SLURM plugin starts it: Snakemake once more, for one job, without the environment of the first."""
    copied.write(WATCHED)
    for name in ("weights.safetensors", "curve.parquet", "training.json"):
        (copied.root / DENSE / name).unlink()
    job = f"train_dense:dataset=digits,network=tiny,seed=0,recipe={LEVEL}"
    words = ["--mode", "remote", "--target-jobs", job, "--allowed-rules", "train_dense", "--nolock", "--force"]
    ran = copied.snakemake(*words, environment={LOGGING: '{"mlflow": "of somebody else"}'})
    assert ran.returncode == 0, ran.stderr
    assert runs(copied) == RUNS[:1]
    assert "of somebody else" not in (copied.results / f"logs/train/{DENSE.removeprefix('results/')}.log").read_text()


def test_what_a_tracker_lacks_is_said_once_before_the_run(copied):
    copied.write(TINY | {"logging": {"mlflow": "experiment"}})
    ran = copied.snakemake("--dry-run", environment={"MLFLOW_TRACKING_URI": ""})
    assert job_table(ran) == {}
    said = [line for line in ran.stderr.splitlines() if "logging." in line]
    assert said == ["layerlottery: logging.mlflow: found experiment; allowed where MLFLOW_TRACKING_URI names a server"]
