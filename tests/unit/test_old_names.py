"""Keys, targets, commands and options under their old names: one line that names the new one."""

import re

import pytest
from click.testing import CliRunner
from tests.unit.cli.test_cli import call
from tests.unit.config.test_benchmark import changed, message
from tests.unit.test_tickets import IMAGES, LABELS, Own

import layerlottery
from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError


def test_the_configuration():
    expected = "studies.0: densities: now called removed, the numbers of residual blocks to remove"
    assert message(changed(densities=[1])) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["clean"], "clean --stale: now called stale; its --yes is now stale --remove"),
        (["clean", "--stale", "--yes"], "clean --stale: now called stale; its --yes is now stale --remove"),
        (["prune", "--density", "3"], "--density: now called --removed"),
        (["prune", "--weights", "w", "--removed", "3", "--density=3"], "--density: now called --removed"),
    ],
)
def test_commands_and_options(words, line):
    assert call(*words).line == line


def test_help_does_not_mention_them():
    commands, options = (CliRunner().invoke(cli, [*words, "--help"]).output for words in ([], ["prune"]))
    assert not re.search(r"^ +clean ", commands, re.MULTILINE)
    assert "--density" not in options


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"density": 3}, "density: now called remove"),
        ({"flops": 0.3}, "flops: now called remove_flops"),
        ({"params": 0.3, "remove": 1}, "params: now called remove_params"),
        ({"remove_flops": 30}, "remove_flops: found 30; allowed: a share from 0 to 1; did you mean 0.3?"),
        ({"remove_params": 2.5}, "remove_params: found 2.5; allowed: a share from 0 to 1; did you mean 0.025?"),
        ({"remove_flops": 300}, "remove_flops: found 300; allowed: a share from 0 to 1"),
        ({"remove_params": -0.1}, "remove_params: found -0.1; allowed: a share from 0 to 1"),
    ],
)
def test_old_targets_and_percentages_are_answered_with_what_is_meant(target, message):
    with pytest.raises(LayerLotteryError) as caught:
        layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", **target)
    assert str(caught.value) == message


def test_another_unknown_target_is_a_type_error_as_of_any_function():
    with pytest.raises(TypeError, match=r"find_ticket\(\) got an unexpected keyword argument 'macs'"):
        layerlottery.find_ticket(Own(), (IMAGES, LABELS), "l1", macs=0.3)
