"""Measurements of a clock that is made up, and of a network that is small."""

import time

import pytest

from layerlottery.config.loading import load_benchmark
from layerlottery.planning import calibrate
from layerlottery.planning.images import ImageCounts

TINY = {"depth": 20, "width": 2}
STUDY = {"name": "one", "datasets": ["digits"], "networks": ["tiny", "other"], "seeds": [0], "criteria": ["l1"]}
CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "networks": {"tiny": TINY, "other": TINY},
    "studies": [STUDY | {"removed": [1, 3]}],
    "training": {"batch_size": 4},
}
IMAGES = {"digits": ImageCounts(1, 8, 10, train=20, test=20)}


class Time:
    """Passes with each image, and not by itself; half of it is somebody else's."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.counts = 0.0, seconds, []
        monkeypatch.setattr(time, "perf_counter", lambda: 2 * self.now)

    def action(self, count):
        self.counts.append(count)
        self.now += self.seconds * count


def test_batches_grow_to_their_size(monkeypatch):
    clock = Time(monkeypatch, 0.001)
    assert calibrate.each(clock.action, 20, lambda: clock.now) == pytest.approx(0.001)
    assert clock.counts[:6] == [2, 4, 8, 16, 20, 20]
    assert 2 * clock.now < 1.5 * calibrate.ENOUGH


def test_images_that_take_long_are_few(monkeypatch):
    clock = Time(monkeypatch, 10.0)
    assert calibrate.each(clock.action, 128, lambda: clock.now) == pytest.approx(10.0)
    assert clock.counts == [2]


@pytest.mark.parametrize("timed", [False, True])
def test_networks_are_sized_and_those_that_begin_in_time_are_timed(capfd, timed, monkeypatch):
    monkeypatch.setattr(calibrate, "ENOUGH", 0.05)
    names = [("digits", "tiny"), ("digits", "other")]
    # too late for all but the first
    until = time.monotonic() if timed else 0.0
    found = calibrate.measured(load_benchmark(CONFIG), IMAGES, names, processes=1, until=until)
    (tiny,), (other,) = found.values()
    # two stages of 2 channels on 8x8, 4 on 4x4, 8 on 2x2 pixels, by hand: 3x3 convolutions of the stem, of three blocks
    # a stage, two 1x1 projections, a classifier; a block of the first stage has 2 * 9 * 2 * 2 * 64 multiply-accumulates
    stem, wide, classifier = 9 * 2 * 64, 9 * 2 * 2 * 64, 8 * 10
    middle = 9 * 2 * 4 * 16 + 2 * 4 * 16 + 5 * 9 * 4 * 4 * 16
    last = 9 * 4 * 8 * 4 + 4 * 8 * 4 + 5 * 9 * 8 * 8 * 4
    assert tiny.macs == other.macs == stem + 6 * wide + middle + last + classifier
    # every block that may go costs the same
    assert tiny.block_macs == pytest.approx(2 * wide / tiny.macs)
    assert (tiny.rates is not None, other.rates) == (timed, None)
    assert (tiny.kwh > 0, all(rate > 0 for rate in tiny.rates or ())) == (timed, True)
    said = capfd.readouterr().err
    assert said.startswith("measuring 2 networks, some seconds each\n") == timed
    assert "measured tiny on digits" in said


def test_a_corrupted_image_takes_the_mean_over_the_corruptions(monkeypatch):
    passed = []
    monkeypatch.setattr(calibrate, "corrupt_images", lambda images, **_: passed.append(len(images)))
    # the clock goes on by a second for each batch of corrupted images
    monkeypatch.setattr(time, "process_time", lambda: float(len(passed)))
    found = calibrate.with_corruption(IMAGES["digits"], ["fog", "snow", "contrast"])
    assert found.corrupt_seconds == pytest.approx(1 / passed[0])


def test_without_semaphores_networks_are_measured_one_by_one(monkeypatch):
    def refused(*given):
        raise OSError(30, "Read-only file system")

    names = [("digits", "tiny"), ("digits", "other")]
    expected = calibrate.measured(load_benchmark(CONFIG), IMAGES, names, processes=2, until=0.0)
    monkeypatch.setattr(calibrate, "ProcessPoolExecutor", refused)
    assert calibrate.measured(load_benchmark(CONFIG), IMAGES, names, processes=2, until=0.0) == expected
