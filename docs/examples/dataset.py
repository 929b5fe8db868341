"""An image set: stripes in four directions under noise, made by NumPy; the shifted test set has more of it."""

import numpy as np
import numpy.typing as npt

from layerlottery.config.extensions import ImageArrays

CLASSES = ("horizontal", "rising", "vertical", "falling")


def stripes(*, images: int = 400, size: int = 16, noise: float = 0.2, seed: int = 0) -> ImageArrays:
    """`images` for training, half as many for each test set."""
    generator = np.random.default_rng(seed)
    return ImageArrays(
        train=_draw(generator, images, size, noise),
        test=_draw(generator, images // 2, size, noise),
        classes=CLASSES,
        shifted={"noisy": _draw(generator, images // 2, size, 2 * noise)},
    )


def _draw(
    generator: np.random.Generator, count: int, size: int, noise: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    labels = np.arange(count) % len(CLASSES)
    angles = (labels * np.pi / 4)[:, None, None]
    rows, columns = np.mgrid[:size, :size]
    phases = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.sin(1.5 * (rows * np.cos(angles) + columns * np.sin(angles)) + phases)
    values = 0.5 + 0.3 * waves + noise * generator.standard_normal(waves.shape)
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)[:, None], labels
