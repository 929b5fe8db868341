"""Which networks are one under several names: by what was trained, in the order of the configuration."""

from dataclasses import replace

import pandas as pd

from layerlottery.config.studies import Run
from layerlottery.tables.same import Firsts, same_as
from layerlottery.tables.seeds import pruned

DENSE = Run("digits", "tiny", 0, recipe="default-01234567")
SNIP = replace(DENSE, structure="layers", criterion="snip", scored_at="init", removed=3, round=1)
GRASP = replace(SNIP, criterion="grasp")


def frame(*rows):
    """Rows of the table runs: a network, and the hash of what was trained."""
    return pd.DataFrame([vars(run) | {"config_hash": made, "place": at} for at, (run, made) in enumerate(rows)])


def test_the_first_of_equal_networks_gives_its_folder_to_the_others():
    runs = [DENSE, SNIP, GRASP, replace(SNIP, seed=1), replace(GRASP, seed=1), replace(SNIP, criterion="l1")]
    rows = frame(*zip(runs, ["d", "a", "a", "b", "c", "a"], strict=True))
    found = Firsts(runs)
    # a batch at a time, as tables are made
    told = found.of(rows[:2]) + found.of(rows[2:])
    assert told == [None, None, SNIP.folder, None, None, SNIP.folder]


def test_equal_hashes_of_other_networks_are_no_sameness():
    runs = [SNIP, replace(SNIP, network="other")]
    assert Firsts(runs).of(frame(*((run, "a") for run in runs))) == [None, None]


def test_two_rows_of_one_folder_are_one_network():
    first_round = replace(SNIP, step=3)
    assert first_round.folder == SNIP.folder
    assert Firsts([SNIP, first_round]).of(frame((SNIP, "a"), (first_round, "a"))) == [None, SNIP.folder]


def named(*rows):
    tickets = pruned(frame(*rows))
    found = same_as(tickets)
    return {row["criterion"]: found[row["ticket"]] for row in tickets.to_dict("records")}


def test_a_ticket_is_another_only_if_it_is_in_every_seed():
    one, other = ([replace(run, seed=seed) for seed in (0, 1)] for run in (SNIP, GRASP))
    alike = [*zip(one, "ab", strict=True), *zip(other, "ab", strict=True)]
    assert named(*alike) == {"snip": None, "grasp": "snip, 3 removed"}
    differing = [*zip(one, "ab", strict=True), *zip(other, "ac", strict=True)]
    assert named(*differing) == {"snip": None, "grasp": None}
    # a seed that only one of them has
    assert named(*alike[:3]) == {"snip": None, "grasp": None}


def test_draws_of_a_seed_are_compared_as_a_set():
    draws = [(replace(GRASP, draw=draw), made) for draw, made in enumerate("aab")]
    assert named((SNIP, "a"), *draws)["grasp"] is None
    assert named((SNIP, "a"), *draws[:2])["grasp"] == "snip, 3 removed"


def test_all_that_sets_a_ticket_apart_is_in_its_name():
    tuned = replace(SNIP, scored_at="trained", rewind="trained-01234567", step=1)
    assert named((tuned, "a"), (GRASP, "a"))["grasp"] == "snip (fine-tuned, rounds of 1), 3 removed"
