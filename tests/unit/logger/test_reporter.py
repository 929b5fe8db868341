"""Snakemake's records in, a person's lines out. Here records are made by hand, in tests/workflow by Snakemake."""

import io
import logging
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from rich.console import Console

from layerlottery.runtime import interruption
from snakemake_logger_plugin_layerlottery import reporter as module
from snakemake_logger_plugin_layerlottery.displays import wants_lines
from snakemake_logger_plugin_layerlottery.printed import SHOWN
from snakemake_logger_plugin_layerlottery.reporter import BOXES, Reporter

FOLDER = "results/networks/dataset=digits/network=tiny/seed={}"
SETTINGS = SimpleNamespace(stdout=False, nocolor=True, quiet=None, dryrun=False)


class Snake:
    """Sends records as Snakemake 9 does."""

    def __init__(self, monkeypatch, **settings):
        self.screen = io.StringIO()
        console = Console(file=self.screen, width=100, highlight=False, markup=False)
        monkeypatch.setattr(module, "open_console", lambda stream, *, color: console)
        self.reporter = Reporter("auto", SimpleNamespace(**vars(SETTINGS) | settings), lock=threading.RLock())

    def send(self, event, message="", level=logging.INFO, **fields):
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        record.__dict__.update(fields)
        if event:
            record.event = event
        self.reporter.report(record)

    def counts(self, **rules):
        self.send("run_info", stats=rules | {"total": sum(rules.values())})

    def start(self, number, rule="shift", log=None, seed=0):
        command = f"layerlottery {rule} --output {FOLDER.format(seed)} #{number}"
        log = [] if log is None else [str(log)]
        output = [f"{FOLDER.format(seed)}/x.parquet"]
        self.send("job_info", jobid=number, rule_name=rule, output=output, log=log, shellcmd=command)
        return command

    def finish(self, number):
        self.send("job_finished", f"Finished jobid: {number}", job_id=number)

    def fail(self, number, command, log=None, status=1, message=None):
        self.send("error", f"CalledProcessError:\nCommand '{command}' returned non-zero exit status {status}.")
        self.broken(number, log, message)

    def broken(self, number, log=None, message=None, indent=False):
        log = [] if log is None else [str(log)]
        self.send("job_error", jobid=number, log=log, rule_msg=message, indent=indent)

    def end(self):
        self.reporter.close()
        return self.screen.getvalue()


@pytest.fixture
def snake(monkeypatch):
    return Snake(monkeypatch)


def test_few_jobs_have_a_line_each(snake, tmp_path):
    log = tmp_path / "train.log"
    log.write_text("2026-01-01 10:00:00 epoch 2/2  loss 1.000  train 90.0 %  test 97.4 %  1.0 s\n")
    snake.counts(train_dense=1, shift=1, all=1)
    snake.start(1, "train_dense", log, seed=3)
    snake.finish(1)
    snake.start(2, seed=3)
    snake.finish(2)
    lines = snake.end().splitlines()
    assert lines[0] == "2 jobs: train 1, shift 1"
    assert lines[1].startswith("1/2  train 1/1 · dense, seed 3 · 97.4 % · ")
    assert lines[2].startswith("2/2  shift 1/1 · dense, seed 3 · ")
    assert lines[3].startswith("2 jobs done in ")
    assert len(lines) == 4


def test_many_short_jobs_have_a_line_for_each_twentieth(snake):
    snake.counts(train_dense=144, shift=703)
    for number in range(847):
        snake.start(number, "train_dense" if number < 144 else "shift", seed=number)
        snake.finish(number)
    lines = snake.end().splitlines()
    assert len(lines) == 22
    assert "train 43/144" in lines[1]
    assert lines[1].startswith("  5 %  43/847 jobs · ")
    assert "847/847 jobs" in lines[-2]


def test_a_long_job_among_many_has_its_own_line(snake):
    snake.counts(train_dense=1, shift=800)
    snake.start(1, "train_dense", seed=7)
    job = snake.reporter.run.running[1]
    object.__setattr__(job, "began", job.began - 7200)
    snake.finish(1)
    assert "1/801  train 1/1 · dense, seed 7 · 2 h" in snake.end()


def test_a_job_on_a_cluster_says_that_it_also_waited(snake):
    snake.send("resources_info", "Provided remote nodes: 100", nodes=100)
    snake.counts(shift=1)
    snake.start(1)
    snake.finish(1)
    assert "after submission" in snake.end()


def test_chatter_is_hidden_and_what_matters_is_said_once(snake):
    snake.counts(shift=1)
    for text in ("Building DAG of jobs...", "Select jobs to execute...", "Complete log(s): /x", "None", ""):
        snake.send(None, text)
    for _ in range(2):
        snake.send(None, "no locks on this file system", logging.WARNING)
        snake.send(None, "Creating conda environment envs/a.yaml...")
    said = snake.end()
    assert said.count("no locks on this file system\n") == said.count("Creating conda environment") == 1
    assert "DAG" not in said
    assert "None" not in said
    assert "log(s)" not in said


def test_warnings_in_a_log_are_said_once(snake, tmp_path):
    log = tmp_path / "attack.log"
    log.write_text("2026-01-01 10:00:00 WARNING gradients may be masked: \x1b[31mred\n2026-01-01 10:00:00 fine\n")
    snake.counts(attack=2)
    for number in (1, 2):
        snake.start(number, "attack", log, seed=number)
        snake.finish(number)
    said = snake.end()
    assert said.count("warning: attack · dense, seed 1: gradients may be masked: \\x1b[31mred\n") == 1
    assert said.count("masked") == 1
    assert "fine" not in said


def test_a_failure_is_named_with_reason_and_log(snake, tmp_path):
    log = tmp_path / "shift.log"
    log.write_text("2026-01-01 10:00:00 ERROR Traceback\n2026-01-01 10:00:00 ERROR weights: \x1b[31m broken\n")
    snake.counts(shift=2)
    command = snake.start(1, "shift", log, seed=4)
    snake.fail(1, command, log)
    snake.send(None, "Exiting because a job execution failed. Look above", logging.ERROR)
    snake.send("error", "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    said = snake.end()
    assert said.count("failed: shift · dense, seed 4") == 1
    assert f"weights: \\x1b[31m broken\nlog: {log}\n" in said
    assert said.endswith("1 job failed; 0 of 2 jobs done; remove the cause, and the same command goes on\n")
    for word in ("Traceback", "CalledProcessError", "WorkflowError", "Exiting", "\x1b"):
        assert word not in said


@pytest.mark.parametrize(
    ("status", "reason"), [(3, "ended with exit status 3"), (137, "was ended by SIGKILL; the system may have run out")]
)
def test_without_a_word_in_the_log_the_exit_status_says_what_is_known(snake, tmp_path, status, reason):
    log = tmp_path / "shift.log"
    log.write_text("2026-01-01 10:00:00 working\n")
    snake.counts(shift=1)
    snake.fail(1, snake.start(1, "shift", log), log, status=status)
    assert reason in snake.end()


def test_what_a_cluster_says_of_a_job_is_the_reason(snake):
    snake.counts(shift=1)
    snake.start(1)
    snake.broken(1, "slurm.log", "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. \nmore")
    assert "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'.\nlog: slurm.log" in snake.end()


def test_of_a_group_the_member_that_failed_is_named(snake, tmp_path):
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    good.write_text("2026-01-01 10:00:00 fine\n")
    bad.write_text("2026-01-01 10:00:00 ERROR no space left\n")
    snake.counts(shift=1, attack=1)
    snake.start(1, "attack", good)
    snake.start(2, "shift", bad)
    members = [{"jobid": 1, "log": [str(good)]}, {"jobid": 2, "log": [str(bad)]}]
    snake.send("group_error", "Error in group g", job_error_info=members, aux_logs=["slurm.log"])
    snake.broken(1, good, indent=True)
    snake.broken(2, bad, indent=True)
    said = snake.end()
    assert said.count("failed: ") == 1
    assert "failed: shift · dense, seed 0" in said
    assert "no space left" in said
    assert "1 job failed" in said


def test_a_job_that_is_tried_again_has_not_failed(snake):
    snake.counts(shift=1)
    snake.fail(1, snake.start(1), status=3)
    snake.send(None, "Trying to restart job 1.")
    snake.start(1)
    snake.finish(1)
    said = snake.end()
    assert "tried again: shift · dense, seed 0: ended with exit status 3" in said
    assert "failed" not in said
    assert "1 job done in" in said


def test_a_group_that_is_tried_again_has_not_failed(snake):
    snake.counts(shift=1, attack=1)
    members = [SimpleNamespace(jobid=number, uuid=lambda number=number: f"uuid-{number}") for number in (1, 2)]
    snake.send("group_info", "Group job g", jobs=members)
    snake.start(1, "attack")
    snake.start(2)
    snake.send("group_error", "", job_error_info=[{"jobid": 1, "log": []}, {"jobid": 2, "log": []}], aux_logs=[])
    snake.send(None, "Trying to restart job uuid-2.")
    assert snake.reporter.run.failed == 0
    said = snake.end()
    assert "tried again: a group of 2 jobs: attack · dense, seed 0; shift · dense, seed 0: no reason" in said
    assert "failed" not in said


def test_of_many_failures_the_first_have_boxes_and_the_others_lines(snake):
    snake.counts(shift=50)
    for number in range(50):
        snake.fail(number, snake.start(number, seed=number))
    said = snake.end()
    assert said.count("to go on") == BOXES
    assert said.count("failed: shift") == 50


def test_an_error_that_is_no_job_s_is_shown(snake):
    snake.counts(shift=1)
    snake.start(1)
    snake.send("error", "MissingOutputException in rule shift:\nx.parquet", logging.ERROR)
    assert "MissingOutputException in rule shift:\nx.parquet" in snake.end()


def test_ctrl_c_is_no_failure(snake, monkeypatch):
    snake.counts(shift=3)
    command = snake.start(1)
    snake.start(2)
    snake.finish(2)
    monkeypatch.setattr(interruption, "_told", signal.SIGINT)
    snake.send(None, "Terminating processes on user request, this might take some time.")
    snake.fail(1, command, status=75)
    snake.send("error", "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    said = snake.end().splitlines()
    assert said[-1] == "stopped; 1 of 3 jobs done; the same command goes on"
    assert len(said) == 3


@pytest.mark.parametrize(("quiet", "times"), [(None, 1), ([SimpleNamespace(name="RULES")], 0)])
def test_after_ctrl_c_it_says_once_what_running_jobs_do(monkeypatch, quiet, times):
    snake, looked = Snake(monkeypatch, quiet=quiet), threading.Semaphore(0)
    printed = SimpleNamespace(lines=lambda **how: looked.release() or [], restore=lambda: None, dropped=0)
    monkeypatch.setattr(module, "Capture", lambda: printed)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    snake.counts(shift=3)
    snake.start(1)
    monkeypatch.setattr(interruption, "_told", signal.SIGINT)
    snake.reporter.start()
    for _ in range(3):
        assert looked.acquire(timeout=60)
    said = snake.end()
    assert said.count("stopping, running jobs save their work") == times
    assert "stopped; 0 of 3 jobs done" in said


def test_a_job_that_was_asked_to_stop_has_no_cause_to_remove(snake, tmp_path):
    """SIGTERM to the process group: Snakemake waits for its jobs, which have ended by the same signal."""
    log = tmp_path / "shift.log"
    log.write_text("2026-01-01 10:00:00 ERROR interrupted: the same command runs it again\n")
    snake.counts(shift=3)
    snake.fail(1, snake.start(1, "shift", log), log, status=75)
    stopped = "shift · dense, seed 0: interrupted: the same command runs it again"
    snake.start(2)
    snake.finish(2)
    said = snake.end()
    assert stopped in said.splitlines()
    assert said.endswith("not finished; 1 of 3 jobs done; the same command goes on\n")
    assert "failed" not in said
    assert "cause" not in said


@pytest.mark.parametrize(("kinds", "lines"), [(["PROGRESS", "RULES"], 1), (["RULES"], 2), (["ALL"], 0)])
def test_quiet_runs_say_less(monkeypatch, kinds, lines):
    snake = Snake(monkeypatch, quiet=[SimpleNamespace(name=kind) for kind in kinds])
    snake.counts(shift=1)
    snake.start(1)
    snake.finish(1)
    assert len(snake.end().splitlines()) == lines


class Plan:
    """Snakemake's plan and its log as far as the display asks for them."""

    def __init__(self, log, *rules):
        self.dag = SimpleNamespace(finished_jobs=[SimpleNamespace(rule=SimpleNamespace(name=rule)) for rule in rules])
        self.logger_manager = SimpleNamespace(get_logfile=lambda: [str(log)])
        self.resource_settings = SimpleNamespace(cores=1)


def benchmark(results="results"):
    folders = SimpleNamespace(report=lambda: "results/report/index.html")
    return SimpleNamespace(results=results, folders=folders, runs=list)


@pytest.mark.parametrize(
    ("finished", "last"),
    [(2, "2 jobs done in under 1 s; report: results/report/index.html"), (1, "not finished; 1 of 2 jobs done; ")],
)
def test_a_quiet_run_ends_with_what_the_plan_says(monkeypatch, tmp_path, finished, last):
    snake = Snake(monkeypatch, quiet=[SimpleNamespace(name="PROGRESS")])
    snake.reporter.begin(Plan(tmp_path / "log", *(finished * ["shift"]), "all"), benchmark())
    snake.counts(shift=2, all=1)
    for number in (1, 2):
        snake.start(number)
    lines = snake.end().splitlines()
    assert lines[-1].startswith(last)
    assert len(lines) == 1


def test_a_run_that_was_refused_says_nothing_of_jobs(snake):
    snake.counts(shift=2)
    assert snake.end() == "2 jobs: shift 2\n"


def test_a_results_folder_names_no_job(snake, tmp_path):
    snake.reporter.begin(Plan(tmp_path / "log"), benchmark("results/seed=7/network=mine"))
    snake.counts(prepare=1)
    output = ["results/seed=7/network=mine/datasets/dataset=digits/facts.json"]
    snake.send("job_info", jobid=1, rule_name="prepare", output=output, log=[], shellcmd="x")
    assert snake.reporter.run.running[1].about == {"dataset": "digits"}
    snake.end()


@pytest.mark.parametrize(("value", "lines"), [("false", False), ("0", False), ("true", True), ("", False)])
def test_ci_is_what_it_says(monkeypatch, value, lines):
    monkeypatch.setenv("CI", value)
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    assert wants_lines("auto", terminal, remote=False) == lines


def printed(snake, tmp_path, *lines):
    """What is shown of lines that a job printed, and what the run's log got."""
    log = tmp_path / "log"
    log.touch()
    snake.reporter.begin(Plan(log), benchmark())
    snake.reporter.start()
    os.write(2, "".join(f"{line}\n" for line in lines).encode())
    return snake.end().splitlines(), log.read_text().splitlines()


def test_lines_that_differ_in_digits_are_shown_up_to_a_bound(snake, tmp_path):
    lines = [f"step {number}" for number in range(SHOWN + 7)]
    shown, logged = printed(snake, tmp_path, *lines)
    assert shown == [*lines[:SHOWN], f"7 more lines that jobs printed are in {tmp_path / 'log'}"]
    assert logged == lines[SHOWN:]


def test_warnings_that_differ_in_digits_are_shown_once(snake, tmp_path):
    lines = ["x.py:3: UserWarning: slow", "x.py:4: UserWarning: slow", "UserWarning: other"]
    assert printed(snake, tmp_path, *lines) == ([lines[0], lines[2]], [lines[1]])


def test_a_line_of_a_job_is_its_error_only_if_it_says_the_same(snake, tmp_path):
    log = tmp_path / "shift.log"
    log.write_text("2026-01-01 10:00:00 ERROR x of y is broken\n")
    snake.counts(shift=1)
    snake.fail(1, snake.start(1, log=log), log)
    lines = ["layerlottery: x", "layerlottery: x of y is broken", "layerlottery: hello"]
    shown, _ = printed(snake, tmp_path, *lines)
    assert [line for line in shown if line.startswith("layerlottery: ")] == [lines[0], lines[2]]
    assert shown.count("x of y is broken") == 1


def test_what_jobs_print_is_shown_once_and_harmless(snake):
    snake.counts(shift=1)
    snake.reporter.start()
    os.write(2, b"W1129 09:24 123 a warning\nW1129 09:25 456 a warning\nbell \x07\nno end")
    said = snake.end()
    assert said.count("a warning") == 1
    assert "bell \\x07\n" in said
    assert "no end\n" in said
