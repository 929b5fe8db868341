"""Contrasts of crossed seeds and images, against statsmodels' analysis of variance and mixed models."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from layerlottery.tables.crossed import Pool, contrast, mean_squares, pool, spread

statsmodels = pytest.importorskip("statsmodels.formula.api")


def long(answers: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """One row an answer, with its place along every axis."""
    places = np.indices(answers.shape).reshape(answers.ndim, -1)
    return pd.DataFrame(dict(zip(names, places, strict=True))).assign(y=answers.ravel().astype(float))


def answers(networks: int, seeds: int, images: int, *, luck: float = 0.8) -> np.ndarray:
    random = np.random.default_rng(networks + seeds + images)
    logits = 3 * random.standard_normal(images) + 2 + luck * random.standard_normal((networks, seeds, 1))
    return (random.random((networks, seeds, images)) < 1 / (1 + np.exp(-logits))).astype(np.uint8)


def anova(formula: str, data: pd.DataFrame) -> pd.DataFrame:
    from statsmodels.stats.anova import anova_lm

    table = anova_lm(statsmodels.ols(formula, data).fit())
    return table.assign(mean_sq=table["sum_sq"] / table["df"])


@pytest.mark.parametrize("shape", [(2, 3, 12), (4, 2, 9), (3, 5, 7)])
def test_pool_is_the_ratio_of_the_three_way_mean_squares(shape: tuple[int, int, int]) -> None:
    given = answers(*shape)
    # the three-way interaction is the residual of all two-way ones
    formula = "y ~ C(k) + C(s) + C(i) + C(k):C(s) + C(k):C(i) + C(s):C(i)"
    table = anova(formula, long(given, ("k", "s", "i")))["mean_sq"]
    found = pool(given)
    assert found.df == (shape[0] - 1) * (shape[1] - 1)
    assert found.phi == pytest.approx(max(1.0, table["C(k):C(s)"] / table["Residual"]))


def test_mean_squares_are_those_of_a_two_way_table() -> None:
    given = answers(2, 4, 15)
    table = given[1].astype(float) - given[0]
    expected = anova("y ~ C(s) + C(i)", long(table, ("s", "i")))["mean_sq"]
    assert list(mean_squares(table))[1:] == pytest.approx([expected[x] for x in ("C(s)", "C(i)", "Residual")])


def test_standard_error_is_that_of_a_mixed_model_with_crossed_random_effects() -> None:
    random = np.random.default_rng(3)
    table = random.standard_normal((6, 1)) + random.standard_normal(20) + random.standard_normal((6, 20))
    data = long(table, ("s", "i")).assign(one=1)
    effects = {"seed": "0 + C(s)", "image": "0 + C(i)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = statsmodels.mixedlm("y ~ 1", data, groups="one", vc_formula=effects).fit(reml=True)
    # without a pool a contrast stands for itself
    found = contrast(table, Pool(1.0, 0))
    assert found.estimate == pytest.approx(fitted.fe_params["Intercept"])
    assert found.se == pytest.approx(fitted.bse_fe["Intercept"], rel=1e-3)
    assert 5 < found.df < 24  # Satterthwaite: between the seeds' and the sum of both


def test_two_seeds_and_three_images_by_hand() -> None:
    # means of seeds 2/3, 1/3 and of images 1, 1/2, 0: MS_S = 1/6, MS_I = 1/2, MS_E = 1/6, so u = 1/3
    table = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert list(mean_squares(table)) == pytest.approx([1 / 2, 1 / 6, 1 / 2, 1 / 6])
    # φ MS_E = 1/2 with 5 degrees of freedom: SE² = (1/2 + 1/3) / 6, df = (5/6)² / ((1/2)² / 5 + (1/3)² / 2)
    found = contrast(table, Pool(3.0, 5))
    assert (found.estimate, found.se**2, found.df) == pytest.approx((1 / 2, 5 / 36, 125 / 19))
    assert (found.seed_variance, found.image_variance) == pytest.approx((1 / 12, 1 / 18))


def test_agreement_by_chance_has_an_interval() -> None:
    found = contrast(np.zeros((3, 50)), Pool(1.0, 12))
    assert (found.estimate, found.se, found.df) == (0.0, 1 / 50, 49.0)


def test_one_answer_that_differs_in_every_seed_is_noise_of_images() -> None:
    table = np.zeros((3, 50))
    table[:, 7] = 1.0
    found = contrast(table, Pool(1.0, 12))
    assert found.estimate == pytest.approx(1 / 50)
    assert found.se >= 1 / 50


def test_a_contrast_noisier_than_the_pool_stands_for_itself() -> None:
    quiet = answers(3, 4, 200)
    table = quiet[1].astype(float) - quiet[0]
    table[0] += 0.5
    table[1] -= 0.5
    rows = table.mean(axis=1)
    found = contrast(table, pool(quiet))
    assert found.seed_variance == pytest.approx(rows.var(ddof=1) / 4)
    assert found.df < 4


@pytest.mark.parametrize("shape", [(2, 3, 14), (4, 2, 9), (3, 4, 30)])
def test_the_spread_s_mean_squares_are_those_of_an_analysis_of_variance(shape: tuple[int, int, int]) -> None:
    given = answers(*shape)
    formula = "y ~ C(k) + C(s) + C(i) + C(k):C(s) + C(k):C(i) + C(s):C(i)"
    table = anova(formula, long(given, ("k", "s", "i")))["mean_sq"]
    by_image = max(table["C(k):C(i)"] - table["Residual"], 0)
    noise = max(table["C(k):C(s)"], table["Residual"])
    networks, seeds, images = shape
    found = spread(given, level=0.05)
    assert found.f == pytest.approx(table["C(k)"] / (noise + by_image))
    df = (noise + by_image) ** 2 / (noise**2 / (seeds - 1) + by_image**2 / (images - 1)) * (networks - 1)
    assert (found.df, found.df_noise) == (networks - 1, pytest.approx(df))


@pytest.mark.parametrize("luck", [0.1, 0.8])
def test_the_spread_of_two_networks_is_their_contrast(luck: float) -> None:
    given = answers(2, 4, 60, luck=luck)
    difference = contrast(given[1].astype(float) - given[0], pool(given))
    found = spread(given, level=0.05)
    assert found.f == pytest.approx(float(difference.estimate / difference.se) ** 2)
    assert found.df_noise == pytest.approx(float(difference.df))


def test_the_spread_s_interval_and_power_are_those_of_the_noncentral_f() -> None:
    from scipy.stats import f, ncf

    given = answers(5, 6, 80, luck=1.5)
    found = spread(given, level=0.1)
    # noncentrality is (K - 1) n m sd² over the noise
    noise = 480 * given.mean(axis=(1, 2)).var(ddof=1) / found.f
    at = {name: 4 * 480 * getattr(found, name) ** 2 / noise for name in ("low", "high", "detectable")}
    assert ncf.cdf(found.f, 4, found.df_noise, at["high"]) == pytest.approx(0.05, rel=1e-3)
    if found.low:
        assert ncf.sf(found.f, 4, found.df_noise, at["low"]) == pytest.approx(0.05, rel=1e-3)
    assert ncf.sf(f.ppf(0.9, 4, found.df_noise), 4, found.df_noise, at["detectable"]) == pytest.approx(0.8, rel=1e-3)
    assert found.p_value == pytest.approx(f.sf(found.f, 4, found.df_noise))
    assert found.sd**2 == pytest.approx(max(found.f - 1, 0) * noise / 480)


def test_networks_that_do_not_differ_are_seldom_told_apart_and_one_that_does_is() -> None:
    random = np.random.default_rng(7)
    told = []
    for _ in range(200):
        chance = 1 / (1 + np.exp(-2 * random.standard_normal(120) - 1))
        same = (random.random((6, 4, 120)) < chance).astype(np.uint8)
        told.append(spread(same, level=0.05).p_value <= 0.05)
    assert sum(told) <= 20
    same[0, :, :60] = 0
    assert spread(same, level=0.05).p_value < 0.001


def test_networks_that_agree_on_every_image_have_a_floor() -> None:
    found = spread(np.ones((3, 2, 50), np.uint8), level=0.05)
    assert (found.f, found.sd, found.low) == (0.0, 0.0, 0.0)
    assert 0 < found.high < found.detectable
