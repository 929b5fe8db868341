"""A job's log as it is being written."""

import os
import time

import pytest

from snakemake_logger_plugin_layerlottery.following import TAIL, epochs, marked, tail

LINE = "2026-01-01 10:00:{:02d} epoch {}/40  loss 0.123  train 91.0 %  test 97.4 %  {:.1f} s\n"


def test_epochs_that_are_done_and_time_that_is_left(tmp_path):
    log = tmp_path / "log"
    log.write_text("2026-01-01 10:00:00 resumed\n" + LINE.format(2, 29, 2.0) + LINE.format(4, 30, 2.0))
    found = epochs(str(log))
    assert (found.done, found.planned, found.accuracy) == (30, 40, "97.4")
    assert found.left == pytest.approx(20, abs=1)
    # five seconds after the last line
    os.utime(log, (0, time.time() - 5))
    assert epochs(str(log)).left == pytest.approx(15, abs=1)


def test_epochs_that_are_too_short_to_be_timed_alone(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(LINE.format(number // 5, number, 0.0) for number in range(1, 31)))
    # 30 epochs in six seconds
    assert epochs(str(log)).left == pytest.approx(10 * 6 / 29, rel=0.1)


def test_no_progress_where_none_is_written(tmp_path):
    log = tmp_path / "log"
    assert epochs(None) is epochs(str(log)) is None
    log.write_text("2026-01-01 10:00:00 WARNING epoch of a kind\n")
    assert epochs(str(log)) is None


def test_only_the_end_of_a_long_log_is_read(tmp_path):
    log = tmp_path / "log"
    log.write_text("2026-01-01 10:00:00 ERROR early\n" + "x" * TAIL + "\n2026-01-01 10:00:01 ERROR late\n")
    assert list(marked(str(log), "ERROR")) == ["late"]
    assert list(marked(str(log), "WARNING")) == []


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert tail(str(tmp_path / "pipe")) == tail(str(tmp_path)) == []
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    assert len(tail(str(tmp_path / "binary"))) == 1
