"""Two processes never work on one training at once, and a dead one is in nobody's way."""

import subprocess
import sys
import threading

import pytest

from layerlottery.training import alone as module
from layerlottery.training.alone import alone

HOLD = """
import sys, time
from pathlib import Path
from layerlottery.training.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the training."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run.safetensors")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_nobody_waits_for_a_free_training_and_nothing_is_left(tmp_path):
    for _ in range(2):
        with alone(tmp_path / "deep" / "run.safetensors") as waited:
            assert waited is False
    assert list((tmp_path / "deep").iterdir()) == []


def test_without_a_checkpoint_nothing_is_held():
    with alone(None) as waited:
        assert waited is False


def test_the_second_waits_until_the_first_is_killed(tmp_path, other, monkeypatch, caplog):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    entered = threading.Event()

    def second():
        with alone(tmp_path / "run.safetensors") as waited:
            assert waited is True
            entered.set()

    caplog.set_level("INFO", logger="layerlottery")
    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.3)
    assert f"process {other.pid} on" in caplog.text
    other.kill()
    assert entered.wait(10)
    thread.join()


def test_other_trainings_go_on(tmp_path, other):
    with alone(tmp_path / "another.safetensors") as waited:
        assert waited is False
    assert other.poll() is None
