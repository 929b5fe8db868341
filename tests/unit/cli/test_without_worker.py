"""Whatever is wrong with the worker, commands run without it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tests.unit.cli.handing_over import OWNER, PATIENCE, Owner, finish, launch, until

from layerlottery.runtime import warm
from layerlottery.runtime.protocol import ADDRESS, LENGTH, PROCESS, STATUS, receive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children end with their parents on Linux only")


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
    words = ["score", "--function", "l1", "--images-per-class", "1", *files, "--output"]
    for name, way in (("with", owner), ("without", None)):
        with launch([*words, tmp_path / name], way, closed) as process:
            _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


def test_a_worker_can_be_owned_by_a_process_with_closed_streams(tmp_path):
    words = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c"]
    command = [*words, OWNER.replace("sys.stdin.read()", "import time; time.sleep(600)")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
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
