"""Networks found by words: what people type, beside the folders that lie there."""

import os
from dataclasses import replace

import pytest
from click.testing import CliRunner

from layerlottery.cli.main import cli
from layerlottery.config.naming import network_name
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.report.network import network_text
from layerlottery.upkeep.finding import find_run, run_of, stored_runs
from layerlottery.upkeep.show import describe
from layerlottery.words import DASH

DENSE = [Run("digits", "resnet20", seed, recipe="default-1a2b3c4d") for seed in (0, 1)]
SNIP = [replace(one, structure="layers", criterion="snip", scored_at="init", removed=2, round=1) for one in DENSE]
FRESH, FILTERS = replace(SNIP[0], rewind="random"), replace(SNIP[0], structure="filters_at_macs")
RANDOM = [replace(SNIP[0], criterion="random", draw=draw) for draw in (0, 1)]
LATER = replace(SNIP[0], criterion="l1", rewind="25", scored_at="trained", removed=1)
TUNED = replace(LATER, criterion="cka", rewind="trained-5e6f7a8b")
SECOND, THIRD = (replace(TUNED, removed=number, step=1, round=number) for number in (2, 3))
ALL = [*DENSE, *SNIP, FRESH, FILTERS, *RANDOM, LATER, TUNED, SECOND, THIRD]


@pytest.fixture
def results(tmp_path):
    for run in ALL:
        (tmp_path / run.folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "networks" / "my notes").mkdir()
    return tmp_path


def test_every_folder_is_read_back(results):
    assert set(stored_runs(results)) == set(ALL)
    assert [run_of(run.folder) for run in ALL] == ALL
    assert run_of("networks/dataset=digits") is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # the plainest is what tables call by the criterion alone
        ("snip removed=2 seed=0", SNIP[0]),
        ("snip seed=1", SNIP[1]),
        ("seed=0 snip fresh", FRESH),
        ("snip rewind=random", FRESH),
        ("snip rewind=fresh", FRESH),
        ("filters_at_macs", FILTERS),
        ("dense seed=1 digits resnet20", DENSE[1]),
        ("random", RANDOM[0]),
        ("random draw=1", RANDOM[1]),
        ("l1", LATER),
        ("trained rewind=25", LATER),
        ("cka removed=1", TUNED),
        ("fine-tuned step=1 removed=3", THIRD),
        ("cka rewind=trained removed=1 step=1", TUNED),
    ],
)
def test_words_find_a_network(results, words, expected):
    assert find_run(results, words.split())[0] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("snip", f"2 networks are snip; say which: seed=0{DASH}1"),
        ("seed=0", "3 networks are seed=0; say which: dense; criterion=random, snip"),
        ("snap", f"no network is 'snap'; there are dense; seed=0{DASH}1;"),
        ("seed=7", "no network is 'seed=7'; there are"),
        ("2", "no network is '2'; there are"),
        ("size=2", "no network is 'size=2'"),
        ("dense snip", "no network is all of dense snip; there are"),
    ],
)
def test_what_finds_none_or_several_says_what_there_is(results, words, expected):
    with pytest.raises(LayerLotteryError) as caught:
        find_run(results, words.split())
    assert expected in str(caught.value)


def test_others_that_fit_are_told(results):
    told = find_run(results, ["snip", "seed=0"])[1]
    assert told == "structure=filters_at_macs, layers; rewind=0, random"
    assert find_run(results, ["l1"])[1] == ""


def test_a_folder_without_networks_says_so(tmp_path):
    with pytest.raises(LayerLotteryError, match="no trained networks here; --results names the folder"):
        find_run(tmp_path, ["snip"])


def test_show_takes_words_and_names_the_network(results):
    answer = CliRunner().invoke(cli, ["show", "snip", "fresh", "--results", str(results)])
    assert "trained from fresh weights" in " ".join(answer.output.split())


def test_a_results_folder_is_no_network(results):
    answer = CliRunner().invoke(cli, ["show", str(results)])
    said = f"{results}: found a results folder; allowed: a network's folder, or words: show dense --results {results}"
    assert str(answer.exception) == said


def completed(results, line, *, words=None):
    """What click hands to bash after a typed line, whose last word is begun."""
    typed = words or line.split(" ")
    given = {"COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1), "_CLI_COMPLETE": "bash_complete"}
    answer = CliRunner().invoke(cli, [], env=os.environ | given, prog_name="cli")
    return [item.partition(",")[2] for item in answer.output.split()]


def test_a_shell_completes_words(results, monkeypatch):
    monkeypatch.chdir(results)
    place = f"cli show --results {results} "
    assert completed(results, f"{place}sn") == ["snip"]
    fresh = ["filters_at_macs", "fresh", "layers", "rewind=0", "rewind=random"]
    assert completed(results, f"{place}snip ") == [*fresh, "seed=0", "seed=1"]
    # bash splits at =
    split = [*place.split(), "snip", "seed", "=", "1"]
    assert completed(results, "", words=split) == ["1"]
    assert completed(results, "", words=split[:-1]) == ["0", "1"]
    # what is typed already, in other words too
    assert completed(results, f"{place}dense ") == ["seed=0", "seed=1"]
    assert completed(results, f"{place}rewind=random ") == []
    assert completed(results, "cli sta") == ["stale", "status"]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (DENSE[1], "dense, seed 1, resnet20 on digits"),
        (FRESH, "snip (fresh weights), 2 removed, seed 0, resnet20 on digits"),
        (RANDOM[1], "random, 2 removed, draw 1, seed 0, resnet20 on digits"),
        (LATER, "l1 (trained, rewind 25), 1 removed, seed 0, resnet20 on digits"),
        (FILTERS, "snip (filters, equal MACs), 2 removed, seed 0, resnet20 on digits"),
        (replace(FRESH, criterion="depths_1_0_1"), "depths 1-0-1, 2 removed, seed 0, resnet20 on digits"),
    ],
)
def test_networks_are_named_as_in_the_tables(results, run, expected):
    assert network_name(vars(run)) == expected
    (results / run.folder).mkdir(parents=True, exist_ok=True)
    assert expected in network_text(describe(results / run.folder), width=120)
