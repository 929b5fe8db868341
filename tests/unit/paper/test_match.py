"""Which printed figure belongs to a ticket, and verdicts on intervals."""

import pytest

from layerlottery.paper.match import (
    AGREES,
    CANT_TELL,
    DISAGREES,
    NO_FIGURE,
    agreement,
    direction,
    equivalent_epoch,
    find,
    same_rewind,
)
from layerlottery.paper.measure import TicketKey
from layerlottery.tables.statistics import Estimate

REWOUND = TicketKey("cifar10", "resnet32", "layers", "kl", "trained", 1, "1")
SNIP = TicketKey("cifar10", "resnet32", "layers", "snip", "init", 5, "0")
ROUNDS = TicketKey("cifar100", "resnet56", "layers", "cka", "trained", 17, "trained-1a2b3c4d", 1)


def interval(low, high):
    return Estimate((low + high) / 2, 0.1, low, high)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.6, 1.4, AGREES),
        (0.5, 1.5, AGREES),  # the margin's ends belong to it
        (0.4, 1.4, CANT_TELL),
        (0.6, 1.6, CANT_TELL),
        (0.0, 2.0, CANT_TELL),  # wider than the margin, whatever its middle
        (1.5, 1.7, CANT_TELL),
        (1.6, 1.7, DISAGREES),
        (-0.2, 0.4, DISAGREES),
    ],
)
def test_an_interval_is_judged_against_the_printed_figure_and_its_margin(low, high, verdict):
    assert agreement(interval(low, high), 1.0, 0.5) == verdict


def test_one_seed_and_no_printed_figure_have_no_verdict():
    assert agreement(Estimate(1.0, None, None, None), 1.0, 0.5) == CANT_TELL
    assert agreement(interval(0.9, 1.1), None, 0.5) == NO_FIGURE
    assert direction(Estimate(1.0, None, None, None)) == CANT_TELL


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, AGREES), (-0.2, -0.1, DISAGREES), (-0.1, 0.2, CANT_TELL), (0.0, 0.2, CANT_TELL)],
)
def test_a_direction_needs_the_whole_interval_on_its_side(low, high, verdict):
    assert direction(interval(low, high)) == verdict


@pytest.mark.parametrize(
    ("rewind", "epochs", "printed"),
    [("25", 200, 25), ("1", 8, 25), ("2", 8, 50), ("3", 8, 75), ("0", 7, 0), ("75", 200, 75)],
)
def test_rewinds_match_as_shares_of_the_training(rewind, epochs, printed):
    assert same_rewind(rewind, printed, epochs=epochs)
    assert equivalent_epoch(printed, epochs=epochs) == rewind
    assert find("table1", REWOUND._replace(rewind=rewind), "accuracy", epochs=epochs, control=False).rewind == printed


@pytest.mark.parametrize(("rewind", "epochs"), [("24", 100), ("1", 7), ("1", 200), ("random", 8), ("random", 200)])
def test_other_rewinds_match_no_printed_figure(rewind, epochs):
    assert find("table1", REWOUND._replace(rewind=rewind), "accuracy", epochs=epochs, control=False) is None


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "cifar10"},
        {"network": "resnet110"},
        {"criterion": "random"},
        {"scored_at": "init"},
        {"removed": 18},
        {"rewind": "0"},
        {"rewind": "random"},
        {"step": 0},  # all 17 at once
    ],
)
def test_a_figure_of_rounds_needs_rounds_and_fine_tuning_by_any_recipe(change):
    for rewind in ("trained-1a2b3c4d", "trained-00000000"):
        held = ROUNDS._replace(rewind=rewind)
        assert find("pons", held, "accuracy", epochs=8, control=False).value == 0.71
    assert find("pons", ROUNDS._replace(**change), "accuracy", epochs=8, control=False) is None


def test_a_fine_tuned_ticket_answers_no_figure_of_a_rewound_one():
    tuned = REWOUND._replace(rewind="trained-1a2b3c4d")
    assert find("table1", tuned, "accuracy", epochs=8, control=False) is None


def test_a_share_without_a_whole_epoch_has_no_equivalent():
    assert equivalent_epoch(25, epochs=7) is None


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "digits"},
        {"network": "resnet20"},
        {"structure": "filters"},
        {"criterion": "synflow"},
        {"scored_at": "trained"},
        {"removed": 6},
        {"rewind": "random"},
    ],
)
def test_a_figure_needs_the_whole_ticket_to_match(change):
    assert find("table2", SNIP, "accuracy", epochs=8, control=False).value == -1.0
    assert find("table2", SNIP._replace(**change), "accuracy", epochs=8, control=False) is None


def test_an_unnamed_criterion_is_any_but_a_random_one():
    for criterion in ("snip", "synflow"):
        ticket = SNIP._replace(criterion=criterion)
        assert find("table4", ticket, "memory", epochs=8, control=False).value == 30.11
        assert find("table4", ticket, "memory", epochs=8, control=True) is None
    # printed as p = 4, but its FLOPs are those of p = 5
    assert find("table4", SNIP._replace(removed=4), "memory", epochs=8, control=False) is None
