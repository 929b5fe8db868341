"""The axis of a forest."""

import math
import re

import pytest

from layerlottery.report.paired_forest import MARGIN, WIDTH, Axis
from layerlottery.words import MINUS


def test_the_axis_has_whole_ends_that_hold_everything():
    axis = Axis.over([-3.2, 4.1, math.nan], [1.0, math.nan])
    assert (axis.low, axis.high, axis.tolerances) == (-4, 5, (1.0,))
    assert axis.words == f"{MINUS}4 to +5"
    assert (axis.at(-4), axis.at(5)) == (MARGIN, WIDTH - MARGIN)


def test_small_differences_have_an_axis_of_tenths():
    axis = Axis.over([-0.12, 0.31], [])
    assert (axis.low, axis.high) == pytest.approx((-0.2, 0.4))
    assert axis.words == f"{MINUS}0.2 to +0.4"


def test_differences_of_nothing_have_an_axis_all_the_same():
    axis = Axis.over([0.0], [])
    assert axis.high > axis.low


def test_without_an_interval_the_mark_stands_alone():
    drawn = Axis.over([-1.0, 1.0], [1.0]).drawing((0.5, math.nan, math.nan), (-0.5, -1.0, 0.0))
    one, other = re.findall(r'<path d="M([\d.]+) [\d.]+H([\d.]+)"', drawn)
    assert one[0] == one[1]
    assert float(other[0]) < float(other[1])
    # the tolerance either side of 0
    assert drawn.count('class="xi"') == 2
