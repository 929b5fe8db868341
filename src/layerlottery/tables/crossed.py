"""Contrasts between networks that answered the same test images: networks × seeds × images.

A difference between two networks is an estimate for other seeds and for other images of the same kind. Answers
y[k, s, i] in [0, 1] of K networks, n seeds and m images are therefore a crossed design with both as random effects,
as in studies of many readers and many cases (Obuchowski & Rockette 1995; Hillis 2007): a seed is a reader, an image
a case. Of a contrast x = Σ_k w_k y_k, with the mean squares of its seed × image table,

    SE² = (φ MS_E + u) / (n m),   u = max(MS_I − MS_E, 0),   φ = max(1, MS_KS / MS_KSI) over all K networks,

with Satterthwaite's degrees of freedom. φ pools what seeds add to the noise of single answers: three seeds alone say
little about it. A contrast that is noisier than the pool has its own MS_S in the place of φ MS_E.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# a contrast keeps the pooled noise unless its own exceeds this quantile of the F distribution
POOLED = 0.5


class Contrast(NamedTuple):
    """An estimate, in the units of the answers, with its variance by seeds and by images; fields are arrays."""

    estimate: Array
    se: Array
    df: Array
    seed_variance: Array
    image_variance: Array


class Pool(NamedTuple):
    """What all networks of a family say together: φ, and the degrees of freedom (K − 1)(n − 1) that it rests on."""

    phi: float
    df: int


class Spread(NamedTuple):
    """Whether networks differ at all: F with its degrees of freedom and p value, and by how much.

    `sd` is the standard deviation of the networks' expected shares, in the units of the answers, 0 where noise explains
    all of it; `low` and `high` are the ends of its interval, `detectable` is what the test finds with the power of
    tables/power.py.
    """

    f: float
    df: int
    df_noise: float
    p_value: float
    sd: float
    low: float
    high: float
    detectable: float


class Table(NamedTuple):
    """Mean squares of the seed × image table of every contrast; fields are arrays."""

    mean: Array
    seeds: Array
    images: Array
    error: Array


def pool(answers: npt.NDArray[Any]) -> Pool:
    """φ of answers (networks, seeds, images); 1 where one network or seed, or none, tells nothing of it."""
    count, seeds, images = answers.shape
    df = max(count - 1, 0) * (seeds - 1)
    if not df or images < 2:
        return Pool(1.0, df)
    cells = answers.mean(axis=2, dtype=np.float64)
    centred = _centred(cells)
    between = images * float(np.sum(centred**2)) / df
    # Σ of the three-way residuals squared, from sums alone: no array of the size of the answers is made
    squares = float(np.einsum("ksi,ksi->", answers, answers, dtype=np.float64))
    within = _three_way(answers, cells, squares) / df
    return Pool(max(1.0, between / within) if within > 0 else 1.0, df)


def _centred(table: Array) -> Array:
    return np.asarray(table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean())


def _three_way(answers: npt.NDArray[Any], cells: Array, squares: float) -> float:
    """The sum of squares of network × seed × image, over the images' degrees of freedom."""
    count, seeds, images = answers.shape
    by_network = answers.mean(axis=1, dtype=np.float64)
    by_seed = answers.mean(axis=0, dtype=np.float64)
    by_image = by_network.mean(axis=0)
    mean = by_image.mean()
    total = squares - float(mean) ** 2 * answers.size
    parts = float(
        seeds * images * np.sum((by_network.mean(axis=1) - mean) ** 2)
        + count * images * np.sum((by_seed.mean(axis=1) - mean) ** 2)
        + count * seeds * np.sum((by_image - mean) ** 2)
        + images * np.sum(_centred(cells) ** 2)
        + seeds * np.sum(_centred(by_network) ** 2)
        + count * np.sum(_centred(by_seed) ** 2)
    )
    return float(np.maximum(total - parts, 0.0) / (images - 1))


def mean_squares(differences: Array) -> Table:
    """Mean squares of tables (…, seeds, images), both at least 2; fields have the leading shape."""
    seeds, images = differences.shape[-2:]
    rows, columns = differences.mean(axis=-1), differences.mean(axis=-2)
    mean = rows.mean(axis=-1)
    by_seed = images * np.sum((rows - mean[..., None]) ** 2, axis=-1)
    by_image = seeds * np.sum((columns - mean[..., None]) ** 2, axis=-1)
    total = np.sum((differences - mean[..., None, None]) ** 2, axis=(-2, -1))
    error = np.maximum(total - by_seed - by_image, 0.0) / ((seeds - 1) * (images - 1))
    return Table(mean, by_seed / (seeds - 1), by_image / (images - 1), error)


def contrast(differences: Array, pooled: Pool) -> Contrast:
    """The estimates of contrasts from their tables (…, seeds, images) and their family's pool.

    The standard error is at least 1/m: that of one answer more and one fewer, half an image each way (Agresti & Min
    2005), where networks agree on every image by chance.
    """
    seeds, images = differences.shape[-2:]
    found = mean_squares(differences)
    noise, df = _seed_noise(found, pooled, seeds)
    by_image = np.maximum(found.images - found.error, 0.0)
    whole, cells = noise + by_image, seeds * images
    with np.errstate(divide="ignore", invalid="ignore"):
        satterthwaite = whole**2 / (noise**2 / df + by_image**2 / (images - 1))
    least = whole <= seeds / images
    return Contrast(
        found.mean,
        np.where(least, 1 / images, np.sqrt(whole / cells)),
        np.where(least, images - 1.0, satterthwaite),
        np.where(least, 0.0, noise / cells),
        np.where(least, 1 / images**2, by_image / cells),
    )


def _seed_noise(found: Table, pooled: Pool, seeds: int) -> tuple[Array, Array]:
    """The mean square by which seeds make each contrast vary, and its degrees of freedom."""
    from scipy.special import fdtri

    shared = pooled.phi * found.error
    if not pooled.df:
        return found.seeds, np.full_like(found.seeds, seeds - 1.0)
    own = found.seeds > shared * fdtri(seeds - 1, pooled.df, POOLED)
    return np.where(own, found.seeds, shared), np.where(own, seeds - 1.0, float(pooled.df))


def spread(answers: npt.NDArray[Any], *, level: float, power: float = 0.8) -> Spread:
    """Test whether K networks differ, from answers (networks, seeds, images), at least 2 of each.

    That of Obuchowski & Rockette (1995) for fixed tests read by readers on cases, with the noise of `contrast`: of two
    networks F is t². With the mean squares of networks × seeds × images,

        F = MS_K / (max(MS_KS, MS_KSI) + u),   u = max(MS_KI − MS_KSI, 0),

    and the floor of `contrast`. Interval (which leaves out `level`) and power are those of the noncentral F.
    """
    from scipy.special import fdtrc, fdtri

    count, seeds, images = answers.shape
    df, cells = count - 1, seeds * images
    between = cells * float(answers.mean(axis=(1, 2), dtype=np.float64).var(ddof=1))
    noise, by_image = _noise(answers)
    whole, df_noise = noise + by_image, float(images - 1)
    if whole > seeds / images / 2:
        df_noise = whole**2 / (noise**2 / (df * (seeds - 1)) + by_image**2 / (df * (images - 1)))
    # a difference has twice the variance of one network: half of what is least there
    whole = max(whole, seeds / images / 2)
    f = between / whole
    # means that agree better than by chance alone do not show that there is less than nothing between the networks
    ends = (
        (f, 1 - level / 2),
        (max(f, fdtri(df, df_noise, 0.5)), level / 2),
        (fdtri(df, df_noise, 1 - level), 1 - power),
    )
    sizes = [max(f - 1, 0.0), *(_noncentrality(at, df, df_noise, share) / df for at, share in ends)]
    p_value, size = float(fdtrc(df, df_noise, f)), whole / cells
    return Spread(f, df, df_noise, p_value, *((one * size) ** 0.5 for one in sizes))


def _noncentrality(f: float, df: int, df_noise: float, share: float) -> float:
    """That with which F stays below `f` in this share of repetitions; 0 where it does so less often without any."""
    from scipy.special import fdtr, ncfdtrinc

    return float(ncfdtrinc(df, df_noise, share, f)) if fdtr(df, df_noise, f) > share else 0.0


def _noise(answers: npt.NDArray[Any]) -> tuple[float, float]:
    """max(MS_KS, MS_KSI) and u of answers (networks, seeds, images)."""
    count, seeds, images = answers.shape
    cells = answers.mean(axis=2, dtype=np.float64)
    df = (count - 1) * (seeds - 1)
    within = _three_way(answers, cells, float(np.einsum("ksi,ksi->", answers, answers, dtype=np.float64))) / df
    by_seed = images * float(np.sum(_centred(cells) ** 2)) / df
    by_image = seeds * float(np.sum(_centred(answers.mean(axis=1, dtype=np.float64)) ** 2))
    return max(by_seed, within), max(by_image / ((count - 1) * (images - 1)) - within, 0.0)
