"""The printed figures, typed a second time from the paper, and those that follow from counting."""

import pytest
import torch

from layerlottery.config.networks import NetworkSettings
from layerlottery.config.results import MarginSettings
from layerlottery.cost.network import macs
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.resnet import CifarResNet
from layerlottery.paper.match import AGREES, DISAGREES, agreement
from layerlottery.paper.printed import (
    AS_FIVE,
    DATASET,
    EPOCHS,
    FASTER,
    FLOPS_PER_BLOCK,
    HOMES,
    IMAGES,
    LESS_CO2,
    PRINTED,
    REINITIALIZED,
    ROUNDED,
    UNNAMED,
)
from layerlottery.tables.statistics import Estimate

TABLE1 = """
hrank     -0.01 +0.21 +0.10 +0.12
expectabs +0.33 +0.13 -0.48 -0.62
pls       +0.06 +0.31 +0.10 +0.10
random    +0.38 +0.15 +0.26 -0.07
kl        +0.74 +0.46 -0.03 -0.17
"""
TABLE2 = """
snip  +0.08 +0.00 -0.50 -0.53 -1.00
grasp +0.40 +0.72 +0.34 +0.41 +0.12
"""
TABLE3 = """
filters -0.79 -0.11
layers  +0.08 +0.40
"""
# network, blocks removed (5 where the paper prints 4); FLOPs, memory, CO2, speed-up; CIFAR-10-C, CIFAR-10.2
TABLES45 = """
resnet32  1   6.82 10.13 11.11 1.10  +1.13 +0.00
resnet32  3  20.47 25.29 25.92 1.35  -0.05 -1.15
resnet32  5  34.13 30.11 33.33 1.57  +1.61 -0.65
resnet56  3  11.25 15.15 13.33 1.16  +0.59 +0.70
resnet56  4  15.00 19.42 20.00 1.24  +3.73 +1.75
resnet56  5  18.76 23.69 24.44 1.34  -0.16 +0.70
resnet56 12  45.00 45.82 51.11 2.03  +1.98 -1.95
"""
# of Pons et al.: data set, network, blocks removed in rounds of one; table, Δ accuracy and FLOPs
PONS = """
cifar10  resnet32   7  4 +0.68 47.78
cifar10  resnet32   8  4 +0.05 54.61
cifar10  resnet32   9  4 -0.18 61.44
cifar10  resnet44  11  4 +0.47 53.27
cifar10  resnet44  13  4 +0.22 62.95
cifar10  resnet44  15  4 -0.29 72.64
cifar10  resnet56  10  2 +1.25 37.52
cifar10  resnet56  13  2 +0.86 48.78
cifar10  resnet56  15  1 +0.95 56.29
cifar10  resnet56  16  2 +0.78 60.04
cifar10  resnet56  19  1 +0.16 71.30
cifar10  resnet56  20  2 +0.08 75.05
cifar10  resnet56  21  2 -0.66 78.80
cifar10  resnet110 24  2 +1.37 44.73
cifar10  resnet110 27  1 +1.16 50.33
cifar10  resnet110 35  2 +0.89 65.23
cifar10  resnet110 36  2 +0.80 67.10
cifar10  resnet110 38  2 +0.59 70.83
cifar10  resnet110 41  2 +0.23 76.42
cifar10  resnet110 47  2 -0.41 87.61
cifar100 resnet56  17  3 +0.71 63.79
cifar100 resnet56  19  3 -0.59 71.29
cifar100 resnet56  20  3 -1.96 75.05
"""


def lines(text):
    return [line.split() for line in text.strip().splitlines()]


def held(table):
    return {
        (one.network, one.structure, one.criterion, one.scored_at, one.removed, one.rewind, one.quantity): one.value
        for one in PRINTED[table]
    }


def test_table_1_is_as_printed():
    expected = {
        ("resnet32", "layers", criterion, "trained", 1, rewind, "accuracy"): float(value)
        for criterion, *values in lines(TABLE1)
        for rewind, value in zip((0, 25, 50, 75), values, strict=True)
    }
    assert held("table1") == expected
    assert len(PRINTED["table1"]) == 20


def test_table_2_is_as_printed():
    expected = {
        ("resnet32", "layers", criterion, "init", removed, 0, "accuracy"): float(value)
        for criterion, *values in lines(TABLE2)
        for removed, value in zip((1, 2, 3, 4, 5), values, strict=True)
    }
    assert held("table2") == expected
    assert len(PRINTED["table2"]) == 10


def test_table_3_is_as_printed():
    expected = {
        ("resnet32", structure, criterion, "init", 1, 0, "accuracy"): float(value)
        for structure, *values in lines(TABLE3)
        for criterion, value in zip(("snip", "grasp"), values, strict=True)
    }
    assert held("table3") == expected
    assert len(PRINTED["table3"]) == 4


@pytest.mark.parametrize(
    ("table", "names", "first"),
    [("table4", ("flops", "memory", "co2", "speedup"), 0), ("table5", ("cifar10c", "cifar10.2"), 4)],
)
def test_tables_4_and_5_are_as_printed(table, names, first):
    expected = {
        (network, "layers", None, "init", int(removed), 0, name): float(values[first + place])
        for network, removed, *values in lines(TABLES45)
        for place, name in enumerate(names)
    }
    assert held(table) == expected
    assert len(PRINTED[table]) == 7 * len(names)


def rounds(table):
    """Figures by place, quantity and source; all are of blocks that went one by one, fine-tuned after each."""
    kinds = {(one.structure, one.scored_at, one.rewind, one.step) for one in PRINTED[table]}
    assert kinds == {("layers", "trained", "trained", 1)}
    return {(one.dataset, one.network, one.removed, one.quantity, one.source): one.value for one in PRINTED[table]}


def test_the_tables_of_pons_et_al_are_as_printed():
    expected = {
        (dataset, network, int(removed), quantity, f"table {table}"): float(value)
        for dataset, network, removed, table, *values in lines(PONS)
        for quantity, value in zip(("accuracy", "flops"), values, strict=True)
    }
    assert rounds("pons") == expected
    assert {one.criterion for one in PRINTED["pons"]} == {"cka"}


def test_of_the_other_connected_papers_only_what_was_found_is_printed():
    assert rounds("consensus") == {("cifar10", "resnet56", 21, "flops", "the abstract"): 78.80}
    assert PRINTED["complexity"] == []
    assert {*HOMES} == {"pons", "consensus", "complexity"}
    assert {one.note for one in PRINTED["consensus"]} == {"printed in the abstract"}


@pytest.mark.parametrize("depth", [32, 44, 56, 110])
def test_every_flops_figure_of_the_connected_papers_follows_from_counting(depth):
    figures = [one for table in HOMES for one in PRINTED[table] if one.quantity == "flops"]
    own = [one for one in figures if one.network == f"resnet{depth}"]
    assert own
    for figure in own:
        classes = {"cifar10": 10, "cifar100": 100}[figure.dataset]
        dense = macs_by_hand((depth - 2) // 6) + 64 * (classes - 10)
        # printed with two digits, the last of them sometimes cut off
        assert 100 * figure.removed * 4_718_592 / dense == pytest.approx(figure.value, abs=0.011)


def test_the_figures_of_the_text_are_as_printed():
    assert (DATASET, EPOCHS, IMAGES, REINITIALIZED) == ("cifar10", 200, 50_000, ("resnet32", 1, 0.85))
    assert (FASTER, LESS_CO2) == (("resnet56", 12, 2.03), ("resnet56", 12, 51.0))


def test_the_row_printed_as_p_4_and_the_rounded_one_say_so():
    notes = {
        (one.network, one.removed, one.quantity): one.note for table in ("table4", "table5") for one in PRINTED[table]
    }
    as_five = {place for place, note in notes.items() if AS_FIVE in note}
    quantities = ("flops", "memory", "co2", "speedup", "cifar10c", "cifar10.2")
    assert as_five == {("resnet32", 5, quantity) for quantity in quantities}
    assert [place for place, note in notes.items() if ROUNDED in note] == [("resnet56", 12, "flops")]
    assert all(UNNAMED in note for note in notes.values())


def convolution(channels_in, channels_out, side, kernel=3):
    return channels_in * channels_out * kernel**2 * side**2


def macs_by_hand(blocks_per_stage):
    """Stem, two convolutions a block, two projections, classifier, as the paper's figures count them."""
    total = convolution(3, 16, 32) + 64 * 10
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        total += 2 * blocks_per_stage * convolution(channels, channels, side)
    for channels, side in ((32, 16), (64, 8)):
        # the first convolution sees half of the channels, and the projection is 1x1
        total += convolution(channels // 2, channels, side) - convolution(channels, channels, side)
        total += convolution(channels // 2, channels, side, kernel=1)
    return total


@pytest.fixture(scope="module", params=[("resnet32", 32), ("resnet56", 56)], ids=["resnet32", "resnet56"])
def network(request):
    name, depth = request.param
    with torch.device("meta"):
        model = CifarResNet(NetworkSettings(depth=depth), channels=3, classes=10)
    return name, depth, model, macs(model, (3, 32, 32))


def spread_over_stages(model, count):
    """Removable blocks, taken from the stages in turn."""
    names = [block.name for block in residual_blocks(model, keep_first=True) if block.removable]
    return sorted(names, key=lambda name: int(name.split(".")[1]))[:count]


def test_every_printed_flops_figure_follows_from_counting(network):
    name, depth, model, dense = network
    assert dense == macs_by_hand((depth - 2) // 6)
    figures = [one for one in PRINTED["table4"] if one.network == name and one.quantity == "flops"]
    assert len(figures) == {"resnet32": 3, "resnet56": 4}[name]
    for figure in figures:
        small = remove_blocks(model, spread_over_stages(model, figure.removed))
        count = macs(small, (3, 32, 32))
        assert dense - count == figure.removed * 4_718_592
        saved = 100 * (1 - count / dense)
        verdict = agreement(Estimate(saved, 0, saved, saved), figure.value, MarginSettings().flops)
        # 12 times 3.75 is printed as 45.00; nothing but this rounding is off
        rounded = (name, figure.removed) == ("resnet56", 12)
        assert verdict == (DISAGREES if rounded else AGREES)
        if rounded:
            assert round(saved, 2) == 45.03
            assert 12 * round(saved / 12, 2) == figure.value


def test_the_printed_reduction_of_one_block_follows_from_counting(network):
    name, _, model, dense = network
    assert 100 * 4_718_592 / dense == pytest.approx(FLOPS_PER_BLOCK[name], abs=5e-4)
    # ResNet56's are counted above, over all stages at once
    for stage in ("stage1", "stage2", "stage3") if name == "resnet32" else ():
        assert dense - macs(remove_blocks(model, [f"{stage}.2"]), (3, 32, 32)) == 4_718_592
