"""The simulation of what verdicts err: its truth is what it says, and its rates are counted right."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HERE = Path(__file__).parents[3]
SIMULATION = runpy.run_path(str(HERE / "benchmarks" / "verdict_errors.py"))
SMALL = replace(SIMULATION["DIGITS"], images=400, seeds=4, networks=3)


@pytest.mark.parametrize(("effect", "noisy"), [(-3.0, 1.0), (2.0, 1.0)])
def test_the_first_ticket_differs_by_what_is_asked_for(effect, noisy):
    random = np.random.default_rng(5)
    shift = SIMULATION["shifted"](SMALL, effect)
    sets = [SIMULATION["drawn"](SMALL, random, shift).mean(axis=(1, 2)) for _ in range(400)]
    differences = 100 * (np.array(sets)[:, 1:] - np.array(sets)[:, :1])
    error = differences.std(axis=0, ddof=1) / 20
    assert np.all(np.abs(differences.mean(axis=0) - [effect, 0.0]) < 4 * error)


def test_draws_of_the_first_ticket_are_averaged():
    scenario = replace(SMALL, draws=3)
    answers = SIMULATION["drawn"](scenario, np.random.default_rng(0))
    assert answers.shape == (5, 4, 400)
    found = SIMULATION["tables"](answers, scenario)
    wanted = (answers[1].astype(float) + answers[3] + answers[4]) / 3 - answers[0]
    assert np.allclose(found, [wanted, answers[2].astype(float) - answers[0]])


def test_errors_are_counted_as_by_hand():
    # with very many degrees of freedom 95 % is 1.96 standard errors: the second ticket is better, both repeats count
    quiet = pd.DataFrame({"mean": [0.1, 0.1], "se": [0.1, 0.1], "df": [1e9, 1e9]})
    loud = pd.DataFrame({"mean": [0.1, 3.0], "se": [0.1, 1.0], "df": [1e9, 1e9]})
    found = SIMULATION["errors"]([quiet, loud])
    assert found.coverage == 75.0
    assert (found.noisy, found.winning, found.differs, found.tie) == (100.0, 50.0, 50.0, 75.0)
    assert found.half == pytest.approx(1.96 * (0.1 + 0.1 + 0.1 + 1.0) / 4, rel=1e-3)


def test_the_documented_table_holds_the_scenarios():
    text = (HERE / "docs" / "statistics.md").read_text(encoding="utf-8")
    for scenario in (*SIMULATION["SCENARIOS"], *SIMULATION["POWERED"]):
        for method in SIMULATION["METHODS"]:
            assert f"| {scenario.name} | {method} |" in text
