"""How far a benchmark is: counts beside the files that are there, failures by their logs, the state by the lock."""

import base64
import json
import os
from pathlib import Path

import pytest
from tests.unit.cli.test_cli import call

from layerlottery import paths
from layerlottery.cli.configuration import load_configuration
from layerlottery.config.recipes import Recipes
from layerlottery.config.stages import STAGES, made
from layerlottery.store import joblog, lock
from layerlottery.store.artifacts import write_facts
from layerlottery.upkeep.status import command, named_jobs, sentence, status, table, whole_seeds

CONFIG = """\
datasets: {digits: {source: digits}}
studies:
  - name: one
    datasets: [digits]
    networks: [resnet20]
    seeds: [0, 1]
    criteria: [snip]
    removed: [2]
    rewinds: [0, random]
"""
SEED = "networks/dataset=digits/network=resnet20/seed=0"
DENSE = f"{SEED}/recipe={Recipes().level('resnet20')}"
TICKET = f"{DENSE}/structure=layers/criterion=snip/draw=0/scored_at=init/removed=2/rewind=random"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    Path("results").mkdir()
    return tmp_path


@pytest.fixture
def benchmark(here):
    return load_configuration(Path("config.yaml"), [])


def make(*files):
    for file in files:
        path = Path("results", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def logged(stage, folder, *lines):
    path = Path(paths.Folders("results").log(stage, folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"2030-01-02 03:04:05 {line}\n" for line in lines))
    return path


def counts(found, state):
    return {stage: row[state] for stage, row in found.counts().items() if row[state]}


# states


def test_a_folder_without_results_has_everything_left(benchmark):
    found = status(Path("results"), benchmark)
    expected = {"prepare": 1, "corrupt": 1, "outliers": 1, "initialize": 4, "score": 2, "prune": 4, "train": 6}
    expected |= {"attack": 6, "shift": 6, "compare": 4, "profile": 2}
    expected |= dict.fromkeys(("aggregate", "tabulate", "manifest", "report"), 1)
    assert counts(found, "left") == expected
    assert counts(found, "done") == {}
    assert sentence(found) == f"results: stopped; 0 of {sum(expected.values())} jobs are done"


def test_a_job_is_done_when_all_of_its_files_are_there(benchmark):
    make(*made(benchmark.places()))
    found = status(Path("results"), benchmark)
    assert found.finished
    assert list(table(found))[-1].split() == ["all", str(len(found.jobs)), "0", "0", "0"]
    assert "finished, all" in sentence(found)
    Path("results", paths.curve(TICKET)).unlink()
    # what is made of everything is made again
    again = dict.fromkeys(("train", "aggregate", "tabulate", "manifest", "report"), 1)
    assert counts(status(Path("results"), benchmark), "left") == again


def test_seeds_of_which_nothing_is_left_are_named(benchmark):
    jobs = status(Path("results"), benchmark).jobs
    assert list(whole_seeds(status(Path("results"), benchmark))) == ["complete seeds: 0 of 2"]
    make(*(file for job in jobs if "seed=1" in job.folder for file in job.files))
    assert list(whole_seeds(status(Path("results"), benchmark))) == ["complete seeds: 1 of 2 (1)"]
    # one of its files does not make a seed complete
    make(next(file for job in jobs if "seed=0" in job.folder for file in job.files))
    assert list(whole_seeds(status(Path("results"), benchmark))) == ["complete seeds: 1 of 2 (1)"]
    Path("config.yaml").write_text(CONFIG.replace("[0, 1]", "[0]"))
    alone = load_configuration(Path("config.yaml"), [])
    assert list(whole_seeds(status(Path("results"), alone))) == []


def test_a_failed_job_has_its_reason_and_log(benchmark):
    log = logged("train", TICKET, "epoch 1/2  loss 1", "ERROR Traceback", "ERROR the disk is full")
    logged("train", DENSE, "epoch 1/2  loss 1", "ERROR interrupted: saved; run the same command again")
    logged("attack", DENSE, "attacking")
    found = status(Path("results"), benchmark)
    assert counts(found, "failed") == {"train": 1}
    name = "train · snip (fresh weights), 2 removed, seed 0, resnet20 on digits"
    assert list(named_jobs(found)) == [f"\nfailed: {name}\n  the disk is full\n  {log}"]
    assert sentence(found).endswith("jobs are done, 1 failed")


def test_what_failed_and_was_then_made_is_done(benchmark):
    logged("score", f"{SEED}/structure=layers/criterion=snip/draw=0/scored_at=init", "ERROR no")
    assert counts(status(Path("results"), benchmark), "failed") == {"score": 1}
    make(paths.scores(f"{SEED}/structure=layers/criterion=snip/draw=0/scored_at=init"))
    assert counts(status(Path("results"), benchmark), "failed") == {}


@pytest.fixture
def held(here):
    """Another process's hold of the results folder, as a Snakemake has it."""
    taken = lock.acquire(Path("results"))
    yield
    taken.release()


def marked(file, kind="incomplete"):
    """Snakemake's mark of a file that a job is making, or its record of one that a job has made."""
    path = Path(".snakemake", kind, base64.urlsafe_b64encode(f"results/{file}".encode()).decode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_marked_jobs_run_while_the_folder_is_in_use(benchmark, held):
    marked(paths.trained_weights(DENSE))
    logged("train", DENSE, "epoch 3/9  loss 0.108  train 97.0 %  test 97.8 %  0.3 s")
    found = status(Path("results"), benchmark)
    assert counts(found, "running") == {"train": 1}
    assert list(named_jobs(found)) == ["  train · dense, seed 0, resnet20 on digits: epoch 3/9, test 97.8 %"]
    assert sentence(found).startswith("results: running since 20")


def test_after_a_kill_nothing_runs(benchmark):
    marked(paths.trained_weights(DENSE))
    found = status(Path("results"), benchmark)
    assert counts(found, "running") == {}
    assert "stopped" in sentence(found)


def test_a_file_of_a_killed_job_is_left_and_the_job_is_named(benchmark):
    make(*made(benchmark.places()))
    marked(paths.trained_weights(DENSE))
    assert list(named_jobs(status(Path("results"), benchmark))) == []
    log = logged("train", DENSE, "epoch 1/2  loss 1")
    # its files are there: it had ended when Snakemake was stopped, which saw no end
    found = status(Path("results"), benchmark)
    assert counts(found, "left")["train"] == 1
    assert list(named_jobs(found)) == []
    Path("results", paths.curve(DENSE)).unlink()
    found = status(Path("results"), benchmark)
    name = "train · dense, seed 0, resnet20 on digits"
    assert list(named_jobs(found)) == [f"\nfailed or killed, its log does not say why: {name}\n  {log}"]
    logged("train", DENSE, "epoch 1/2  loss 1", "ERROR interrupted: saved")
    assert list(named_jobs(status(Path("results"), benchmark))) == []


def test_a_job_that_ended_without_a_word_is_told_from_one_whose_file_was_lost(benchmark):
    log = logged("attack", DENSE, "attacking")
    logged("train", DENSE, "epoch 2/2  loss 1")
    # nothing is known of what ended
    assert list(named_jobs(status(Path("results"), benchmark))) == []
    marked(paths.trained_weights(DENSE), "metadata")
    said = list(named_jobs(status(Path("results"), benchmark)))
    name = "attack · dense, seed 0, resnet20 on digits"
    assert said == [f"\nfailed or killed, its log does not say why: {name}\n  {log}"]


def test_a_job_that_ended_without_a_word_is_named_while_others_run(benchmark, held):
    log = logged("attack", DENSE, "attacking")
    marked(paths.trained_weights(DENSE), "metadata")
    os.utime(log, (2**31, 2**31))
    ended = f"failed or killed, its log does not say why: attack · dense, seed 0, resnet20 on digits\n  {log}"
    assert list(named_jobs(status(Path("results"), benchmark))) == [f"\n{ended}"]
    os.utime(log, (0, 0))
    assert list(named_jobs(status(Path("results"), benchmark))) == []


def test_a_failure_of_the_run_before_waits_for_this_one(benchmark, held):
    log = logged("train", DENSE, "ERROR no")
    os.utime(log, (0, 0))
    assert counts(status(Path("results"), benchmark), "failed") == {}


def test_every_line_fits_80_columns_and_shows_what_steers(benchmark, held):
    marked(paths.trained_weights(DENSE))
    logged("train", DENSE, "epoch \x1b[2J" + 100 * "x")
    shown = [*table(status(Path("results"), benchmark)), *named_jobs(status(Path("results"), benchmark))]
    assert max(map(len, shown)) <= 80
    assert "\x1b" not in "".join(shown)


@pytest.mark.parametrize("name", [*STAGES])
def test_rules_are_those_of_the_stage(benchmark, name):
    rules = {job.rule for job in status(Path("results"), benchmark).jobs if job.stage == name}
    assert rules <= set(STAGES[name].rules or [name])
    assert rules or name == "rewind"


# logs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("2030-01-02 03:04:05 fine\n", None),
        ("2030-01-02 03:04:05 ERROR first\n2030-01-02 03:04:06 fine\n", None),
        ("2030-01-02 03:04:05 ERROR the disk is full\n", "the disk is full"),
        ("no time ERROR here\n", None),
        (100_000 * "x" + "\n2030-01-02 03:04:05 ERROR late\n", "late"),
    ],
)
def test_the_last_line_of_a_log_says_whether_it_failed(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert joblog.failure(tmp_path / "log") == expected


def test_no_log_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert [joblog.last_line(tmp_path / name) for name in ("pipe", "gone", ".")] == [None, None, None]


# the commands


def signed(words):
    Path("results", lock.NAME).write_text(f'{{"command": "snakemake {words}"}}')


def test_the_configuration_is_that_of_the_last_run(here):
    Path("config.yaml").rename("mine.yaml")
    signed("--cores 3 --configfile mine.yaml --config 'more_seeds=[7]'")
    answer = call("status")
    assert answer.status == 0, answer.err
    assert "results: stopped; 0 of 58 jobs are done" in answer.out
    assert answer.out.endswith("to go on: snakemake --cores all --configfile mine.yaml --config 'more_seeds=[7]'\n")
    assert command(Path("results")) in answer.out


@pytest.mark.parametrize("name", ["status", "summary"])
def test_files_in_a_storage_are_not_called_missing(here, name):
    signed("--jobs 9 --default-storage-provider s3 --default-storage-prefix s3://ours/here --config 'more_seeds=[7]'")
    answer = call(name)
    options = "--default-storage-provider s3 --default-storage-prefix s3://ours/here --config 'more_seeds=[7]'"
    assert (answer.status, answer.out) == (1, "")
    assert answer.line == (
        "results: the files of its last run are in the storage s3; copy them here first,"
        f" or see: snakemake --dry-run {options}"
    )
    make("datasets/dataset=digits/facts.json")
    assert "of 58 jobs are done" in call(name).out


@pytest.fixture
def reported(here, benchmark):
    """A run that ended: the files and logs of all jobs, and the report after them."""
    make(*made(benchmark.places()))
    for job in status(Path("results"), benchmark).jobs:
        os.utime(logged(job.stage, job.folder, "done"), (1e9, 1e9))
    os.utime("results/report/index.html", (1e9 + 1, 1e9 + 1))


LOST = "lost afterwards: layerlottery verify --remove"


def test_files_that_were_lost_after_the_report_can_be_had_again(reported):
    assert LOST not in call("status").out
    Path("results", paths.curve(TICKET)).unlink()
    assert LOST in call("status").out


@pytest.mark.parametrize("line", ["ERROR the disk is full", "ERROR interrupted: saved", "epoch 1/2  loss 1"])
def test_what_a_later_run_left_to_do_is_not_lost(reported, line):
    # Snakemake deletes what it makes again
    Path("results", paths.curve(TICKET)).unlink()
    logged("train", TICKET, line)
    answer = call("status").out
    assert "to go on: " in answer
    assert LOST not in answer


def test_what_a_changed_configuration_asks_for_is_not_lost(reported):
    Path("config.yaml").write_text(CONFIG.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    assert "to go on: " in call("status").out
    assert LOST not in call("status").out


def test_what_is_given_is_what_goes_on(here):
    signed("--cores 3 --config 'more_seeds=[7]'")
    answer = call("status", "--config", "more_seeds=[7, 8]").out
    assert "of 75 jobs are done" in answer
    assert answer.endswith("to go on: snakemake --cores all --config 'more_seeds=[7, 8]'\n")
    assert call("status", "--configfile", "config.yaml").out.endswith("--cores all --configfile config.yaml\n")


@pytest.mark.parametrize("command", ["status", "summary", "verify"])
def test_a_folder_is_given_once(here, command):
    said = "--results: found b beside FOLDER results; allowed: one of them"
    assert call(command, "results", "--results", "b").line == said


def test_a_manifest_will_do(here, benchmark, monkeypatch):
    Path("config.yaml").unlink()
    write_facts(Path("results/manifest.json"), {"configuration": {}}, config_hash="x")
    assert "configuration" in call("status", "results").line
    facts = {"configuration": json.loads(benchmark.manifest_slice())}
    write_facts(Path("results/manifest.json"), facts, config_hash="x")
    assert "of 41 jobs are done" in call("status", "results").out
    monkeypatch.chdir("results")
    assert "of 41 jobs are done" in call("status", ".").out


def test_a_folder_of_another_benchmark_asks_for_its_configuration(here):
    Path("others").mkdir()
    said = "others: config.yaml here is not of this folder; name its own: --configfile FILE"
    assert call("status", "others").line == said
    assert "0 of 41 jobs" in call("status", "others", "--configfile", "config.yaml").out
    given = call("status", "others", "--configfile", "config.yaml").out
    assert given.endswith("to go on: snakemake --cores all --configfile config.yaml --config results=others\n")
    assert call("status", "gone").line == "gone: no such folder; --results names that of a benchmark"


def test_summary_says_how_far_it_is_until_there_are_tables(here):
    signed("--cores 2")
    make(paths.training_facts(DENSE))
    answer = call("summary")
    assert answer.status == 1
    assert answer.err == "results: no tables yet\n\n"
    assert "0 of 41 jobs are done" in answer.out
    assert answer.out.endswith("to go on: snakemake --cores all\n")
    Path("others").mkdir()
    said = "others: no tables here, nor a benchmark; --results names a folder with tables/"
    assert call("summary", "--results", "others").line == said


def test_summary_takes_a_folder_that_holds_only_tables():
    demo = Path(__file__).parents[3] / "docs" / "demo"
    answers = [call("summary", *words) for words in (["--results", demo], [demo], [demo / "tables"])]
    assert {answer.status for answer in answers} == {0}, answers
    assert len({answer.out for answer in answers}) == 1
    assert call("summary", demo, "--xi", 3).line.startswith(
        "xi: found 3; allowed: the tolerances of these tables, 0, 1"
    )


def test_a_tolerance_that_is_none_is_named_as_it_was_given(here):
    said = "settings: xi: found -1; input should be greater than or equal to 0"
    assert call("summary", "--xi", -1).line.startswith(said)


def test_verify_takes_a_folder(here):
    assert call("verify", "gone").line == "gone: no such folder"
    answer = call("verify", "results")
    assert (answer.status, answer.out) == (1, "")
    assert answer.line == "results: found no file that a benchmark made; allowed: a results folder"


def test_verify_looks_on_while_a_benchmark_begins(held):
    answer = call("verify")
    assert (answer.status, answer.out) == (0, "0 files are intact\n")
