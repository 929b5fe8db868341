"""What tickets cost with all trainings that they rest on, beside sums by hand."""

import numpy as np
import pandas as pd
import pytest

from layerlottery.tables.totals import Totals

TUNED = "trained-1a2b3c4d"
FAMILY = {"dataset": "digits", "network": "resnet20", "seed": 0, "draw": 0, "epochs": 10}
DENSE = {"structure": "none", "criterion": None, "scored_at": None, "removed": 0, "rewind": "0", "step": 0, "round": 0}
# the dense network took 100 s and 8 kWh
WHOLE = FAMILY | DENSE | {"train_seconds": 100.0, "energy_kwh": 8.0}


def ticket(seconds, scored_at="init", rewind="0", step=0, number=1, **changes):
    named = {"structure": "layers", "criterion": "cka", "scored_at": scored_at, "rewind": rewind}
    sizes = {"removed": number * max(step, 1), "step": step, "round": number}
    return FAMILY | named | sizes | {"train_seconds": seconds, "energy_kwh": seconds / 10} | changes


def totals(rows, held=None):
    frame = pd.DataFrame(rows)
    beside = pd.DataFrame([WHOLE] * len(rows))
    return (held or Totals()).of(frame, beside)


@pytest.mark.parametrize(
    ("row", "total", "energy"),
    [
        (WHOLE, 100, 8),
        (ticket(60.0), 60, 6),
        (ticket(60.0, rewind="random"), 60, 6),
        (ticket(60.0, "trained"), 160, 14),
        (ticket(20.0, "trained", TUNED), 120, 10),
        # scored at θ0, but fine-tuned from trained weights
        (ticket(20.0, rewind=TUNED), 120, 10),
        # three of the ten epochs of the dense training; scored after it, all of them
        (ticket(50.0, rewind="3"), 80, 7.4),
        (ticket(50.0, "trained", "3"), 150, 13),
        (ticket(60.0, "trained", "random"), 160, 14),
    ],
)
def test_a_ticket_counts_what_it_rests_on(row, total, energy):
    found = totals([row])
    assert found["total_seconds"].tolist() == pytest.approx([total])
    assert found["total_kwh"].tolist() == pytest.approx([energy])


def test_rounds_count_those_before_them():
    rounds = [ticket(seconds, "trained", TUNED, 1, number) for number, seconds in ((1, 20.0), (2, 30.0), (3, 40.0))]
    others = [ticket(7.0, "trained", TUNED, 1, 1, draw=1), ticket(20.0, "trained", TUNED)]
    found = totals([WHOLE, *rounds, *others])["total_seconds"]
    # the ticket of one removal is no round of the others
    assert found.tolist() == [100, 120, 150, 190, 107, 120]


def test_rounds_may_come_in_several_batches():
    rounds = [ticket(10.0 * number, "trained", "0", 2, number) for number in (1, 2, 3)]
    held = Totals()
    parts = [totals(part, held)["total_seconds"] for part in ([WHOLE, rounds[0]], [rounds[1]], [rounds[2]])]
    assert [parts[0][1], parts[1][0], parts[2][0]] == [110, 130, 160]


def test_of_rounds_that_are_not_all_there_nothing_is_said():
    rounds = [ticket(10.0, "trained", TUNED, 1, number) for number in (1, 3)]
    first, later = totals(rounds)["total_seconds"]
    assert first == 110
    assert np.isnan(later)
