"""Which baselines a configuration may name, and what naming them changes."""

import re

import pytest
from tests.unit.config.test_controls import STUDY, loaded

from layerlottery.errors import LayerLotteryError

TWO = STUDY | {"criteria": ["snip", "grasp"], "removed": [1, 2]}


def refused(found, *studies, **more):
    with pytest.raises(LayerLotteryError) as error:
        loaded(*studies, statistics={"baselines": [found]}, **more)
    (line,) = str(error.value).splitlines()
    return line


def test_a_baseline_is_run_beside_another_criterion():
    assert loaded(TWO, statistics={"baselines": ["snip"]}).statistics.baselines == ["snip"]
    # by two studies, too
    other = STUDY | {"name": "two", "criteria": ["l1"], "removed": [2]}
    assert loaded(STUDY | {"removed": [2]}, other, statistics={"baselines": ["l1"]})


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("snap", "not a criterion"),
        ("l1", "which no study runs"),
        ("random", "a control, which every ticket is compared with anyway"),
    ],
)
def test_others_are_refused_in_one_line(name, problem):
    line = refused(name, TWO | {"controls": ["random"]})
    assert f"statistics.baselines: found {name!r}, {problem}; allowed: grasp, snip" in line


@pytest.mark.parametrize(
    "change",
    [
        {"removed": [3]},
        {"structures": ["filters"]},
        {"seeds": [7]},
        {"scored_at": ["trained"]},
        {"rewinds": [5]},
        {"rewinds": ["random"]},
        {"structures": ["dense_at_cost"]},
        {"networks": ["resnet32"]},
    ],
    ids=str,
)
def test_a_baseline_that_stands_beside_none_is_refused(change):
    other = STUDY | {"name": "two", "criteria": ["grasp"], "removed": [2]} | change
    line = refused("snip", STUDY | {"removed": [2]}, other)
    assert "found 'snip', but no other criterion removes as much of the same structure" in line
    assert line.endswith("allowed: none, as no two of grasp, snip remove as much of the same structure with one seed")


def test_a_typo_beside_a_single_criterion_says_which_one_there_is():
    line = refused("snpi", STUDY | {"criteria": ["snip"], "removed": [1, 2]})
    allowed = "none, as a baseline needs a second criterion and studies run only snip"
    assert line.endswith(f"statistics.baselines: found 'snpi', not a criterion; allowed: {allowed}")
    line = refused("snip", STUDY | {"criteria": ["random"], "removed": [1]})
    assert line.endswith("which no study runs; allowed: none, as no study runs a criterion that chooses")


def test_controls_stand_beside_no_baseline():
    line = refused("snip", STUDY | {"removed": [2], "controls": "all"})
    assert "but no other criterion" in line


def test_a_criterion_that_selects_the_deepest_blocks_is_a_control():
    own = {"deep": {"function": "angular", "select": "deepest"}}
    assert "found 'deep', a control" in refused("deep", TWO | {"criteria": ["snip", "grasp", "deep"]}, criteria=own)


def test_only_tables_and_page_depend_on_the_baselines():
    plain, named = loaded(TWO), loaded(TWO, statistics={"baselines": ["snip"]})
    assert "baselines" not in plain.aggregate_slice() + plain.tabulate_slice() + plain.manifest_slice()
    assert re.search(r'"baselines":\["snip"\]', named.aggregate_slice())
    assert plain.runs() == named.runs()
    (wildcards,) = {(run.dataset, run.network) for run in plain.runs()}
    assert wildcards == ("digits", "resnet20")
    for benchmark in (plain, named):
        assert "baselines" not in benchmark.criterion("snip").slice() + benchmark.recipe("resnet20").slice()
