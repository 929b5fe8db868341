"""How often our verdicts err: simulated networks whose true differences are known.

`python benchmarks/verdict_errors.py [--repeats 400]` prints, for each scenario, what intervals cover, how often some
ticket is called different from its dense network although none is (after Holm), how often a ticket that is worse by
exactly ξ is called equivalent, and what is found of a true difference. Answers are drawn from a logistic model: an
image's difficulty, a seed's luck, a network's luck with a seed, and a network's own view of an image. Seeds and images
are drawn anew in each repeat, for verdicts speak of both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.crossed import contrast, pool
from layerlottery.tables.looks import level
from layerlottery.tables.statistics import described, holm, interval_ends, p_above, p_differs, p_within

LEVEL, XI = 0.05, 1.0
LOOKS = StatisticsSettings(looks=list(range(3, 31, 3)), most=30)


@dataclass(frozen=True)
class Scenario:
    """Standard deviations are logits; `noisy` multiplies the first ticket's luck with seeds.

    `effect` is the true difference of the first ticket, percentage points.
    """

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
    effect: float = 0.0


DIGITS = Scenario("360 × 3", 360, 3)
CIFAR = Scenario("10,000 × 5", 10_000, 5, centre=5.0, difficulty=3.3, luck=0.08, networks=8)
SCENARIOS = (
    replace(DIGITS, name="100 × 3", images=100),
    DIGITS,
    replace(DIGITS, name="360 × 3, networks see images differently", view=1.0),
    replace(DIGITS, name="360 × 3, three draws of the first ticket", draws=3),
    replace(DIGITS, name="360 × 3, the first ticket three times as noisy", noisy=3.0),
    replace(DIGITS, name="360 × 10", seeds=10),
    replace(DIGITS, name="899 × 12 (the default benchmark)", images=899, seeds=12),
    replace(DIGITS, name="50 × 3, nearly all right", images=50, centre=14.0),
    CIFAR,
    replace(CIFAR, name="10,000 × 5, networks see images differently", view=1.0),
)
POWERED = (
    replace(DIGITS, name="360 × 3", effect=-3.0),
    replace(DIGITS, name="899 × 12", images=899, seeds=12, effect=-1.0),
    replace(CIFAR, name="10,000 × 5", effect=-0.6),
)


def shifted(scenario: Scenario, effect: float) -> float:
    """Logits that change the share of right answers by so many percentage points."""
    spread = (scenario.difficulty**2 + 2 * scenario.luck**2 + scenario.view**2) ** 0.5
    common = scenario.centre + spread * np.random.default_rng(1).standard_normal(400_000)

    def right(shift: float) -> float:
        return 100 * float(np.mean(1 / (1 + np.exp(-common - shift))))

    return float(optimize.brentq(lambda shift: right(shift) - right(0.0) - effect, -30, 30)) if effect else 0.0


def drawn(scenario: Scenario, random: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    """Answers (networks, seeds, images), uint8; the draws of the first ticket come last."""
    networks, seeds, images = scenario.networks + scenario.draws - 1, scenario.seeds, scenario.images
    normal = random.standard_normal
    view = scenario.view * normal((scenario.networks, images), dtype=np.float32)
    luck = scenario.luck * normal((networks, seeds), dtype=np.float32)
    luck[1] = luck[1] * scenario.noisy + shift
    owner = np.r_[np.arange(scenario.networks), np.ones(scenario.draws - 1, dtype=int)]
    common = scenario.centre + scenario.difficulty * normal(images, dtype=np.float32)
    common = common + scenario.luck * normal((seeds, 1), dtype=np.float32)
    answers = np.empty((networks, seeds, images), np.uint8)
    for k in range(networks):
        logits = common + luck[k][:, None] + view[owner[k]]
        answers[k] = random.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))
    return answers


def tables(answers: np.ndarray, scenario: Scenario) -> np.ndarray:
    """Differences (tickets, seeds, images) to the dense network, draws averaged."""
    extra, dense = list(range(scenario.networks, len(answers))), answers[0].astype(float)
    draws = (answers[[k, *(extra if k == 1 else [])]].mean(axis=0) for k in range(1, scenario.networks))
    return np.stack([own - dense for own in draws])


def crossed(answers: np.ndarray, scenario: Scenario) -> pd.DataFrame:
    """Today's method, in percentage points."""
    found = contrast(tables(answers, scenario), pool(answers))
    return pd.DataFrame({"mean": 100 * found.estimate, "se": 100 * found.se, "df": found.df})


def over_seeds(answers: np.ndarray, scenario: Scenario) -> pd.DataFrame:
    """Student's t over seeds, as it was: a sample without spread has next to no standard error."""
    found = described(100 * tables(answers, scenario).mean(axis=2), floor=np.nan)
    return found.assign(se=found["se"].fillna(1e-9), df=scenario.seeds - 1.0)


METHODS = {"t over seeds": over_seeds, "crossed": crossed}


class Errors(NamedTuple):
    """Shares of repeats or intervals, in percent; half-widths in percentage points."""

    coverage: float
    noisy: float
    half: float
    winning: float
    differs: float
    tie: float


def errors(found: list[pd.DataFrame]) -> Errors:
    """What a method did in all repeats, where every true difference is 0."""
    low, high = zip(*(interval_ends(one, LEVEL) for one in found), strict=True)
    covered = (np.array(low) <= 1e-6) & (np.array(high) >= -1e-6)
    half = (np.array(high) - np.array(low)) / 200
    winning = [(holm(p_above(one)) <= LEVEL / 2).any() for one in found]
    differs = [(holm(p_differs(one)) <= LEVEL).any() for one in found]
    tie = [(p_within(one, XI) <= LEVEL / 2).mean() for one in found]
    return Errors(*(100 * np.mean(x) for x in (covered, covered[:, 0], half, winning, differs, tie)))


def without_effect(scenario: Scenario, repeats: int) -> None:
    random = np.random.default_rng(0)
    sets = [drawn(scenario, random) for _ in range(repeats if scenario.images < 1000 else repeats // 4)]
    for name, method in METHODS.items():
        cells = errors([method(one, scenario) for one in sets])
        shown = [f"{value:.2f}" if at == 2 else f"{value:.1f} %" for at, value in enumerate(cells)]
        print(f"| {scenario.name} | {name} | {' | '.join(shown)} |", flush=True)


def with_effect(scenario: Scenario, repeats: int) -> None:
    """Power to find the first ticket's difference after Holm, and equivalence of one that is worse by exactly ξ."""
    random = np.random.default_rng(0)
    repeats = repeats if scenario.images < 1000 else repeats // 4
    shifts = [shifted(scenario, effect) for effect in (scenario.effect, -XI)]
    for name, method in METHODS.items():
        real, edge = ([method(drawn(scenario, random, shift), scenario) for _ in range(repeats)] for shift in shifts)
        power = np.mean([holm(p_differs(one))[0] <= LEVEL for one in real])
        wrong = np.mean([p_within(one, XI)[0] <= LEVEL / 2 for one in edge])
        print(f"| {scenario.name} | {name} | {scenario.effect:+g} pp | {100 * power:.1f} % | {100 * wrong:.1f} % |")


def sequential(repeats: int) -> None:
    """Some ticket called different at some of ten looks, with the levels of looks and without."""
    scenario, random = replace(DIGITS, seeds=30, networks=6), np.random.default_rng(0)
    found = {"each look at 5 %": 0, "O'Brien and Fleming": 0}
    for _ in range(repeats):
        answers = drawn(scenario, random)
        looks = {n: holm(p_differs(crossed(answers[:, :n], replace(scenario, seeds=n)))).min() for n in LOOKS.looks}
        found["each look at 5 %"] += min(looks.values()) <= LEVEL
        found["O'Brien and Fleming"] += any(p <= level(LOOKS, n) for n, p in looks.items())
    for name, count in found.items():
        print(f"| {name} | {100 * count / repeats:.1f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    names = (
        "covered",
        "of the first ticket",
        "half-width, pp",
        "some wins at ξ = 0",
        "some differs",
        "tie within 1 pp",
    )
    print(f"| images × seeds | method | {' | '.join(names)} |\n|{'---|' * 8}")
    for scenario in SCENARIOS:
        without_effect(scenario, repeats)
    names = ("images × seeds", "method", "true difference", "found", "worse by ξ, called equivalent")
    print(f"\n| {' | '.join(names)} |\n|{'---|' * 5}")
    for scenario in POWERED:
        with_effect(scenario, repeats)
    print("\n| ten looks, 3 to 30 seeds | some ticket differs |\n|---|---|")
    sequential(repeats)


if __name__ == "__main__":
    main()
