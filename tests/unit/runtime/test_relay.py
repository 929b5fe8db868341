"""SIGTERM handed on: a process that was told to stop tells the processes that it has started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# a parent that, as Snakemake, installs its own handler late and waits for its jobs
PARENT = """
import signal, subprocess, sys
from layerlottery.runtime.relay import relay_sigterm
{relay}
signal.signal(signal.SIGTERM, lambda number, frame: print("parent told", flush=True))
jobs = [subprocess.Popen([sys.executable, "-c", sys.argv[1], path]) for path in sys.argv[2:]]
print(max(job.wait() for job in jobs), flush=True)
"""
JOB = """
import pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
def told(number, frame):
    path.write_text("saved")
    sys.exit(75)
signal.signal(signal.SIGTERM, told)
path.write_text("ready")
time.sleep(60)
"""


def start(relay, files):
    command = [sys.executable, "-c", PARENT.format(relay=relay), JOB, *map(str, files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def ready(files):
    limit = time.monotonic() + 60
    while not all(file.exists() and file.read_text() == "ready" for file in files):
        assert time.monotonic() < limit, "the jobs did not start"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to hand on")
def test_every_job_hears_it_and_so_does_the_parent(tmp_path):
    files = [Path(tmp_path, name) for name in ("one", "two")]
    parent = start("relay_sigterm()", files)
    ready(files)
    parent.terminate()
    printed, _ = parent.communicate(timeout=60)
    assert printed.split("\n") == ["parent told", "75", ""]
    assert [file.read_text() for file in files] == ["saved", "saved"]


def test_without_it_no_job_hears_anything(tmp_path):
    # what the relay is for: if this fails, it isn't needed any more
    file = tmp_path / "one"
    parent = start("", [file])
    ready([file])
    parent.terminate()
    assert parent.stdout.readline() == "parent told\n"
    with pytest.raises(subprocess.TimeoutExpired):
        parent.wait(1)
    assert file.read_text() == "ready"
    # the job as well, which would hold the pipe for a minute
    os.killpg(parent.pid, signal.SIGKILL)
    parent.communicate()


# a Snakemake in a job of SLURM's: it begins, it works, and it ends, where it is told or not
IN_A_JOB = """
import signal, sys, time
from layerlottery.runtime import relay
relay.requeue = lambda resumes: print("queued again", resumes, flush=True)
relay.relay_sigterm(lambda: sys.argv[1] == "training")
print("begun", flush=True)
if sys.argv[2] == "working":
    signal.signal(signal.SIGTERM, lambda number, frame: print("told", flush=True))
    input()
elif sys.argv[2] == "beginning":
    time.sleep(60)
"""


@pytest.mark.parametrize(("what", "when"), [("training", "beginning"), ("score", "beginning"), ("training", "working")])
def test_a_job_that_is_told_to_stop_is_queued_again_at_its_end(what, when):
    command = [sys.executable, "-c", IN_A_JOB, what, when]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout.readline() == "begun\n"
        time.sleep(0.2)
        job.terminate()
        if when == "working":
            assert job.stdout.readline() == "told\n"
            job.stdin.write("\n")
        printed, _ = job.communicate(timeout=60)
    assert printed == f"queued again {what == 'training'}\n"


def test_a_job_that_nobody_stops_is_not():
    ran = subprocess.run([sys.executable, "-c", IN_A_JOB, "training", "ending"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "begun\n")


# Snakemake had decided to start it before it heard
LATE = """
import signal, subprocess, sys, time
from layerlottery.runtime.relay import relay_sigterm
relay_sigterm()
signal.signal(signal.SIGTERM, lambda number, frame: None)
signal.raise_signal(signal.SIGTERM)
time.sleep(0.2)
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).wait())
"""


def test_a_job_that_was_just_being_started_hears_it_too():
    ran = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=30)
    assert ran.stdout == f"{-signal.SIGTERM}\n"
