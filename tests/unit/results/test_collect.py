"""Reading in batches: in order, one batch ahead and no further, and what goes wrong comes through."""

import threading

import pytest

from layerlottery.results import collect


def test_items_come_in_order_in_batches(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 4)
    found = list(collect.read_ahead(lambda number: 10 * number, range(10)))
    assert found == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert list(collect.read_ahead(str, [])) == []


def test_no_more_than_the_next_batch_is_read_ahead(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 3)
    read = []
    batches = collect.read_ahead(read.append, range(100))
    next(batches)
    assert len(read) <= 6
    next(batches)
    assert len(read) <= 9


def test_an_error_is_raised_and_ends_the_reading(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 2)
    before = threading.active_count()

    def read(number):
        if number == 3:
            raise ValueError("item 3")
        return number

    batches = collect.read_ahead(read, range(50))
    assert next(batches) == [0, 1]
    with pytest.raises(ValueError, match="item 3"):
        next(batches)
    assert threading.active_count() == before


def test_an_abandoned_reading_ends_its_threads(monkeypatch):
    monkeypatch.setattr(collect, "BATCH", 2)
    before = threading.active_count()
    batches = collect.read_ahead(str, range(50))
    next(batches)
    batches.close()
    assert threading.active_count() == before
