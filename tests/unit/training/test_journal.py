"""The journal of a training's segments: what a dead process spent stays known."""

from itertools import pairwise

import pytest

from layerlottery.store.artifacts import read_facts
from layerlottery.training import journal as module
from layerlottery.training.journal import Journal


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Meter:
    def __init__(self):
        self.spent = 0.0

    def __call__(self):
        return {"kwh": self.spent, "seconds": 10 * self.spent}


def begin(tmp_path, meter, fingerprint="this one"):
    return Journal.open(tmp_path / "run.safetensors", fingerprint, meter)


def on_disk(tmp_path):
    path = tmp_path / "run.segments.json"
    return [segment["kwh"] for segment in read_facts(path)["segments"]] if path.exists() else []


def test_a_segment_that_died_is_known_up_to_its_last_reading(tmp_path, clock):
    for spent in (1.0, 2.0):
        meter = Meter()
        journal = begin(tmp_path, meter)
        meter.spent = spent
        clock.now += module.LEAST_SECONDS
        journal.tick()
        # and the process is gone
    assert on_disk(tmp_path) == [1.0, 2.0]
    journal = begin(tmp_path, Meter())
    journal.close({"kwh": 0.5})
    assert [segment["kwh"] for segment in journal.segments] == on_disk(tmp_path) == [1.0, 2.0, 0.5]


def test_readings_are_replaced_not_added(tmp_path, clock):
    meter = Meter()
    journal = begin(tmp_path, meter)
    for spent in (1.0, 2.0, 3.0):
        meter.spent = spent
        clock.now += 10
        journal.tick()
    assert on_disk(tmp_path) == [3.0]


def test_readings_are_two_seconds_then_a_twentieth_then_a_minute_apart(tmp_path, clock):
    meter, times = Meter(), []
    journal = begin(tmp_path, meter)
    journal.measure = lambda: times.append(clock.now - 100) or meter()
    while clock.now < 100 + 7200:
        clock.now += 0.25
        journal.tick()
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 2.0
    assert all(gap <= max(2.0, 0.05 * time) + 0.25 for time, gap in zip(times, gaps, strict=False))
    assert max(gaps) <= 60.25
    assert len(times) < 200


def test_another_trainings_journal_is_not_used(tmp_path, clock, caplog):
    caplog.set_level("INFO", logger="layerlottery")
    begin(tmp_path, Meter()).close({"kwh": 1.0})
    assert begin(tmp_path, Meter(), "another").segments == []
    assert "belongs to another configuration" in caplog.text


def test_a_damaged_journal_begins_anew(tmp_path, clock, caplog):
    caplog.set_level("INFO", logger="layerlottery")
    begin(tmp_path, Meter()).close({"kwh": 1.0})
    path = tmp_path / "run.segments.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert begin(tmp_path, Meter()).segments == []
    assert "run.segments.json" in caplog.text


def test_without_a_checkpoint_nothing_is_written(tmp_path, clock):
    journal = Journal.open(None, "this one", Meter())
    clock.now += 100
    journal.tick()
    journal.close({"kwh": 1.0})
    assert journal.segments == [{"kwh": 1.0}]
    assert list(tmp_path.iterdir()) == []
