"""Signs that a network's gradients mislead an attack, so that its accuracies say too much.

After Athalye et al. (2018, section 3.1) and Carlini et al. (2019, section 3): a larger bound, more steps, more starts
and the network's own gradients must never help the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from layerlottery.evaluation.conditions import Condition

# one step of the whole bound may well leap over what a shorter one meets
ONE_STEP = ("fgsm", "fgsm_l2")
# percentage points by which an iterated attack may be the weaker one
SLACK = 2.0
ROUNDING = 1e-9

Curve = dict[float, float]


class Curves(NamedTuple):
    """Accuracies in percent by attack and level, and what one image is worth."""

    found: Mapping[tuple[str, str], Curve]
    image: Mapping[tuple[str, str], float]


def gradient_check(rows: Sequence[Condition] | Sequence[Mapping[str, Any]]) -> list[str]:
    """What is suspicious in the rows of one network, a short text each; none if all is well.

    Reads kind, name, level, accuracy and images; rows of other kinds, and without accuracy, are passed over.
    """
    curves = _curves(row if isinstance(row, Mapping) else asdict(row) for row in rows)
    checks = (_rising(curves), _weak_restarts(curves), _weak_iterations(curves), _strong_transfer(curves))
    return list(itertools.chain.from_iterable(checks))


def _curves(rows: Iterable[Mapping[str, Any]]) -> Curves:
    found: dict[tuple[str, str], Curve] = {}
    image = {}
    for row in rows:
        if row["kind"] in ("attack", "transfer") and row["accuracy"] is not None:
            place = (row["kind"], row["name"])
            found.setdefault(place, {})[row["level"]] = row["accuracy"]
            image[place] = 100 / row["images"]
    return Curves(found, image)


def _rising(curves: Curves) -> Iterator[str]:
    for (kind, name), curve in curves.found.items():
        if kind != "attack" or name in ONE_STEP:
            continue
        for lower, upper in itertools.pairwise(sorted(curve)):
            if curve[upper] > curve[lower] + curves.image[kind, name] + ROUNDING:
                yield f"accuracy under {name} rises from {_at(curve, lower)} to {_at(curve, upper)}"


def _weak_restarts(curves: Curves) -> Iterator[str]:
    for level, one, several in _pairs(curves, ("attack", "pgd"), ("attack", "pgd_restarts")):
        if several > one + ROUNDING:
            yield f"accuracy under pgd_restarts, {several:.2f} %, is above pgd's, {one:.2f} %, at {level:g}/255"


def _weak_iterations(curves: Curves) -> Iterator[str]:
    for once, iterated in (("fgsm", "pgd"), ("fgsm_l2", "pgd_l2")):
        for level, step, steps in _pairs(curves, ("attack", once), ("attack", iterated)):
            if steps > step + SLACK + ROUNDING:
                yield f"{iterated} leaves {steps:.2f} % at {level:g}/255, the single step of {once} only {step:.2f} %"


def _strong_transfer(curves: Curves) -> Iterator[str]:
    for level, own, foreign in _pairs(curves, ("attack", "pgd"), ("transfer", "pgd")):
        if foreign < own - curves.image["transfer", "pgd"] - ROUNDING:
            yield f"examples of another network leave {foreign:.2f} % at {level:g}/255, the network's own {own:.2f} %"


def _pairs(curves: Curves, first: tuple[str, str], second: tuple[str, str]) -> Iterator[tuple[float, float, float]]:
    one, other = curves.found.get(first, {}), curves.found.get(second, {})
    for level in sorted(one.keys() & other.keys()):
        yield level, one[level], other[level]


def _at(curve: Curve, level: float) -> str:
    return f"{curve[level]:.2f} % at {level:g}/255"
