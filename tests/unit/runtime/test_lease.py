"""One GPU for each process: real processes and pretend GPUs; a machine with real ones is stood in for."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from layerlottery.errors import LayerLotteryError
from layerlottery.runtime import lease
from layerlottery.runtime.lease import jobs_per_gpu, lease_gpu, lease_gpus
from layerlottery.runtime.machine import use_devices, use_machine, visible_gpus

ROOT = Path(__file__).parents[3]
GPUS = ["GPU-a", "GPU-b"]
# says which GPU it has, and keeps it until its input ends
KEEP = """
import logging, sys
from layerlottery.runtime import lease
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
lease.POLL_SECONDS = 0.01
print("has", sys.argv[1:][lease.lease_gpu(sys.argv[1:])], flush=True)
sys.stdin.read()
"""
# plants its flag on the GPU that it has: another's flag there is a failure
USE = """
import os, sys, time
from pathlib import Path
from layerlottery.runtime import lease
lease.POLL_SECONDS = 0.001
sys.stdin.readline()
gpu = sys.argv[2:][lease.lease_gpu(sys.argv[2:])]
flag = Path(sys.argv[1], gpu)
flag.touch(exist_ok=False)
time.sleep(0.05)
flag.unlink()
print(gpu)
"""
# says which two GPUs it has
KEEP_TWO = KEEP.replace("sys.argv[1:][lease.lease_gpu(sys.argv[1:])]", "*lease.lease_gpus(sys.argv[1:], 2)")
FORK = """
import os, sys
from layerlottery.runtime import lease
mine = lease.lease_gpu(sys.argv[1:])
if os.fork() == 0:
    print("child", lease.lease_gpu(sys.argv[1:]), flush=True)
    os._exit(0)
os.wait()
print("parent", mine, lease.lease_gpu(sys.argv[1:]), flush=True)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A temporary directory for the leases of this process and of those that it starts."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(lease.tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("LAYERLOTTERY_JOBS_PER_GPU", raising=False)
    monkeypatch.setattr(lease, "_taken", {})
    yield folder
    for lock in lease._taken.values():
        lock.release()


@pytest.fixture
def start(scratch):
    """Start processes; those that still run are killed in the end."""
    started = []

    def python(code, *words, **environment):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", code, *map(str, words)]
        started.append(subprocess.Popen(command, env=os.environ | environment, **pipes))
        return started[-1]

    yield python
    for process in started:
        process.kill()
        process.communicate()


def line(process):
    return process.stdout.readline().strip()


def test_processes_never_share_a_gpu_and_each_gets_one_in_the_end(start, tmp_path):
    users = [start(USE, tmp_path, *GPUS) for _ in range(6)]
    for user in users:
        user.stdin.write("go\n")
        user.stdin.flush()
    used = [user.communicate()[0].strip() for user in users]
    assert [user.returncode for user in users] == [0] * 6
    assert set(used) == set(GPUS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_leaves_its_gpu_to_the_next(start, number):
    first = start(KEEP, "GPU-a")
    assert line(first) == "has GPU-a"
    second = start(KEEP, "GPU-a")
    assert line(second).startswith("waiting: all GPUs are in use (1 found; holders in ")
    first.send_signal(number)
    assert line(second) == "has GPU-a"


def test_one_who_waits_ends_at_a_signal(start):
    holder = start(KEEP, "GPU-a")
    assert line(holder) == "has GPU-a"
    waiting = start(KEEP, "GPU-a")
    assert line(waiting).startswith("waiting")
    waiting.terminate()
    assert waiting.wait() == -signal.SIGTERM


def test_a_child_leases_its_own(start):
    ran = start(FORK, *GPUS).communicate()[0]
    assert ran == "child 1\nparent 0 0\n"


def test_several_jobs_share_a_gpu_when_they_are_told_to(start):
    holders = []
    for expected in ("GPU-a", "GPU-b", "GPU-a", "GPU-b"):
        holders.append(start(KEEP, *GPUS, LAYERLOTTERY_JOBS_PER_GPU="2"))
        assert line(holders[-1]) == f"has {expected}"
    assert line(start(KEEP, *GPUS, LAYERLOTTERY_JOBS_PER_GPU="2")).startswith("waiting")


def test_the_same_gpu_has_the_same_lock_whatever_its_number(start):
    assert line(start(KEEP, "GPU-b", "GPU-a")) == "has GPU-b"
    assert line(start(KEEP, "GPU-a", "GPU-b")) == "has GPU-a"
    assert line(start(KEEP, "GPU-b")).startswith("waiting")


def test_a_process_keeps_the_gpu_that_it_has(scratch):
    assert lease_gpu(GPUS) == 0
    assert lease_gpu(GPUS) == 0
    assert lease_gpu(GPUS[1:]) == 0
    assert lease_gpu(GPUS[::-1]) == 0


def test_waiting_is_told_at_once_and_then_once_a_minute(scratch, monkeypatch, caplog):
    caplog.set_level("INFO", logger="layerlottery")
    folder = scratch / f"layerlottery-{os.getuid()}"
    folder.mkdir(mode=0o700)
    other = os.open(folder / "GPU-a.0", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    passed, told = [0.0], []

    def sleep(seconds):
        assert 0.2 <= seconds <= 1
        told.append(len(caplog.records))
        passed[0] += 10
        if passed[0] > 150:
            os.close(other)

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: passed[0], sleep=sleep))
    assert lease_gpu(["GPU-a"]) == 0
    assert told == [1] * 6 + [2] * 6 + [3] * 4
    assert str(folder) in caplog.text


@pytest.mark.parametrize("stated", ["0", "-1", "two", "1.5", "100"])
def test_a_bad_number_of_jobs_is_named(scratch, monkeypatch, stated):
    monkeypatch.setenv("LAYERLOTTERY_JOBS_PER_GPU", stated)
    with pytest.raises(LayerLotteryError, match=f"LAYERLOTTERY_JOBS_PER_GPU: found '{stated}'; allowed: a whole"):
        lease_gpu(GPUS)


@pytest.mark.parametrize(("stated", "jobs"), [(None, 1), ("", 1), ("3", 3), ("99", 99)])
def test_the_number_of_jobs_is_one_unless_stated(scratch, monkeypatch, stated, jobs):
    if stated is not None:
        monkeypatch.setenv("LAYERLOTTERY_JOBS_PER_GPU", stated)
    assert jobs_per_gpu() == jobs


def test_the_folder_is_the_users_alone(scratch):
    lease_gpu(["MIG-GPU-a/1/0"])
    folder = scratch / f"layerlottery-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["MIG-GPU-a_1_0.0"]


@pytest.mark.parametrize("kind", ["link", "file", "open", "foreign"])
def test_a_folder_that_others_could_have_made_is_refused(scratch, monkeypatch, kind):
    folder = scratch / f"layerlottery-{os.getuid()}"
    if kind == "link":
        (scratch / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(scratch / "elsewhere")
    elif kind == "file":
        folder.write_text("")
    elif kind == "open":
        folder.mkdir()
        folder.chmod(0o770)
    else:
        uid = os.getuid() + 1
        folder = scratch / f"layerlottery-{uid}"
        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: uid)
    with pytest.raises(LayerLotteryError, match=f"{folder}: can't hold GPU leases .* cuda:N"):
        lease_gpu(GPUS)


def test_a_lock_is_not_taken_through_a_link(scratch):
    folder = scratch / f"layerlottery-{os.getuid()}"
    folder.mkdir(mode=0o700)
    (folder / "GPU-a.0").symlink_to(scratch / "elsewhere")
    with pytest.raises(LayerLotteryError, match=r"GPU-a\.0: can't hold GPU leases"):
        lease_gpu(GPUS)
    assert not (scratch / "elsewhere").exists()


def test_who_waits_for_several_keeps_those_that_get_free(start):
    first, second = start(KEEP, *GPUS), start(KEEP, "GPU-b")
    assert (line(first), line(second)) == ("has GPU-a", "has GPU-b")
    several = start(KEEP_TWO, *GPUS)
    assert line(several).startswith("waiting: all GPUs are in use (2 found")
    first.kill()
    assert line(several).startswith("waiting")
    # it has the first by now
    assert line(start(KEEP, "GPU-a")).startswith("waiting")
    second.kill()
    assert line(several) == "has 0 1"


def test_two_who_want_all_do_not_wait_for_each_other(start):
    users = [start(KEEP_TWO, *gpus) for gpus in (GPUS, GPUS[::-1], GPUS)]
    for user in users:
        # the end of its input lets the one that has them go
        user.stdin.close()
        user.stdin = None
    assert [user.communicate(timeout=60)[0].splitlines()[-1] for user in users] == ["has 0 1"] * 3


def test_fewer_gpus_than_asked_for_are_said_in_one_line(scratch):
    said = "resources.gpus_per_training: found 3; this machine has 2 that torch sees; allowed here: 1 to 2"
    with pytest.raises(LayerLotteryError, match=said):
        lease_gpus(GPUS, 3)
    assert list(scratch.iterdir()) == []


def test_no_gpu_is_not_waited_for(scratch):
    with pytest.raises(LayerLotteryError, match="--device cpu"):
        lease_gpu([])


@pytest.fixture
def machine(scratch, monkeypatch):
    """What torch would say of a machine with two GPUs; the numbers that set_device was given."""
    chosen = []
    stand_ins = {
        "is_available": lambda: True,
        "init": lambda: None,
        "device_count": lambda: 2,
        "get_device_properties": lambda index: SimpleNamespace(uuid="ab"[index]),
        "set_device": chosen.append,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *words, **options: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return chosen


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_the_device_is_a_free_gpu(machine, start, device):
    assert line(start(KEEP, "a")) == "has a"
    assert use_machine(1, device) == torch.device("cuda:1")
    assert machine == [torch.device("cuda:1")]
    assert line(start(KEEP, "b")).startswith("waiting")


def test_a_named_gpu_is_shared(machine, scratch):
    assert use_machine(1, "cuda:1") == torch.device("cuda:1")
    assert machine == [torch.device("cuda:1")]
    assert list(scratch.iterdir()) == []


def test_a_training_of_several_gpus_has_each_of_them(machine, start):
    assert use_devices(4, "auto", 2) == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert machine == [torch.device("cuda:0")]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert line(start(KEEP, "a", "b")).startswith("waiting")


def test_a_named_gpu_is_one(machine, scratch):
    with pytest.raises(LayerLotteryError, match="--device: found 'cuda:1' for 2 GPUs; allowed: auto, cuda, cpu"):
        use_devices(1, "cuda:1", 2)


def test_several_gpus_where_there_is_none(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LayerLotteryError, match="gpus_per_training: found 2, but torch sees no GPU here; allowed: 1"):
        use_devices(1, "auto", 2)
    assert use_devices(1, "cpu", 2) == [torch.device("cpu")] * 2
    assert "2 processes share 1 CPU threads" in caplog.text


def test_nothing_but_a_training_lets_a_gpu_round_factors(machine):
    settings = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [one.allow_tf32 for one in settings]
    try:
        for one in settings:
            one.allow_tf32 = True
        use_machine(1, "cuda:1")
        assert [one.allow_tf32 for one in settings] == [False, False]
    finally:
        for one, was in zip(settings, before, strict=True):
            one.allow_tf32 = was


def test_the_cpu_takes_no_gpu(machine, scratch):
    assert use_machine(1, "cpu") == torch.device("cpu")
    assert machine == []
    assert list(scratch.iterdir()) == []


def test_a_gpu_that_is_not_there_is_named(machine):
    with pytest.raises(LayerLotteryError, match="--device: found 'cuda:2'; allowed here are cuda:0 to cuda:1"):
        use_machine(1, "cuda:2")


def test_a_slice_of_a_gpu_goes_by_its_own_name(machine, monkeypatch):
    assert visible_gpus() == ["a", "b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")
    assert visible_gpus() == ["a", "b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-a/1/0,MIG-GPU-a/2/0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert visible_gpus() == ["MIG-GPU-a/1/0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == ["a"]
