"""The warm worker: a command handed over behaves as without it, and nothing outlives its owner or its launcher."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepare import prepare
from layerlottery.networks.initialize import initialize_network
from layerlottery.runtime import warm
from layerlottery.runtime.protocol import ADDRESS, LENGTH, PROCESS, STATUS, receive
from layerlottery.store.artifacts import read_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children end with their parents on Linux only")

# as an installed command, which finds no modules in the current folder
LAUNCH = [sys.executable, "-P", "-c", "from layerlottery.cli.launcher import main; main()"]
OWNER = """
import os, sys
from layerlottery.runtime import warm
warm.start()
print(os.environ["LAYERLOTTERY_WORKER"], flush=True)
sys.stdin.read()
"""
PATIENCE = 60


class Owner:
    """A process that plays Snakemake: it starts a worker and waits."""

    def __init__(self, scratch):
        environment = os.environ | {"TMPDIR": str(scratch)}
        command = [sys.executable, "-P", "-c", OWNER]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = Path(self.process.stdout.readline().strip())
        self.worker = psutil.Process(self.process.pid).children()[0]

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        until(lambda: gone(self.worker))


def gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    started = Owner(tmp_path_factory.mktemp("owner"))
    yield started
    started.end()
    assert not started.address.parent.exists()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    prepare(Digits(source="digits", train_size=40, test_size=20, shifted=[]), root / "data")
    data, weights = root / "data" / "facts.json", root / "initial.safetensors"
    initialize_network(data, weights, NetworkSettings(depth=8, width=8), seed=0)
    return ["--data", str(data), "--weights", str(weights)]


def launch(words, owner=None, **options):
    """A running command; with an owner it is handed over to that owner's worker."""
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    if owner is not None:
        environment[ADDRESS] = str(owner if isinstance(owner, Path) else owner.address)
    environment |= options.pop("environment", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*LAUNCH, *map(str, words)], env=environment, **pipes, **options)


def finish(words, owner=None, **options):
    with launch(words, owner, **options) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def long_training(files, folder):
    log = ["--log", folder / "train.log", "--checkpoint", folder / "checkpoint"]
    return ["train", *files, "--output", folder, "--epochs", 100_000, "--batch-size", 20, *log]


def wait_for_training(folder):
    log = folder / "train.log"
    until(lambda: log.exists() and "epoch 1/" in log.read_text())


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


def test_a_dead_address_means_running_here(tmp_path):
    (tmp_path / "file").write_text("no socket")
    expected = finish(["--version"])
    assert expected[0] == 0
    for address in (tmp_path / "gone", tmp_path / "file"):
        assert finish(["--version"], address) == expected


class Stand(threading.Thread):
    """A stand-in for the worker, which behaves as `act(connection)` and then is gone."""

    def __init__(self, folder, act):
        super().__init__(daemon=True)
        self.address, self.act = folder / "socket", act
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.address))
        self.listener.listen()
        self.start()

    def run(self):
        connection, _ = self.listener.accept()
        with self.listener, connection:
            self.act(connection)


def dies_at_once(connection):
    pass


def dies_within_the_request(connection):
    connection.recv(LENGTH.size + 1)


def read_request(connection):
    head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
    receive(connection, LENGTH.unpack(head)[0])
    for stream in streams:
        os.close(stream)


def dies_before_the_child_began(connection):
    read_request(connection)
    connection.sendall(STATUS.pack(1))


@pytest.mark.parametrize("act", [dies_at_once, dies_within_the_request, dies_before_the_child_began])
def test_a_worker_that_dies_before_the_command_began_is_done_without(tmp_path, act):
    for words in (["--version"], ["score", "--function", "l1", "--weights", "gone", "--data", "x", "--output", "s"]):
        folder = tmp_path / words[0].strip("-")
        folder.mkdir()
        assert finish(words, Stand(folder, act), cwd=tmp_path) == finish(words, cwd=tmp_path)


def test_a_command_that_had_begun_when_the_worker_died_does_not_run_twice(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as child:

        def begins(connection):
            read_request(connection)
            connection.sendall(PROCESS.pack(child.pid))

        status, out, err = finish(["--version"], Stand(tmp_path, begins))
        assert (status, out) == (1, "")
        assert err == "layerlottery: the worker process ended before the command did\n"
        # what had begun does not go on beside the next attempt
        assert child.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize(
    "text", ["import os; os._exit(3)", "raise RuntimeError('odd\\nmodule')", "import sys; sys.exit()"]
)
def test_a_worker_that_cannot_be_imported_is_done_without(tmp_path, monkeypatch, text):
    (tmp_path / "safetensors").mkdir()
    (tmp_path / "safetensors" / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    owner = Owner(tmp_path)
    try:
        assert finish(["--version"], owner) == finish(["--version"])
    finally:
        owner.end()
    assert not owner.address.parent.exists()


def test_modules_of_the_users_folder_are_not_the_workers(files, tmp_path, monkeypatch):
    for name in ("random", "types", "torch", "click", "socket"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    owner = Owner(tmp_path)
    try:
        words = ["score", "--function", "l1", "--images-per-class", 1, *files, "--output", "s.json"]
        assert finish(words, owner)[::2] == (0, "")
        assert psutil.pid_exists(owner.worker.pid)
    finally:
        owner.end()


@pytest.mark.parametrize("length", [60, 240])
def test_a_long_temporary_folder_is_no_hindrance(tmp_path, length):
    scratch = tmp_path / ("x" * length)
    scratch.mkdir()
    owner = Owner(scratch)
    try:
        assert len(os.fsencode(owner.address)) < 108
        assert finish(["--version"], owner)[0] == 0
    finally:
        owner.end()
    assert not list(scratch.glob("layerlottery*"))


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2)])
def test_closed_streams_are_no_hindrance(owner, files, tmp_path, closed):
    def close():
        for stream in closed:
            os.close(stream)

    words = ["score", "--function", "l1", "--images-per-class", "1", *files, "--output"]
    for name, way in (("with", owner), ("without", None)):
        with launch([*words, tmp_path / name], way, preexec_fn=close) as process:
            _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


def test_a_worker_can_be_owned_by_a_process_with_closed_streams(tmp_path):
    def close():
        for stream in (0, 2):
            os.close(stream)

    command = [sys.executable, "-c", OWNER.replace("sys.stdin.read()", "import time; time.sleep(600)")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=close) as process:
        address = Path(process.stdout.readline().strip())
        assert finish(["--version"], address)[0] == 0
        assert psutil.Process(process.pid).children()
        process.kill()
    until(lambda: not address.parent.exists())


def refuse(*given, **options):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("missing", ["socket.socket", "tempfile.mkdtemp", "subprocess.Popen", "socket.AF_UNIX"])
def test_where_no_worker_can_be_started_there_is_none(monkeypatch, missing):
    module, _, name = missing.partition(".")
    if missing == "socket.AF_UNIX":
        monkeypatch.delattr(socket, name)
    else:
        monkeypatch.setattr(getattr(warm, module), name, refuse)
    monkeypatch.setenv(ADDRESS, "of another")
    warm.start()
    assert ADDRESS not in os.environ
    assert not warm._owned


def test_beside_a_gpu_every_command_is_its_own_process(monkeypatch, tmp_path):
    driver = tmp_path / "nvidiactl"
    driver.touch()
    monkeypatch.setattr(warm, "GPU_DRIVER", driver)
    monkeypatch.delenv(warm.ADDRESS, raising=False)
    warm.start()
    assert warm.ADDRESS not in os.environ
    assert not warm._owned
