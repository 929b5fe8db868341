"""What a killed Snakemake leaves is sorted out: locks void, ended trainings kept, everything else made again."""

import subprocess
import sys
from base64 import urlsafe_b64encode

import pytest

from layerlottery.runtime.recovery import forget, recover

RUN = "networks/dataset=d/network=n/seed=0"
OTHER = "elsewhere/scores.json"


def mark(output, job=None):
    """As Snakemake marks an output of a running job; on a cluster with the job's number."""
    from snakemake.persistence.file import FilePersistence

    FilePersistence(path=".snakemake")._mark_incomplete(output, job)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"results/{RUN}/{name}" for name in ("weights.safetensors", "training.json", "attack.parquet")]
    for name in (*names, OTHER, f"results/{RUN}/curve.parquet"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    for name in (*names, OTHER):
        mark(name)
    locks = tmp_path / ".snakemake" / "locks"
    (locks / "0.output.lock").write_text("\n".join(names))
    (locks / "1.output.lock").write_text(OTHER)
    return tmp_path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_ended_trainings_wait_and_the_rest_is_made_again(killed):
    recover("results")
    assert files(killed / "results") == [
        ".lock",
        f"checkpoints/{RUN}/finished/training.json",
        f"checkpoints/{RUN}/finished/weights.safetensors",
        f"{RUN}/curve.parquet",  # its job was not running
    ]
    assert (killed / OTHER).is_file()


def test_locks_and_marks_of_this_folder_alone_are_void(killed):
    recover("results")
    assert files(killed / ".snakemake" / "locks") == ["1.output.lock"]
    assert files(killed / ".snakemake" / "incomplete") == [urlsafe_b64encode(OTHER.encode()).decode()]


def test_marks_of_long_names_are_found(killed):
    name = f"results/networks/{'x' * 150}/{'y' * 150}/scores.json"
    path = killed / name
    path.parent.mkdir(parents=True)
    path.write_text("half")
    mark(name)
    recover("results")
    assert not path.exists()


def test_beside_a_living_benchmark_nothing_is_touched(killed):
    hold = "import sys, pathlib; from layerlottery.store.lock import acquire; acquire(pathlib.Path('results'));"
    command = [sys.executable, "-c", hold + "print('held', flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        before = files(killed)
        recover("results")
        assert files(killed) == before
        process.stdin.close()


def waiting(folder, name="training.json"):
    return folder / "results" / "checkpoints" / RUN / "finished" / name


def test_one_file_with_two_names_waits_under_one(killed):
    # a training in a SLURM job gives its results a second name itself
    place = killed / "results" / RUN / "training.json"
    waiting(killed).parent.mkdir(parents=True)
    waiting(killed).hardlink_to(place)
    recover("results")
    assert waiting(killed).is_file()
    assert not place.exists()


@pytest.mark.parametrize("missing", ["weights.safetensors", "curve.parquet", "training.json", None])
def test_what_waits_goes_once_it_is_all_in_its_place(killed, missing):
    forget("results")
    waiting(killed).parent.mkdir(parents=True)
    waiting(killed).write_text("kept")
    if missing is not None:
        (killed / "results" / RUN / missing).unlink()
    recover("results")
    assert waiting(killed).exists() is (missing is not None)


def test_what_waits_stays_while_a_job_may_be_at_work(killed):
    forget("results")
    mark(f"results/{RUN}/shift.parquet", "17")
    waiting(killed).parent.mkdir(parents=True)
    waiting(killed).write_text("kept")
    recover("results")
    assert waiting(killed).exists()


def test_a_dry_run_of_a_fresh_clone_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recover("results")
    assert files(tmp_path) == []
    assert not (tmp_path / "results").exists()


def test_jobs_that_live_on_are_named_until_they_have_ended(killed):
    mark(f"results/{RUN}/shift.parquet", "17")
    lock = killed / "results" / "checkpoints" / f"{RUN}.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"pid": 1, "job": "16"}')
    # a dry run asks as well
    assert recover("results") == {"16", "17"}
    assert recover("results") == {"16", "17"}
    forget("results")
    lock.unlink()
    assert recover("results") == set()
    assert len(files(killed / ".snakemake" / "incomplete")) == 1


def test_a_foreign_mark_is_left_alone(killed):
    (killed / ".snakemake" / "incomplete" / "not base64!").write_text("{}")
    recover("results")
    assert (killed / ".snakemake" / "incomplete" / "not base64!").exists()


@pytest.mark.parametrize("output", ["results/../mine.txt", "results/x/../../mine.txt", "results/link/mine.txt"])
def test_a_stranger_s_mark_deletes_nothing_outside_of_the_folder(killed, output):
    (killed / "mine.txt").write_text("mine")
    (killed / "results" / "x").mkdir()
    (killed / "results" / "link").symlink_to(killed)
    mark(output)
    recover("results")
    forget("results")
    assert (killed / "mine.txt").read_text() == "mine"
