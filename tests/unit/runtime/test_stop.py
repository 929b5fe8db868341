"""Requests to stop: noted or obeyed, never lost, and left alone where a caller or a shell has a say."""

import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from layerlottery.errors import Interrupted
from layerlottery.runtime.stop import SIGNALS, Stop, handle


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_request_is_noted_until_work_begins_that_may_end(stop, number):
    stop.listen()
    signal.raise_signal(number)
    with pytest.raises(Interrupted), stop.obeying():
        pytest.fail("begun")


def test_while_it_is_obeyed_work_ends_at_once_and_only_once(stop):
    stop.listen()
    cleaned = []

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append("too early")
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append("all")

    with pytest.raises(Interrupted), stop.obeying():
        work()
    assert cleaned == ["all"]


class Referred:
    pass


def test_where_python_swallows_it_the_request_comes_again(stop, monkeypatch, capfd):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    stop.listen()
    things = [Referred()]
    held = weakref.ref(things[0], lambda gone: signal.raise_signal(signal.SIGTERM))

    def work():
        things.clear()
        time.sleep(60)

    with pytest.raises(Interrupted), stop.obeying():
        work()
    assert held() is None
    assert capfd.readouterr().err == ""


def test_from_a_training_on_requests_are_noted(stop):
    stop.listen()
    with stop.obeying():
        with stop.noting():
            signal.raise_signal(signal.SIGHUP)
            assert stop.requested
        # what it made is written: a request that comes now must not undo it
        signal.raise_signal(signal.SIGHUP)


def test_a_caller_of_the_library_gets_its_handlers_back(stop):
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with stop.noting():
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
    assert not stop.requested
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_in_a_caller_s_thread_nothing_is_touched(stop):
    errors = []

    def work():
        try:
            with stop.noting():
                assert not stop.requested
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_what_nohup_ignores_stays_ignored(stop):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop.listen()
    signal.raise_signal(signal.SIGHUP)
    assert not stop.requested
    handle(signal.SIG_DFL)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_forked_child_dies_of_it_without_a_word():
    # as the processes of a pool do, which is ended by SIGTERM
    child = """
import os, signal, time
from layerlottery.runtime.stop import STOP
STOP.listen()
with STOP.obeying():
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ran = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"{-signal.SIGTERM}\n", "")
