"""The controls that a study asks for, against brute force and by hand."""

from itertools import product

import pytest

from layerlottery.config.loading import load_benchmark
from layerlottery.config.networks import named_network
from layerlottery.config.studies import CONTROLS
from layerlottery.errors import LayerLotteryError

STUDY = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0, 1], "criteria": ["snip"]}


def loaded(*studies, **more):
    return load_benchmark({"datasets": {"digits": {"source": "digits"}}, "studies": list(studies)} | more)


def kinds(benchmark):
    """Of seed 0: structure, criterion, draw, removed, rewind of every ticket."""
    return {
        (run.structure, run.criterion, run.draw, run.removed, run.rewind)
        for run in benchmark.runs()
        if run.removed and run.seed == 0
    }


def test_all_controls_of_one_ticket():
    ticket = ("layers", "snip", 0, 2, "0")
    assert kinds(loaded(STUDY | {"removed": [2], "controls": "all"})) == {
        ticket,
        *(("layers", name, draw, 2, "0") for name in ("random", "random_spread") for draw in (0, 1, 2)),
        ("layers", "snip", 0, 2, "random"),
        *(("layers", f"depths_{one}", 0, 2, "random") for one in ("0_1_1", "1_0_1", "1_1_0")),
        ("dense_at_cost", "snip", 0, 2, "0"),
        ("filters_at_macs", "snip", 0, 2, "0"),
    }


def test_a_network_that_can_lose_no_filters_gets_no_such_control():
    padded = {"padded": {"depth": 20, "shortcut": "A"}}
    study = STUDY | {"networks": ["padded"], "removed": [2], "controls": "all"}
    structures = {run[0] for run in kinds(loaded(study, networks=padded))}
    assert structures == {"layers", "dense_at_cost"}


def test_without_controls_nothing_is_added():
    assert kinds(loaded(STUDY | {"removed": [2]})) == {("layers", "snip", 0, 2, "0")}


@pytest.mark.parametrize(("network", "removed"), [("resnet20", 1), ("resnet32", 3), ("resnet56", 4), ("wrn-28-2", 2)])
def test_architectures_are_all_ways_to_take_so_many_blocks(network, removed):
    study = STUDY | {"networks": [network], "removed": [removed], "controls": ["architecture"]}
    benchmark = loaded(study)
    found = {tuple(benchmark.criterion(run[1]).remove) for run in kinds(benchmark) if run[1].startswith("depths")}
    blocks = named_network(network).blocks_per_stage
    # two blocks of each stage stay
    assert found == {
        one
        for one in product(range(blocks + 1), repeat=3)
        if sum(one) == removed and all(blocks - gone >= 2 for gone in one)
    }


def test_named_architectures_only():
    study = STUDY | {"networks": ["resnet32"], "removed": [2, 3], "controls": ["architecture"]}
    benchmark = loaded(study | {"depths": [[2, 0, 0], [1, 1, 1]]})
    assert {run[1:4:2] for run in kinds(benchmark)} == {
        ("snip", 2), ("snip", 3), ("depths_2_0_0", 2), ("depths_1_1_1", 3),
    }  # fmt: skip


def test_sizes_without_a_named_architecture_get_none():
    study = STUDY | {"networks": ["resnet32"], "removed": [2, 5], "controls": ["architecture"], "depths": [[1, 1, 0]]}
    assert {run[1:4:2] for run in kinds(loaded(study))} == {("snip", 2), ("snip", 5), ("depths_1_1_0", 2)}


def test_filters_start_from_the_same_weights_as_the_ticket():
    study = STUDY | {"removed": [2], "rewinds": [0, 5], "controls": ["filters_at_macs"]}
    assert {run[4] for run in kinds(loaded(study)) if run[0] == "filters_at_macs"} == {"0", "5"}


def test_studies_whose_long_names_begin_alike_have_controls_of_their_own():
    studies = [
        STUDY | {"name": "a" * 59 + end, "removed": sizes, "controls": "all"}
        for end, sizes in (("1", [1, 2]), ("2", [3]))
    ]
    names = [study.name for study in loaded(*studies).studies]
    assert len(names) == len(set(names)) == 2 + 2 * 5 + 3


@pytest.mark.parametrize("first", [True, False])
def test_controls_take_no_name_of_a_users_study(first):
    own = [STUDY | {"name": name, "criteria": ["l1"], "removed": [1]} for name in ("one.fresh", "one.fresh.1")]
    asking = [STUDY | {"removed": [2], "controls": ["fresh"]}]
    benchmark = loaded(*(own + asking if first else asking + own))
    criteria = {study.name: study.criteria for study in benchmark.studies}
    assert criteria == {"one": ["snip"], "one.fresh": ["l1"], "one.fresh.1": ["l1"], "one.fresh.2": ["snip"]}


def test_two_studies_of_one_name_are_named():
    with pytest.raises(LayerLotteryError, match=r"studies: found the name one twice; each study needs its own$"):
        loaded(STUDY | {"removed": [2], "controls": "all"}, STUDY | {"removed": [1]})


def test_a_criterion_of_ones_own_is_not_taken_for_a_control():
    own = {"depths_1_1_0": {"function": "depths", "remove": [0, 1, 1]}}
    study = STUDY | {"removed": [2], "controls": ["architecture"]}
    with pytest.raises(LayerLotteryError, match=r"criteria\.depths_1_1_0: found other settings"):
        loaded(study, criteria=own)
    own["depths_1_1_0"]["remove"] = [1, 1, 0]
    assert loaded(study, criteria=own).runs() == loaded(study).runs()


def test_controls_that_two_studies_ask_for_are_trained_once():
    other = STUDY | {"name": "two", "criteria": ["grasp"], "removed": [2], "controls": "all"}
    runs = loaded(STUDY | {"removed": [2], "controls": "all"}, other).runs()
    assert len(runs) == len(set(runs))
    assert sum(run.criterion == "random" for run in runs) == 2 * 3


def test_all_leaves_out_what_a_network_or_criterion_can_not_have():
    vit = STUDY | {"networks": ["vit_tiny"], "removed": [2], "controls": "all"}
    assert {run[0] for run in kinds(loaded(vit))} == {"layers", "dense_at_cost"}
    assert not any(run[1].startswith("depths") for run in kinds(loaded(vit)))
    late = STUDY | {"criteria": ["hrank"], "scored_at": ["trained"], "removed": [2], "controls": "all"}
    assert "filters_at_macs" not in {run[0] for run in kinds(loaded(late))}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks": ["vit_tiny"], "controls": ["architecture"]}, "stages of vit_tiny are not known"),
        ({"networks": ["vit_tiny"], "controls": ["filters_at_macs"]}, "for CIFAR ResNets"),
        ({"criteria": ["hrank"], "controls": ["filters_at_macs"]}, "such as snip"),
        ({"controls": ["fesh"]}, "fresh"),
        ({"controls": "most"}, "all"),
        ({"structures": ["filters"], "controls": "all"}, "structures without layers"),
        ({"controls": ["architecture"], "depths": [[2, 0, 0]]}, r"depths: found \[2, 0, 0\]"),
        ({"controls": ["architecture"], "depths": [[1, 1]]}, r"depths: found \[1, 1\]"),
        (
            {"controls": "all", "depths": [[1, 1, 1]]},
            r"found \[1, 1, 1\], 3 blocks; allowed: as many as removed says, 2",
        ),
        ({"controls": "all", "depths": [[]]}, r"depths: found \[\]"),
        ({"controls": ["fresh"], "depths": [[1, 1, 0]]}, r"depths: found \[1, 1, 0\]; allowed: with"),
    ],
)
def test_a_control_that_can_not_be_had_is_one_line(changes, said):
    with pytest.raises(LayerLotteryError, match=said) as raised:
        loaded(STUDY | {"removed": [2]} | changes)
    assert "\n" not in str(raised.value)


def test_controls_of_random_removal_alone_are_none():
    assert {run[1] for run in kinds(loaded(STUDY | {"criteria": ["random"], "removed": [2], "controls": "all"}))} == {
        "random"
    }


def test_the_deepest_blocks_are_a_control_that_has_none():
    study = STUDY | {"criteria": ["angular", "angular_deepest"], "removed": [2], "controls": ["fresh", "dense_at_cost"]}
    controls = {run for run in kinds(loaded(study)) if run[0] != "layers" or run[4] != "0"}
    assert {run[1] for run in controls} == {"angular"}


def test_the_names_of_all_controls_are_those_of_the_comparisons():
    from layerlottery.tables.comparisons import CONTROLS as COMPARED

    assert set(CONTROLS) <= set(COMPARED)
