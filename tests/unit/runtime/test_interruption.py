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
