"""What real runs print, on a terminal and elsewhere; test_reporter.py has what takes long to bring about."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.workflow.project import DENSE, FIRST, LEVEL, STYLE, TICKET, TINY

from layerlottery.store import lock

OURS = {STYLE: "auto"}
ATTACK = f"{DENSE}/attack.parquet"
LOG = f"results/logs/attack/{DENSE.removeprefix('results/')}.log"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
# of Snakemake's own output, and of Python's
NOISE = ("Error in rule", "Traceback", "jobid:", "Select jobs", "Complete log", "WorkflowError", "RuleException")


def ours(project, *words, **options):
    """Run Snakemake without a terminal, as its user's own configuration has it."""
    return project.snakemake(*words, environment=OURS, **options)


def on_terminal(project, *words, stop_at=None, seconds=300, stop=signal.SIGINT):
    """What a run prints on a terminal, without escapes, and its status; `stop` is sent when `stop_at` is seen."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    scripts = str(Path(sys.executable).parent)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    environment |= OURS | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{scripts}{os.pathsep}{environment['PATH']}"
    main, side = pty.openpty()
    # the terminal's own process group, as a shell gives it: Ctrl-C reaches every process in it
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=environment,
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(side)
    text, limit = "", time.monotonic() + seconds
    try:
        while part := _read(main, limit):
            text += part
            if stop_at and re.search(stop_at, text):
                os.killpg(process.pid, stop)
                stop_at = None
        assert text.rfind(SHOW_CURSOR) >= text.rfind(HIDE_CURSOR)
        return ESCAPES.sub("", text).replace("\r", ""), process.wait(60)
    finally:
        process.kill()
        os.close(main)


def _read(descriptor, limit):
    ready, _, _ = select.select([descriptor], [], [], max(0, limit - time.monotonic()))
    assert ready, "the run took too long"
    try:
        return os.read(descriptor, 65536).decode("utf-8", "replace")
    except OSError:  # the other side is closed
        return ""


@pytest.fixture
def lacking(copied):
    """A finished benchmark of which one file is missing."""
    (copied.root / ATTACK).unlink()
    return copied


def tamper(project):
    path = project.root / DENSE / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


# how a run goes


def test_a_run_in_a_log_has_few_lines_and_names_no_files(lacking):
    ran = ours(lacking, ATTACK)
    assert (ran.returncode, ran.stdout) == (0, "")
    lines = [line for line in ran.stderr.splitlines() if not line.startswith(("Using workflow", "W1"))]
    assert lines[0] == "1 job: attack 1"
    assert re.fullmatch(r"1/1  attack 1/1 · dense, seed 0 · .*", lines[1])
    assert re.fullmatch(r"1 job done in .*", lines[2])
    assert len(lines) == 3
    own = max((lacking.root / ".snakemake" / "log").iterdir(), key=lambda path: path.stat().st_mtime)
    assert "rule attack:" in own.read_text()


def test_a_run_on_a_terminal_moves(lacking):
    text, status = on_terminal(lacking, ATTACK, "--configfile", "tiny.yaml")
    assert status == 0
    assert "attack 1/1 · dense, seed 0" in text
    assert "0/1 jobs · 0 %" in text
    assert text.rstrip().splitlines()[-1].startswith("1 job done in ")
    assert "results/networks" not in text
    assert not any(noise in text for noise in NOISE)


def test_a_profile_of_the_user_s_keeps_it_and_snakemake_s_own_output_is_a_flag_away(lacking):
    (lacking.root / "mine").mkdir()
    (lacking.root / "mine" / "config.yaml").write_text("keep-going: true\n")
    ran = ours(lacking, ATTACK, "--profile", "mine")
    assert "1 job done in " in ran.stderr
    (lacking.root / ATTACK).unlink()
    own = lacking.snakemake(
        ATTACK, "--logger-layerlottery-style", "snakemake", environment={STYLE: "lines"}, config=("tiny.yaml",)
    )
    assert "rule attack:" in own.stderr
    assert "Job stats:" in own.stderr
    assert "1 job done" not in own.stderr
    (lacking.root / ATTACK).unlink()
    plain = ours(lacking, ATTACK, "--workflow-profile", "none")
    assert "rule attack:" in plain.stderr
    detailed = ours(lacking, ATTACK, "--forcerun", "attack", "--printshellcmds")
    assert "layerlottery attack --settings" in detailed.stderr


def test_nothing_to_do_is_said(copied):
    ran = ours(copied)
    assert ran.returncode == 0
    assert ran.stderr.count("Nothing to be done") == 1


@pytest.mark.parametrize("mode", ["remote", "subprocess"])
def test_inside_a_job_snakemake_speaks_for_itself(lacking, mode):
    words = [
        "--mode",
        mode,
        "--target-jobs",
        f"attack:dataset=digits,network=tiny,seed=0,recipe={LEVEL}",
        "--nolock",
        "--force",
    ]
    ran = ours(lacking, *words, "--allowed-rules", "attack")
    assert ran.returncode == 0, ran.stderr
    assert (lacking.root / ATTACK).is_file()
    assert "1 job:" not in ran.stderr
    assert " done in " not in ran.stderr
    assert ("rule attack:" in ran.stderr) == (mode == "remote")


@pytest.mark.parametrize("words", [("--quiet",), ("--quiet", "rules")])
def test_a_quiet_run_ends_with_what_is_true(lacking, words):
    ran = ours(lacking, ATTACK, *words)
    assert ran.returncode == 0
    assert ran.stderr.rstrip().splitlines()[-1].startswith("1 job done in ")
    tamper(lacking)
    failed = ours(lacking, ATTACK, "--forcerun", "attack", *words)
    assert "1 job failed; 0 of 1 jobs done" in failed.stderr


# how it fails


def test_a_failure_is_a_box(lacking):
    tamper(lacking)
    ran = ours(lacking, ATTACK)
    assert ran.returncode == 1
    message = f"{DENSE}/weights.safetensors: its content does not match its hash"
    lines = ran.stderr.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("failed: attack · dense, seed 0 ─"))
    assert lines[start + 1].startswith(message)
    assert lines[start + 2] == f"log: {LOG}"
    assert lines[-1] == "1 job failed; 0 of 1 jobs done; remove the cause, and the same command goes on"
    assert ran.stderr.count(message) == 1
    assert not any(noise in ran.stderr for noise in NOISE)
    assert message in (lacking.root / LOG).read_text()


def test_a_failure_is_a_box_on_a_terminal(lacking):
    tamper(lacking)
    text, status = on_terminal(lacking, ATTACK, "--configfile", "tiny.yaml")
    assert status == 1
    assert text.count("its content does not match its hash") == 1
    assert "failed: attack · dense, seed 0 ─" in text
    assert f"log: {LOG}" in text
    assert text.rstrip().endswith("1 job failed; 0 of 1 jobs done; remove the cause, and the same command goes on")
    assert not any(noise in text for noise in NOISE)


BROKEN = """
def broken(model, blocks, batches, *, seed):
    print("printed \\x1b]0;title\\x07 here")
    raise ValueError("no idea \\x1b[31m why")
"""


def test_the_traceback_of_a_criterion_of_the_user_s_is_in_the_log(copied):
    (copied.root / "mine.py").write_text(BROKEN)
    own = {"criteria": TINY["criteria"] | {"mine": {"function": "mine.py:broken", "images_per_class": 1}}}
    copied.write(TINY | own | {"studies": [FIRST | {"criteria": ["mine"]}]})
    folder = TICKET.replace("criterion=l1", "criterion=mine").partition("/removed=")[0]
    ran = ours(copied, f"{folder}/scores.json")
    assert ran.returncode == 1
    log = copied.root / f"results/logs/score/{folder.removeprefix('results/')}.log"
    assert "mine.py:broken: raised ValueError: no idea \\x1b[31m why (line 4)\nlog: " in ran.stderr
    assert "printed \\x1b]0;title\\x07 here\n" in ran.stderr
    assert "\x1b" not in ran.stderr
    assert "\x07" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert 'File "mine.py", line 4, in broken' in log.read_text()
    assert "Traceback" in log.read_text()


def test_a_quiet_run_still_says_why_it_failed(lacking):
    tamper(lacking)
    ran = ours(lacking, ATTACK, "--quiet", "progress", "rules")
    assert ran.returncode == 1
    assert "failed: attack · dense, seed 0" in ran.stderr
    assert "1 job: attack" not in ran.stderr


def test_a_mistake_in_the_configuration_stays_one_line(copied):
    ran = ours(copied, "--config", "training={epochs: two}")
    assert ran.returncode == 1
    lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("Using workflow")]
    assert lines == ['layerlottery: configuration: training.epochs: found "two"; input should be a valid integer']


def test_a_second_run_in_one_folder_gives_the_reason_alone(lacking):
    taken = lock.acquire(lacking.results)
    try:
        ran = ours(lacking, ATTACK)
    finally:
        taken.release()
    assert ran.returncode == 1
    lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("Using workflow")]
    assert lines[0] == "1 job: attack 1"
    assert lines[1].startswith("layerlottery: results: in use by another benchmark (process ")
    assert len(lines) == 2


# how it is stopped


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_hang_up_end_with_what_is_done(copied, stop):
    words = ["--configfile", "tiny.yaml", "--config", "training={epochs: 100000}"]
    text, status = on_terminal(copied, *words, stop_at=r"epoch \d+/100000", stop=stop)
    assert status == 128 + stop
    # of another recipe: two trainings, and what follows; the ticket is cut and profiled before or after
    assert re.search(r"stopped; [0-2] of 13 jobs done; the same command goes on\s*$", text)
    assert not any(noise in text for noise in (*NOISE, "failed", "interrupted"))
    # and it does go on: its state is there
    assert list((copied.root / "results" / "checkpoints").rglob("*.safetensors"))


@pytest.mark.parametrize("tell", [os.killpg, os.kill], ids=["all", "snakemake alone"])
def test_ctrl_c_in_a_log(copied, tell):
    # a pipe in place of a terminal
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "tiny.yaml"]
    words += ["--config", "training={epochs: 100000}"]
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | OURS | {"PATH": scripts, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, cwd=copied.root, env=environment, start_new_session=True, **pipes) as process:
        limit = time.monotonic() + 120
        while not list((copied.root / "results" / "checkpoints").rglob("*.lock")):
            assert time.monotonic() < limit
            time.sleep(0.1)
        time.sleep(1)
        tell(process.pid, signal.SIGINT)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"stopped; [0-2] of 13 jobs done; the same command goes on\s*$", text)
    # they may have ended before there is a look
    assert text.count("stopping, running jobs save their work") in (0, 1)
    assert not any(noise in text for noise in NOISE)


# what would be done


def test_a_dry_run_counts_by_stage_once(fresh):
    ran = ours(fresh, "--dry-run")
    assert (ran.returncode, ran.stderr.count("layerlottery")) == (0, 0)
    counts = dict(re.findall(r"^(\w+) +(\d+)$", ran.stdout, re.MULTILINE))
    assert (counts["train"], counts["attack"], counts["prepare"], counts["all"]) == ("2", "2", "1", "18")
    assert ran.stdout.count("prepare") == 1
    assert "rule " not in ran.stdout
    assert "layerlottery plan" in ran.stdout
    quiet = ours(fresh, "--dry-run", "--quiet")
    assert quiet.stdout.count("prepare") == 1
    # where jobs' resources are set Snakemake goes through all jobs, and tells of each
    assert ours(fresh, "--dry-run", "--set-resources", "attack:mem_mb=100").stdout == ran.stdout
    detailed = ours(fresh, "--dry-run", "--logger-layerlottery-style", "snakemake")
    assert "rule prepare:" in detailed.stdout


def test_a_dry_run_says_how_long_what_has_been_done_before_takes(copied):
    (copied.root / f"{TICKET}/shift.parquet").unlink()
    ran = ours(copied, "--dry-run", f"{TICKET}/shift.parquet")
    assert re.search(r"^time left: .*\d.* with 1 core, by what finished jobs took$", ran.stdout, re.MULTILINE)


def test_finished_jobs_that_run_once_more_tell_of_themselves(copied):
    said = ours(copied, "--dry-run", "--forceall").stdout
    assert re.search(r"^time left: .*\d.* with 1 core, by what finished jobs took$", said, re.MULTILINE)
    assert "do not tell" not in said
    # those with other settings do not
    said = ours(copied, "--dry-run", "--config", "training={epochs: 3}").stdout
    assert "do not tell" in said


def test_the_profiles_all_ask_for_it(copied):
    for profile in (copied.root / "workflow" / "profiles").glob("*/profile.yaml"):
        found = re.sub(r"^ *\?if.*|__use_yte__.*", "", profile.read_text(), flags=re.MULTILINE)
        assert re.search(r"^logger: layerlottery", found, re.MULTILINE), profile
    assert yaml.safe_load((copied.root / "profiles/default/profile.yaml").read_text())["logger"] == "layerlottery"
