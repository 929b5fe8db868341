"""Rounds of a study: what is gone after each, where it lies, and what is refused."""

import pytest
from pydantic import ValidationError

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.rounds import Rounds
from layerlottery.upkeep.finding import run_of

STUDY = {"name": "s", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["cka"]}
TUNED = STUDY | {"scored_at": ["trained"], "rewinds": ["trained"], "rounds": {"blocks": 1, "until": 3}}


def benchmark(*studies, **changes):
    given = {"datasets": {"digits": {"source": "digits"}}, "studies": list(studies), "training": {"epochs": 2}}
    return Benchmark.model_validate(given | changes)


def removals_by_hand(filters, step, until):
    """Remove `step` percent of what is left again and again, and say what is gone."""
    left, gone = float(filters), []
    while (now := left * (1 - step / 100)) >= filters * (1 - until) - 1e-6:
        left = now
        gone.append(round(100 * (1 - left / filters)))
    return gone


def test_blocks_add_up():
    assert Rounds(blocks=2, until=6).sizes() == [(2, 2, 1), (4, 2, 2), (6, 2, 3)]


@pytest.mark.parametrize(("share", "until"), [(0.2, 0.8), (0.5, 0.5), (0.2, 0.36), (0.1, 0.6), (0.01, 0.02)])
def test_shares_are_of_the_filters_left(share, until):
    sizes = Rounds(filters=share, until=until).sizes()
    assert [gone for gone, _, _ in sizes] == removals_by_hand(10_000, round(100 * share), until)
    assert [number for _, _, number in sizes] == list(range(1, len(sizes) + 1))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"until": 3}, "neither blocks nor filters"),
        ({"blocks": 1, "filters": 0.1, "until": 3}, "both blocks and filters"),
        ({"blocks": 2, "until": 3}, "until: found 3; allowed: a multiple of blocks, 2"),
        ({"blocks": 1, "until": 0.5}, "until: found 0.5; allowed: a multiple of blocks, 1"),
        ({"filters": 0.5, "until": 0.2}, "until: found 0.2; allowed: from filters, 0.5, to below 1"),
        ({"filters": 0.5, "until": 1}, "until: found 1; allowed: from filters, 0.5, to below 1"),
        ({"filters": 0.125, "until": 0.5}, "filters: found 0.125; allowed: whole percent"),
        ({"filters": 0.001, "until": 0.5}, "filters: found 0.001; allowed: whole percent, such as 0.01"),
    ],
)
def test_odd_rounds_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        Rounds.model_validate(given)


def test_a_round_lies_below_the_one_it_came_from():
    dense, *rounds = benchmark(TUNED).runs()
    assert [run.removed for run in rounds] == [1, 2, 3]
    for before, after in zip([dense, *rounds], rounds, strict=False):
        assert after.folder.startswith(f"{before.folder}/")
    assert [paths.before(run.folder) for run in rounds[1:]] == [run.folder for run in rounds[:-1]]


def test_the_first_round_is_the_ticket_of_as_many_blocks_at_once():
    once = {key: value for key, value in TUNED.items() if key != "rounds"} | {"name": "t", "removed": [1]}
    runs = [run for run in benchmark(TUNED, once).runs() if run.removed == 1]
    assert len(runs) == 2
    assert len({run.folder for run in runs}) == 1
    assert benchmark(TUNED, once).places() == benchmark(TUNED).places()


def test_a_folder_says_which_round_it_is():
    for run in benchmark(TUNED).runs()[2:]:
        assert run_of(run.folder) == run
    shares = TUNED | {"rounds": {"filters": 0.2, "until": 0.6}, "structures": ["filters_by_share"], "criteria": ["l1"]}
    (*_, last) = benchmark(shares).runs()
    assert (run_of(last.folder), last.removed, last.round) == (last, 59, 4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"removed": [1]}, r"rounds: found beside removed \[1\]; allowed: one of the two"),
        ({"scored_at": ["init"]}, r"rounds: found scored_at \['init'\]; rounds score trained networks"),
        (
            {"structures": ["filters"]},
            r"rounds: found structures \['filters'\]; allowed with blocks: \['layers', 'dense_tuned'\]",
        ),
        ({"rounds": {"blocks": 1, "until": 9}}, r"studies\.s\.rounds\.until: found 9; resnet20 gives at most 3"),
        (
            {"controls": ["fresh"]},
            r"rounds: found controls \['fresh'\]; allowed in rounds: random, random_spread, dense_t",
        ),
        (
            {"structures": ["dense_tuned"], "rewinds": [0]},
            r"dense_tuned with rewinds \[0\]; allowed: \[trained\]",
        ),
        (
            {"structures": ["layers", "dense_at_cost"], "rewinds": [0, 2]},
            r"dense_at_cost with rewinds \[2\]; allowed: 0, random, trained",
        ),
        ({"structures": ["filters_by_share"], "rounds": None, "removed": [100]}, "percent of the filters, below 100"),
    ],
)
def test_rounds_that_no_network_can_do_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        benchmark(TUNED | changes)


def test_empty_rounds_ask_for_no_removed():
    with pytest.raises(ValidationError) as raised:
        benchmark(TUNED | {"rounds": {}})
    assert [problem["loc"][-2:] for problem in raised.value.errors()] == [("rounds", "until")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"fine_tuning": {"epochs": 3}},
            r"fine_tuning: found, and no study fine-tunes; allowed: with rewinds: \[trained",
        ),
        ({"training": {"resnet32": {"epochs": 3}}}, "training: found a recipe for 'resnet32', which no study trains"),
        ({"training": {"default": {"epoch": 3}}}, "unknown key 'epoch'"),
    ],
)
def test_recipes_without_a_training_are_refused(given, told):
    plain = STUDY | {"removed": [1]}
    with pytest.raises(ValueError, match=told):
        benchmark(plain, **given)


def test_fine_tuning_for_a_network_that_is_not_fine_tuned_is_refused():
    other = STUDY | {"name": "other", "networks": ["resnet32"], "removed": [1]}
    with pytest.raises(ValueError, match="fine_tuning: found a recipe for 'resnet32', which no study trains"):
        benchmark(TUNED, other, fine_tuning={"resnet32": {"epochs": 3}})


def test_a_dense_network_that_goes_through_the_same_rounds_is_a_control():
    runs = benchmark(TUNED | {"controls": ["dense_tuned", "random"], "control_draws": 2}).runs()
    named = {(run.structure, run.criterion, run.draw, run.removed, run.scored_at) for run in runs[4:]}
    whole = {("dense_tuned", "cka", 0, removed, "trained") for removed in (1, 2, 3)}
    assert named == whole | {("layers", "random", draw, removed, "trained") for draw in (0, 1) for removed in (1, 2, 3)}
    assert {(run.rewind, run.step) for run in runs[1:]} == {(runs[1].rewind, 1)}


def test_a_ticket_that_is_not_fine_tuned_has_no_such_control():
    plain = STUDY | {"removed": [1]}
    with pytest.raises(ValueError, match=r"controls: found dense_tuned; allowed: with rewinds: \[trained\]"):
        benchmark(plain | {"controls": ["dense_tuned"]})
    structures = {run.structure for run in benchmark(plain | {"controls": "all"}).runs()}
    assert "dense_at_cost" in structures
    assert "dense_tuned" not in structures
