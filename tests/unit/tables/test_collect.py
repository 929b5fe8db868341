"""Reading in batches: in order, one batch ahead and no further, and what goes wrong comes through."""

import subprocess
import sys
import threading

import psutil
import pytest

from layerlottery.tables import collect


def test_items_come_in_order_in_batches(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 4)
    found = list(collect.read_ahead(lambda numbers: [10 * number for number in numbers], range(10)))
    assert found == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert list(collect.read_ahead(list, [])) == []


def test_no_more_than_the_next_batch_is_read_ahead(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 3)
    read = []
    batches = collect.read_ahead(read.extend, range(100))
    next(batches)
    assert len(read) <= 6
    next(batches)
    assert len(read) <= 9


def test_an_error_is_raised_and_ends_the_reading(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 2)
    before = threading.active_count()

    def read(numbers):
        if 3 in numbers:
            raise ValueError("item 3")
        return list(numbers)

    batches = collect.read_ahead(read, range(50))
    assert next(batches) == [0, 1]
    with pytest.raises(ValueError, match="item 3"):
        next(batches)
    assert threading.active_count() == before


def test_an_abandoned_reading_ends_its_threads(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 2)
    before = threading.active_count()
    batches = collect.read_ahead(list, range(50))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_a_reader_ends_when_its_parent_is_killed(tmp_path):
    # a parent that reads with processes of its own, and says which ones
    script = tmp_path / "reading.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    readers = [psutil.Process(int(number)) for number in parent.stdout.readline().split()]
    assert len(readers) == 2
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(readers, timeout=30)[1] == []


PARENT = """
import os, time
from layerlottery.tables import collect

def read(items):
    time.sleep(0.5)
    return os.getpid()

if __name__ == "__main__":
    collect.MANY, collect.BATCH = 0, 1
    collect.os.sched_getaffinity = lambda process: {0, 1}
    batches = collect.read_ahead(read, range(1000))
    seen = set()
    while len(seen) < 2:
        seen.add(next(batches))
    print(*seen, flush=True)
    for _ in batches:
        pass
"""


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), OSError(28, "No space"), ImportError("_sem")])
def test_without_semaphores_the_same_is_read_by_this_process(monkeypatch, error):
    def refused(*given):
        raise error

    monkeypatch.setattr(collect, "MANY", 0)
    monkeypatch.setattr(collect, "BATCH", 4)
    monkeypatch.setattr(collect.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(collect, "ProcessPoolExecutor", refused)
    assert list(collect.read_ahead(sum, range(10))) == [6, 22, 17]
