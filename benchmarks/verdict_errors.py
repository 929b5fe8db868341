"""How often our verdicts err: simulated networks whose true differences are known.

`python benchmarks/verdict_errors.py [--repeats 400]` prints, for each scenario, what intervals cover, how often some
ticket is called different from its dense network although none is (after Holm), and what a true tie is found to be.
Answers are drawn from a logistic model: an image's difficulty, a seed's luck, a network's luck with a seed, and a
network's own view of an image. Seeds and images are drawn anew in each repeat, for verdicts speak of both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from layerlottery.tables.crossed import contrast, pool
from layerlottery.tables.statistics import holm

LEVEL = 0.05


@dataclass(frozen=True)
class Scenario:
    """Standard deviations are logits; `noisy` multiplies the first ticket's luck with seeds."""

    name: str
    images: int
    seeds: int
    centre: float = 7.0  # 97 % are right
    difficulty: float = 3.5
    luck: float = 0.35
    view: float = 0.0
    networks: int = 14
    draws: int = 1
    noisy: float = 1.0


DIGITS = Scenario("360 × 3", 360, 3)
CIFAR = Scenario("10,000 × 5", 10_000, 5, centre=5.0, difficulty=3.3, luck=0.08, networks=8)
SCENARIOS = (
    replace(DIGITS, name="100 × 3", images=100),
    DIGITS,
    replace(DIGITS, name="360 × 3, networks see images differently", view=1.0),
    replace(DIGITS, name="360 × 3, three draws of the first ticket", draws=3),
    replace(DIGITS, name="360 × 3, the first ticket three times as noisy", noisy=3.0),
    replace(DIGITS, name="360 × 10", seeds=10),
    replace(DIGITS, name="50 × 3, nearly all right", images=50, centre=14.0),
    CIFAR,
    replace(CIFAR, name="10,000 × 5, networks see images differently", view=1.0),
)


class Found(NamedTuple):
    """Of one repeat: estimates, standard errors and degrees of freedom of every ticket against dense."""

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray


def drawn(scenario: Scenario, random: np.random.Generator) -> np.ndarray:
    """Answers (networks, seeds, images), uint8; the draws of the first ticket come last."""
    networks, seeds, images = scenario.networks + scenario.draws - 1, scenario.seeds, scenario.images
    normal = random.standard_normal
    view = scenario.view * normal((scenario.networks, images), dtype=np.float32)
    luck = scenario.luck * normal((networks, seeds), dtype=np.float32)
    luck[1] *= scenario.noisy
    owner = np.r_[np.arange(scenario.networks), np.ones(scenario.draws - 1, dtype=int)]
    common = scenario.centre + scenario.difficulty * normal(images, dtype=np.float32)
    common = common + scenario.luck * normal((seeds, 1), dtype=np.float32)
    answers = np.empty((networks, seeds, images), np.uint8)
    for k in range(networks):
        logits = common + luck[k][:, None] + view[owner[k]]
        answers[k] = random.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))
    return answers


def crossed(answers: np.ndarray, scenario: Scenario) -> Found:
    """Today's method."""
    pooled, dense = pool(answers), answers[0].astype(float)
    extra = list(range(scenario.networks, len(answers)))
    tables = (answers[[k, *(extra if k == 1 else [])]].mean(axis=0) - dense for k in range(1, scenario.networks))
    found = contrast(np.stack(list(tables)), pooled)
    return Found(found.estimate, found.se, found.df)


def over_seeds(answers: np.ndarray, scenario: Scenario) -> Found:
    """Student's t over seeds, as it was: p is 0 for a sample without spread whose mean is not 0."""
    cells = answers.mean(axis=2)
    cells[1] = cells[[1, *range(scenario.networks, len(answers))]].mean(axis=0)
    differences = cells[1 : scenario.networks] - cells[0]
    spread = differences.std(axis=1, ddof=1) / scenario.seeds**0.5
    return Found(differences.mean(axis=1), spread, np.full(len(differences), scenario.seeds - 1.0))


def p_values(found: Found, bound: float = 0.0) -> np.ndarray:
    """One-sided, that the difference is above the bound."""
    distance = found.estimate - bound
    with np.errstate(divide="ignore", invalid="ignore"):
        p = stats.t.sf(distance / found.se, found.df)
    return np.where(found.se > 0, p, np.where(distance > 1e-12, 0.0, np.where(distance < -1e-12, 1.0, 0.5)))


class Errors(NamedTuple):
    """Shares of repeats or intervals, in percent; half-widths in percentage points."""

    coverage: float
    noisy: float
    half: float
    better: float
    differs: float
    tie: float


def errors(found: list[Found]) -> Errors:
    """What a method did in all repeats, where every true difference is 0."""
    reach = np.array([stats.t.ppf(1 - LEVEL / 2, one.df) * one.se for one in found])
    estimates = np.array([one.estimate for one in found])
    covered = np.abs(estimates) <= reach + 1e-12
    better, differs, tie = [], [], []
    for one in found:
        above = p_values(one)
        below = p_values(one._replace(estimate=-one.estimate))
        better.append((holm(above) <= LEVEL / 2).any())
        differs.append((holm(np.minimum(2 * np.minimum(above, below), 1)) <= LEVEL).any())
        both = np.maximum(p_values(one, -0.01), p_values(one._replace(estimate=-one.estimate), -0.01))
        tie.append((both <= LEVEL / 2).mean())
    return Errors(*(100 * np.mean(x) for x in (covered, covered[:, 0], reach, better, differs, tie)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    print(
        "| images × seeds | method | coverage | of the first ticket | half-width, pp "
        "| better | differs | tie within 1 pp |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for scenario in SCENARIOS:
        random = np.random.default_rng(0)
        sets = (drawn(scenario, random) for _ in range(repeats if scenario.images < 1000 else repeats // 4))
        found = [(over_seeds(one, scenario), crossed(one, scenario)) for one in sets]
        for name, column in zip(("t over seeds", "crossed"), zip(*found, strict=True), strict=True):
            cells = [f"{value:.2f}" if i == 2 else f"{value:.1f} %" for i, value in enumerate(errors(list(column)))]
            print(f"| {scenario.name} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
