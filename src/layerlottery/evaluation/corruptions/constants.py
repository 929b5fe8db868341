"""Constants of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), chosen for 32x32 pixels."""

from __future__ import annotations

from layerlottery.errors import LayerLotteryError

REFERENCE_SIZE = 32  # pixels a side of the images that the constants were chosen for
SMALLEST_SIZE = 8

Constants = float | tuple[float, ...]

# one entry a severity, 1 to 5
CONSTANTS: dict[str, tuple[Constants, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of the values that turn black or white
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, sigma of its soft edge
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # sigma, distance, rounds
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),  # radius, sigma
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),  # where the factors end, which start at 1 in steps of 0.01
    "snow": (  # mean, deviation, zoom, threshold, radius, sigma, share of the image that is not whitened
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # factors of image and texture
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # strength, decay of the roughness
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to V of HSV
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
    # displacement, its smoothing, random shift of three corners, in shares of the size
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the pixels that a side keeps
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),  # standard deviation of the factor
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation
    "spatter": (  # mean, deviation, sigma, threshold, share or (mud) sigma, 0 for water and 1 for mud
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # factor and summand of S of HSV
}


def constants(name: str, severity: int) -> tuple[float, ...]:
    """The constants of one operation; LayerLotteryError on a severity outside 1 to 5."""
    given = CONSTANTS[name]
    if severity not in range(1, len(given) + 1):
        raise LayerLotteryError(f"corruption {name}: severity {severity!r}; allowed: 1 to {len(given)}")
    found = given[severity - 1]
    return found if isinstance(found, tuple) else (found,)


def pixel_scale(size: int) -> float:
    """Factor of distances in pixels: they grow with images above 32 pixels a side and stay as they are below."""
    return max(1.0, size / REFERENCE_SIZE)
