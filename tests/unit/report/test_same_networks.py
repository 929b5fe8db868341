"""A training under two names counts once in what the page sums up, and the summary says whose it is."""

import pandas as pd

from layerlottery.report.report import tiles
from layerlottery.report.tables import trainings
from layerlottery.report.text import _listed

TRAINED = {"dataset": "digits", "seed": 0, "host": "node1", "ended": "2030-01-01T01:00:00Z", "co2_kg": 0.5}
TRAINED |= {"train_seconds": 60.0, "energy_kwh": 1.0}


def runs(*rows):
    return pd.DataFrame([TRAINED | dict(zip(("config_hash", "started", "same_as"), row, strict=True)) for row in rows])


def test_a_copied_training_is_summed_once_and_one_done_twice_twice():
    alike = runs(("a", "10:00", None), ("a", "10:00", "first"), ("b", "10:00", None))
    assert len(trainings(alike)) == 2
    assert tiles(alike)[0] == ("2", "distinct networks, under 3 names")
    assert dict(reversed(pair) for pair in tiles(alike)) == {
        **{"distinct networks, under 3 names": "2", "seed": "1", "dataset": "1"},
        **{"of training": "2.0 min", "energy": "2 kWh", "CO2-equivalent": "1 kg"},
    }
    # whichever of the two a table has first: sorted by names, a copy may precede what it is a copy of
    assert trainings(alike.iloc[::-1])["same_as"].isna().all()
    # two processes that could not know of each other
    again = runs(("a", "10:00", None), ("a", "10:01", "first"))
    assert len(trainings(again)) == 2
    apart = runs(("a", "10:00", None), ("b", "10:00", None))
    assert tiles(apart)[0] == ("2", "networks trained")


ROW = {
    "structure": "layers",
    "criterion": "grasp",
    "variant": "",
    "removed": 3,
    "accuracy": 90.0,
    "learned": True,
    "winning": True,
}
ROW |= {"winning_holm": True, "verdict": "better", "verdict_holm": "better", "mean": 1.0, "low": 0.5, "high": 1.5}
ROW |= {"macs_reduction": 20.0, "total_speedup": 1.5}


def test_the_summary_names_the_ticket_that_it_is():
    assert below("snip, 3 removed") == ["  identical to snip, 3 removed"]
    assert below(None) == []
    assert max(map(len, below(99 * "long"))) == 80


def below(same_as):
    """What follows the ticket's own line."""
    return _listed(pd.DataFrame([ROW | {"same_as": same_as}]))[1:]
