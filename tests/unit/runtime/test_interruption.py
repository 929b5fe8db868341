"""Signals of the user's, in a process of its own."""

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal, sys
from layerlottery.runtime import interruption
if sys.argv[2] == "ignored":
    signal.signal(int(sys.argv[1]), signal.SIG_IGN)
interruption.listen()
try:
    os.kill(os.getpid(), int(sys.argv[1]))
except SystemExit:
    print(interruption.requested())
    interruption.end()
print("not told")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_is_noted_and_is_the_exit_status(number):
    ran = subprocess.run([sys.executable, "-c", CODE, str(int(number)), ""], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (128 + number, "True\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_nohup_ignores_stays_ignored(number):
    ran = subprocess.run([sys.executable, "-c", CODE, str(int(number)), "ignored"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "not told\n")


# a Snakemake that waits for its job, and for one that is just being started
WAITING = """
import subprocess, sys, time
from layerlottery.runtime import interruption
interruption.listen()
interruption.pass_on()
job = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
first = subprocess.Popen(job)
try:
    time.sleep(60)
except SystemExit:
    time.sleep(0.2)
    late = subprocess.Popen(job)
    print(first.wait(), late.wait(), flush=True)
    interruption.end()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_jobs_hear_what_was_told_to_snakemake_alone(number):
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as snakemake:
        assert snakemake.stdout.readline() == "begun\n"
        snakemake.send_signal(number)
        said, _ = snakemake.communicate(timeout=30)
    # the late one may have heard before it printed
    assert said.splitlines()[-1] == f"{-number} {-number}"
    assert snakemake.returncode == 128 + number
