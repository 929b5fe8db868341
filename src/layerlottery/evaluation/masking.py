"""Signs that a network's gradients mislead an attack, so that its accuracies say too much.

After Athalye et al. (2018, section 3.1) and Carlini et al. (2019, section 3): a larger bound, more steps, more starts
and the network's own gradients must never help the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlottery.config.evaluation import ATTACKS
from layerlottery.evaluation.conditions import RobustnessRow

# one step of the whole bound may well leap over what a shorter one meets
ONE_STEP = {name for name, traits in ATTACKS.items() if traits.passes == 1}
# percentage points by which an iterated attack may be the weaker one
SLACK = 2.0
ROUNDING = 1e-9

Place = tuple[str, str]  # kind and name of rows
Curves = Mapping[Place, Mapping[float, float]]  # accuracies by level

# rows whose accuracy must not be below that of other rows by more than so many percentage points,
# or by more than one image where that is None; and what is said where it is
STARTS = "accuracy under {strong}, {more:.2f} %, is above {weak}'s, {less:.2f} %, at {level:g}/255"
STEPS = "{strong} leaves {more:.2f} % at {level:g}/255, the single step of {weak} only {less:.2f} %"
SOURCES = "examples of another network leave {less:.2f} % at {level:g}/255, the network's own {more:.2f} %"
RULES = (
    (("attack", "pgd"), ("attack", "pgd_restarts"), 0.0, STARTS),
    (("attack", "fgsm"), ("attack", "pgd"), SLACK, STEPS),
    (("attack", "fgsm_l2"), ("attack", "pgd_l2"), SLACK, STEPS),
    (("transfer", "pgd"), ("attack", "pgd"), None, SOURCES),
)


def gradient_check(rows: Sequence[RobustnessRow] | Sequence[Mapping[str, Any]]) -> list[str]:
    """Suspicious findings in the rows of one network, a short text each; none if all is well.

    Reads kind, name, level, accuracy and images; rows of other kinds, and without accuracy, are passed over.
    """
    curves: dict[Place, dict[float, float]] = {}
    image: dict[Place, float] = {}
    for given in rows:
        row = given if isinstance(given, Mapping) else vars(given)
        if row["kind"] in ("attack", "transfer") and row["accuracy"] is not None:
            place = (row["kind"], row["name"])
            curves.setdefault(place, {})[row["level"]] = row["accuracy"]
            image[place] = 100 / row["images"] + ROUNDING
    return [*_rising(curves, image), *_weaker(curves, image)]


def _rising(curves: Curves, image: Mapping[Place, float]) -> Iterator[str]:
    for (kind, name), curve in curves.items():
        if kind == "attack" and name not in ONE_STEP:
            for lower, upper in itertools.pairwise(sorted(curve)):
                if curve[upper] > curve[lower] + image[kind, name]:
                    ends = (f"{curve[level]:.2f} % at {level:g}/255" for level in (lower, upper))
                    yield f"accuracy under {name} rises from {' to '.join(ends)}"


def _weaker(curves: Curves, image: Mapping[Place, float]) -> Iterator[str]:
    for weak, strong, slack, problem in RULES:
        one, other = curves.get(weak, {}), curves.get(strong, {})
        for level in sorted(one.keys() & other.keys()):
            less, more = one[level], other[level]
            if more > less + (image[weak] if slack is None else slack + ROUNDING):
                yield problem.format(strong=strong[1], weak=weak[1], more=more, less=less, level=level)
