"""Looking more than once: what a benchmark may spend of its level each time that seeds were added and results seen.

A verdict that is looked for again after every batch of seeds would be found by chance sooner or later. Of the level
α, the spending function of Lan & DeMets (1983) in the form of O'Brien & Fleming allows at the share t of all seeds
that are planned

    spent(t) = 2 − 2 Φ(z / √t),   z = Φ⁻¹(1 − α/2),

next to nothing early and nearly all at the end. A look may use what was not spent before: spent(t_k) − spent(t_{k−1}).
By Boole's inequality all looks together then err no more often than α, however their results depend on each other.
Exact boundaries assume independent increments, and would find more.
"""

from __future__ import annotations

from layerlottery.config.results import StatisticsSettings


def level(settings: StatisticsSettings, seeds: int) -> float:
    """The two-sided level of verdicts at so many seeds: 1 - confidence, unless these are one of several looks.

    A ticket whose seeds are no planned look has the level of the last look before it, or of the first.
    """
    alpha, looks = 1 - settings.confidence, settings.looks
    if not looks or settings.most is None:
        return alpha
    passed = [look for look in looks if look <= seeds] or looks[:1]
    before = spent(passed[-2] / settings.most, alpha) if len(passed) > 1 else 0.0
    return spent(passed[-1] / settings.most, alpha) - before


def spent(share: float, alpha: float) -> float:
    """What may be spent of a two-sided level by this share of all seeds, above 0 and up to 1."""
    from scipy.special import ndtr, ndtri

    # by the lower tail: the upper one rounds to 1 early
    return float(2 * ndtr(-ndtri(1 - alpha / 2) / share**0.5))
