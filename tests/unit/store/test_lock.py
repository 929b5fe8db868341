"""The lock of a results folder: one holder at a time, and the kernel frees it however the holder ends."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import acquire, held

HOLD = """
import sys
from pathlib import Path
from layerlottery.store.lock import acquire
lock = acquire(Path(sys.argv[1]))
print("holds", flush=True)
sys.stdin.read()
"""
# plays a Snakemake that is killed while its job, a program or a forked child, goes on
LEAVE_A_JOB = """
import os, subprocess, sys
from pathlib import Path
from layerlottery.store.lock import acquire
lock = acquire(Path(sys.argv[1]))
if sys.argv[2] == "program":
    child = subprocess.Popen(["cat"], close_fds=False).pid
else:
    child = os.fork()
if child == 0:
    print("forked", os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
if sys.argv[2] == "program":
    print("started", child, flush=True)
os.waitpid(child, 0)
"""
RACE = """
import sys
from pathlib import Path
from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import acquire
sys.stdin.readline()
try:
    lock = acquire(Path(sys.argv[1]))
    print("mine", flush=True)
    sys.stdin.read()
except LayerLotteryError:
    print("taken", flush=True)
"""


def python(code, *words):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], **pipes)


@pytest.fixture
def holder(tmp_path):
    with python(HOLD, tmp_path) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_the_folder_is_made_and_locked_until_released(tmp_path):
    results = tmp_path / "deep" / "results"
    assert not held(results)
    lock = acquire(results)
    assert held(results)
    lock.release()
    lock.release()
    assert not held(results)
    acquire(results).release()


def test_a_forgotten_object_frees_nothing(tmp_path):
    descriptor = acquire(tmp_path).descriptor
    assert held(tmp_path)
    os.close(descriptor)
    assert not held(tmp_path)


def test_a_second_benchmark_reads_who_holds_the_folder(tmp_path, holder):
    said = json.loads((tmp_path / ".lock").read_text())
    assert said["pid"] == holder.pid
    opened = psutil.Process().num_fds()
    with pytest.raises(LayerLotteryError) as raised:
        acquire(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}: in use by another benchmark (process {holder.pid} on {said['host']} since")
    assert said["start"] in message
    assert "another `results`" in message
    assert "\n" not in message
    assert psutil.Process().num_fds() == opened


def test_a_holder_that_said_nothing_is_reported_too(tmp_path, holder):
    (tmp_path / ".lock").write_text("")
    with pytest.raises(LayerLotteryError, match="in use by another benchmark"):
        acquire(tmp_path)


def test_the_last_holders_words_do_not_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == holder.pid
    assert not held(tmp_path)
    (tmp_path / ".lock").write_text("longer than any holder's line" * 50)
    lock = acquire(tmp_path)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("kind", ["program", "fork"])
def test_a_job_that_outlives_a_killed_holder_does_not_keep_the_lock(tmp_path, kind):
    with python(LEAVE_A_JOB, tmp_path, kind) as process:
        job = int(process.stdout.readline().split()[1])
        assert held(tmp_path)
        process.kill()
        process.wait()
        try:
            os.kill(job, 0)  # it lives
            assert not held(tmp_path)
            acquire(tmp_path).release()
        finally:
            os.kill(job, signal.SIGKILL)


def test_of_many_that_start_at_once_one_gets_the_folder(tmp_path):
    racers = [python(RACE, tmp_path / "results") for _ in range(4)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.stdout.readline() for racer in racers]
    for racer in racers:
        racer.communicate()
    assert sorted(answers) == ["mine\n", "taken\n", "taken\n", "taken\n"]


def test_asking_neither_takes_the_lock_nor_loses_it(tmp_path):
    lock = acquire(tmp_path)
    assert all(held(tmp_path) for _ in range(3))
    with pytest.raises(LayerLotteryError):
        acquire(tmp_path)
    lock.release()


def test_one_who_asks_does_not_turn_a_new_holder_away(tmp_path, monkeypatch):
    acquire(tmp_path).release()
    asking = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr("layerlottery.store.lock.time.sleep", lambda seconds: fcntl.flock(asking, fcntl.LOCK_UN))
    lock = acquire(tmp_path)
    os.close(asking)
    assert held(tmp_path)
    lock.release()


def test_a_lock_file_deleted_in_the_same_moment_locks_nothing(tmp_path, monkeypatch):
    real = fcntl.flock
    deleted = []

    def flock(descriptor, operation):
        if not deleted:
            (tmp_path / ".lock").unlink()
            deleted.append(True)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = acquire(tmp_path)
    assert deleted
    assert os.path.samestat(os.fstat(lock.descriptor), (tmp_path / ".lock").stat())
    lock.release()


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".lock").symlink_to(tmp_path / "elsewhere")
    for ask in (acquire, held):
        with pytest.raises(LayerLotteryError, match=r"results/\.lock: is a symbolic link"):
            ask(tmp_path / "results")
    assert not (tmp_path / "elsewhere").exists()


def test_a_named_pipe_is_no_lock(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    for ask in (acquire, held):
        with pytest.raises(LayerLotteryError, match="not a regular file"):
            ask(tmp_path)


def test_a_file_where_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(LayerLotteryError, match=r"results/\.lock: can't be locked .*a folder that you may write to"):
        acquire(tmp_path / "results")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch, code):
    def refuse(*words):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LayerLotteryError) as raised:
        acquire(tmp_path)
    assert os.strerror(code) in str(raised.value)
    assert "may write to" in str(raised.value)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog, code):
    opened = psutil.Process().num_fds()

    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert acquire(tmp_path) is None
    assert not held(tmp_path)
    assert "offers no locks" in caplog.text
    assert psutil.Process().num_fds() == opened


def test_a_full_disk_costs_the_words_and_not_the_lock(tmp_path, monkeypatch):
    def refuse(*words):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", refuse)
    lock = acquire(tmp_path)
    assert held(tmp_path)
    lock.release()


def test_it_needs_neither_torch_nor_numpy():
    code = "import sys, layerlottery.store.lock; print({'torch', 'numpy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "set()\n"
