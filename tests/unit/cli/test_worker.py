"""The warm worker: a command handed over behaves as without it, and nothing outlives its owner or its launcher."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.unit.cli.handing_over import PATIENCE, Owner, finish, gone, launch, long_training, until, wait_for_training

from layerlottery.runtime.protocol import ADDRESS
from layerlottery.store.artifacts import read_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children end with their parents on Linux only")


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["score", "--function", "l1", "--weights", "gone", "--data", "gone", "--output", "s.json"],
        ["train", "--epochs", "0", "--weights", "gone", "--data", "gone", "--output", "out"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_output_and_status_are_those_without_a_worker(owner, tmp_path, words):
    assert finish(words, owner, cwd=tmp_path) == finish(words, cwd=tmp_path)


def test_the_launcher_imports_the_standard_library_only():
    heavy = "{'torch', 'click', 'pydantic', 'numpy'}"
    check = f"import sys, layerlottery.cli.launcher; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "[]\n"


def test_folder_and_environment_are_the_callers(owner, files, tmp_path):
    words = ["score", "--function", "l1", "--images-per-class", 1, *files, "--output", "here.json"]
    assert finish(words, owner, cwd=tmp_path)[0] == 0
    assert (tmp_path / "here.json").exists()
    status, _, err = finish(words, owner, cwd=tmp_path, environment={"LAYERLOTTERY_DEVICE": "nowhere"})
    assert (status, "found 'nowhere'" in err) == (1, True)
    # and they don't stay for the next command
    assert finish(words, owner, cwd=tmp_path)[0] == 0


@pytest.mark.slow
def test_file_mode_is_that_of_the_callers_umask(owner, files, tmp_path):
    words = ["score", "--function", "l1", "--images-per-class", 1, *files, "--output", tmp_path / "s.json"]
    assert finish(words, owner, umask=0o077)[0] == 0
    assert (tmp_path / "s.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_training_gives_the_same_weights_bit_for_bit(owner, files, tmp_path):
    words = ["train", *files, "--epochs", 2, "--batch-size", 20, "--seed", 3, "--output"]
    for name, way in (("with", owner), ("without", None)):
        status, _, err = finish([*words, tmp_path / name], way)
        assert status == 0, err
    with_worker, without = (read_tensors(tmp_path / name / "weights.safetensors")[1] for name in ("with", "without"))
    assert with_worker == without


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_to_the_launcher_saves_the_training(owner, files, tmp_path, number):
    with launch(long_training(files, tmp_path), owner) as process:
        wait_for_training(tmp_path)
        assert len(owner.worker.children()) == 1
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert err == "layerlottery: interrupted: the checkpoint is saved, the same command goes on from there\n"
    assert read_tensors(tmp_path / "checkpoint")[1]["epoch"] >= 1
    assert owner.worker.children() == []


TOLD_EARLY = """
import os, signal, socket
from layerlottery.cli import launcher
def told(*given, do=getattr(launcher, "{name}")):
    os.kill(os.getpid(), signal.SIGTERM)
    return do(*given)
launcher.{name} = told
launcher.main()
"""


@pytest.mark.parametrize("name", ["_hand_over", "_delegate", "receive", "_wait"])
def test_a_signal_to_a_launcher_that_hands_over_reaches_its_work(owner, files, tmp_path, name):
    words, environment = long_training(files, tmp_path), os.environ | {ADDRESS: str(owner.address)}
    command = [sys.executable, "-c", TOLD_EARLY.format(name=name), *map(str, words)]
    # again and again, for it meets the child at different moments
    for _ in range(5):
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert (ran.returncode, ran.stderr) == (75, "layerlottery: interrupted: the same command runs it again\n")
    assert owner.worker.children() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_worker_leaves_signals_of_its_group_to_the_launchers(owner, number):
    owner.worker.send_signal(number)
    assert finish(["--version"], owner)[0] == 0
    assert owner.worker.is_running()


def test_a_killed_launcher_takes_its_work_along(owner, files, tmp_path):
    with launch(long_training(files, tmp_path), owner) as process:
        wait_for_training(tmp_path)
        (child,) = owner.worker.children()
        process.kill()
        until(lambda: gone(child))
    until(lambda: owner.worker.children() == [])
    assert finish(["--version"], owner)[0] == 0


@pytest.mark.slow
def test_a_killed_child_is_reported_as_a_shell_would(owner, files, tmp_path):
    with launch(long_training(files, tmp_path), owner) as process:
        wait_for_training(tmp_path)
        owner.worker.children()[0].kill()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGKILL


@pytest.mark.slow
def test_commands_run_side_by_side(owner, files, tmp_path):
    with launch(long_training(files, tmp_path), owner) as process:
        wait_for_training(tmp_path)
        assert finish(["--version"], owner)[0] == 0
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_a_launcher_that_says_nonsense_does_not_end_the_worker(owner):
    for sent in (b"", b"\x00" * 3, b"\xff" * 8 + b"{}", b"\x00" * 7 + b"\x02["):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(owner.address))
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        assert finish(["--version"], owner)[0] == 0, sent


def test_only_the_user_may_hand_over_commands(owner):
    assert owner.address.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_nothing_outlives_a_killed_owner(files, tmp_path):
    started = Owner(tmp_path)
    with launch(long_training(files, tmp_path), started) as process:
        wait_for_training(tmp_path)
        (child,) = started.worker.children()
        os.kill(started.process.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
    started.end()
    until(lambda: gone(child))
    assert process.returncode != 0
    assert "layerlottery: the worker process ended before the command did" in err or process.returncode == 137
    assert not started.address.parent.exists()
    # the command still works, by itself
    assert finish(["--version"], started)[0] == 0
