"""The picture of removed blocks for networks whose names are not those of CIFAR ResNets."""

import pandas as pd
import pytest

from layerlottery.report.blocks import _places, short_names


@pytest.mark.parametrize(
    ("stages", "short"),
    [
        (["stage1", "stage2"], ["stage1", "stage2"]),
        (["features.3", "features.12"], ["3", "12"]),
        (["stages.0.blocks", "stages.1.blocks"], ["0", "1"]),
        (["blocks.1", "blocks"], ["blocks.1", "blocks"]),
        (["encoder.layers"], ["layers"]),
        ([], []),
    ],
)
def test_headings_leave_out_what_all_stages_share(stages, short):
    assert short_names(stages) == short


def test_blocks_stand_in_the_order_of_the_network():
    # not in that of their names, in which `blocks` comes before `blocks.1`
    names = [("blocks.1", "blocks.1.1"), ("blocks", "blocks.2.1"), ("blocks", "blocks.3.0"), ("blocks.4", "blocks.4.1")]
    rows = [{"stage": stage, "block": block, "removable": True} for stage, block in names * 2]
    places, stages, side = _places(pd.DataFrame(rows))
    assert list(places) == [block for _, block in names]
    left = [x for x, _ in places.values()]
    assert left == sorted(left)
    assert list(stages) == ["blocks.1", "blocks", "blocks.4"]
    assert left[2] - left[1] == pytest.approx(side)
