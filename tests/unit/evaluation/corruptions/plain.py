"""The 19 corruptions one image at a time, by numpy, scipy, scikit-image, OpenCV and pillow: slow and plain.

Tests take them for the truth, the benchmark of speed for what a user would do without this package. Images are
uint8 (H, W, C) with H = W, up to 32 pixels a side. Random operations take what they draw as `draws`, made by the
function of the same name in DRAWS from a numpy generator; all return uint8.
"""

import io
import math

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, filters, util

from layerlottery.evaluation.corruptions.frost import textures

CONSTANTS = {
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "shot_noise": [500, 250, 100, 75, 50],
    "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
    "speckle_noise": [0.06, 0.1, 0.12, 0.16, 0.2],
    "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1],
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "glass_blur": [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)],
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "zoom_blur": [1.06, 1.11, 1.16, 1.21, 1.26],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "elastic_transform": [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
    "jpeg_compression": [80, 65, 58, 50, 40],
    "spatter": [
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    ],
    "saturate": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
}


def corrupted(image, name, severity, rng):
    """One image (H, W, C) corrupted with numbers drawn from a numpy generator."""
    draws = DRAWS[name](image.shape, CONSTANTS[name][severity - 1], rng) if name in DRAWS else ()
    return PLAIN[name](image, severity, *draws)


def truncated(values):
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def luma(values):
    return values @ np.array([[0.299], [0.587], [0.114]]) if values.shape[2] == 3 else values


def smoothed(values, sigma, mode="nearest", truncate=4.0):
    return filters.gaussian(values, sigma=sigma, mode=mode, truncate=truncate, channel_axis=-1)


# noise: the draws come from the function itself, for they depend on the pixels


def gaussian_noise(image, severity, rng):
    return truncated(image / 255 + rng.normal(0, CONSTANTS["gaussian_noise"][severity - 1], image.shape))


def shot_noise(image, severity, rng):
    photons = CONSTANTS["shot_noise"][severity - 1]
    return truncated(rng.poisson(image / 255 * photons) / photons)


def impulse_noise(image, severity, rng):
    share = CONSTANTS["impulse_noise"][severity - 1]
    return truncated(util.random_noise(image / 255, mode="s&p", amount=share, rng=rng))


def speckle_noise(image, severity, rng):
    values = image / 255
    return truncated(values + values * rng.normal(0, CONSTANTS["speckle_noise"][severity - 1], image.shape))


# blurs


def gaussian_blur(image, severity):
    return truncated(smoothed(image / 255, CONSTANTS["gaussian_blur"][severity - 1]))


def defocus_blur(image, severity):
    radius, sigma = CONSTANTS["defocus_blur"][severity - 1]
    x, y = np.meshgrid(np.arange(-8, 9), np.arange(-8, 9))
    kernel = (x**2 + y**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(kernel / kernel.sum(), ksize=(3, 3), sigmaX=sigma)
    channels = [cv2.filter2D(image[:, :, c] / 255, -1, kernel) for c in range(image.shape[2])]
    return truncated(np.stack(channels, axis=2))


def glass_draws(shape, constants, rng):
    side = shape[0] - 2
    return (rng.integers(-1, 1, (constants[1], side, side, 2)),)


def glass_blur(image, severity, offsets):
    sigma, rounds = CONSTANTS["glass_blur"][severity - 1]
    blurred, size = truncated(smoothed(image / 255, sigma)), len(image)
    for chosen in offsets[:rounds]:
        for i, y in enumerate(range(size - 1, 1, -1)):
            for j, x in enumerate(range(size - 1, 1, -1)):
                dx, dy = chosen[i, j]
                blurred[y, x] = blurred[y + dy, x + dx]
    return truncated(smoothed(blurred / 255, sigma))


def motion_draws(shape, constants, rng):
    return (rng.uniform(-45, 45),)


def motion_blur(image, severity, angle):
    return along(image, angle, *CONSTANTS["motion_blur"][severity - 1])


def along(image, angle, radius, sigma):
    size, radians = len(image), math.radians(angle)
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    total = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        rows = np.arange(size) + math.ceil(i * math.sin(radians) - 0.5)
        columns = np.arange(size) + math.ceil(i * math.cos(radians) - 0.5)
        total += weight * image[np.clip(rows, 0, size - 1)][:, np.clip(columns, 0, size - 1)]
    # ImageMagick rounds to 16 bits, 257 steps a level, and cuts them to 8
    return np.floor(np.rint(total / sum(weights) * 257) / 257).astype(np.uint8)


def enlarged(values, factor):
    size = len(values)
    kept = math.ceil(size / factor)
    start = (size - kept) // 2
    grown = ndimage.zoom(values[start : start + kept, start : start + kept], (factor, factor, 1), order=1)
    cut = (len(grown) - size) // 2
    return grown[cut : cut + size, cut : cut + size]


def zoom_blur(image, severity):
    values = (image / 255).astype(np.float32)
    factors = np.arange(1, CONSTANTS["zoom_blur"][severity - 1], 0.01)
    total = values + sum(enlarged(values, factor) for factor in factors)
    return truncated(total / (len(factors) + 1))


# weather


def snow_draws(shape, constants, rng):
    return rng.normal(size=shape[:2]), rng.uniform(-135, -45)


def snow(image, severity, layer, angle):
    mean, deviation, zoom, threshold, radius, sigma, kept = CONSTANTS["snow"][severity - 1]
    flakes = enlarged((mean + deviation * layer)[:, :, None], zoom)
    flakes = along(truncated(np.where(flakes < threshold, 0, flakes)), angle, radius, sigma) / 255
    values = image / 255
    values = kept * values + (1 - kept) * np.maximum(values, luma(values) * 1.5 + 0.5)
    return truncated(values + flakes + np.rot90(flakes, 2))


def frost_draws(shape, constants, rng):
    ice = frost_textures(shape[2])
    which = rng.integers(5)
    y, x = rng.integers(0, np.array(ice[which].shape[:2]) - shape[0])
    return (ice[which][y : y + shape[0], x : x + shape[1]],)


def frost_textures(channels):
    """The package's own (H, W, C), for the published photographs do not come with it."""
    return textures(32, channels).numpy().transpose(0, 2, 3, 1)


def frost(image, severity, crop):
    share, strength = CONSTANTS["frost"][severity - 1]
    return np.clip(share * image + strength * crop, 0, 255).astype(np.uint8)


def fog_draws(shape, constants, rng):
    side = 2 ** math.ceil(math.log2(shape[0]))
    return (rng.uniform(size=side * side - 1),)


def fog(image, severity, draws):
    strength, decay = CONSTANTS["fog"][severity - 1]
    values, size = image / 255, len(image)
    greatest = values.max()
    cloud = plasma(draws, 2 ** math.ceil(math.log2(size)), decay)[:size, :size, None]
    return truncated((values + strength * cloud) * greatest / (greatest + strength))


def plasma(draws, side, decay):
    """Diamond-square on a torus, point by point."""
    heights, numbers = np.zeros((side, side)), iter(draws)
    step, rough = side, 100.0
    while step >= 2:
        half = step // 2

        def between(y, x, offsets, rough=rough):
            mean = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in offsets) / 4
            heights[y, x] = mean + rough * (2 * next(numbers) - 1) * rough

        corners = [(-half, -half), (-half, half), (half, -half), (half, half)]
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for first_y, first_x, offsets in ((half, half, corners), (0, half, cross), (half, 0, cross)):
            for y in range(first_y, side, step):
                for x in range(first_x, side, step):
                    between(y, x, offsets)
        step, rough = half, rough / decay
    heights -= heights.min()
    return heights / heights.max()


# digital


def in_hsv(image, change):
    hsv = color.rgb2hsv(image / 255)
    change(hsv)
    return truncated(color.hsv2rgb(hsv))


def brightness(image, severity):
    added = CONSTANTS["brightness"][severity - 1]
    if image.shape[2] == 1:
        return truncated(image / 255 + added)

    def change(hsv):
        hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)

    return in_hsv(image, change)


def saturate(image, severity):
    factor, added = CONSTANTS["saturate"][severity - 1]
    if image.shape[2] == 1:
        return image.copy()

    def change(hsv):
        hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)

    return in_hsv(image, change)


def contrast(image, severity):
    values = image / 255
    mean = values.mean(axis=(0, 1))
    return truncated((values - mean) * CONSTANTS["contrast"][severity - 1] + mean)


def by_pillow(image, change):
    changed = np.asarray(change(Image.fromarray(image.squeeze())))
    return changed.reshape(image.shape)


def pixelate(image, severity):
    size = len(image)
    small = int(size * CONSTANTS["pixelate"][severity - 1])
    return by_pillow(
        image, lambda held: held.resize((small, small), Image.Resampling.BOX).resize((size, size), Image.Resampling.BOX)
    )


def jpeg_compression(image, severity):
    def change(held):
        file = io.BytesIO()
        held.save(file, "JPEG", quality=CONSTANTS["jpeg_compression"][severity - 1])
        return Image.open(file)

    return by_pillow(image, change)


def elastic_draws(shape, constants, rng):
    size, shift = shape[0], constants[2] * shape[0]
    return rng.uniform(-shift, shift, (3, 2)), rng.uniform(-1, 1, (2, size, size))


def elastic_transform(image, severity, shifts, fields):
    size = len(image)
    strength, sigma, _ = (size * share for share in CONSTANTS["elastic_transform"][severity - 1])
    centre, half = size // 2, size // 3
    corners = np.float32([[centre + half] * 2, [centre + half, centre - half], [centre - half] * 2])
    matrix = cv2.getAffineTransform(corners, corners + shifts.astype(np.float32))
    values = (image / 255).astype(np.float32)
    values = cv2.warpAffine(values, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101).reshape(image.shape)
    dx, dy = (filters.gaussian(field, sigma, mode="reflect", truncate=3) * strength for field in fields)
    y, x, channel = np.meshgrid(np.arange(size), np.arange(size), np.arange(image.shape[2]), indexing="ij")
    places = y + dy[..., None], x + dx[..., None], channel
    return truncated(ndimage.map_coordinates(values, places, order=1, mode="reflect"))


def spatter_draws(shape, constants, rng):
    return (rng.normal(size=shape[:2]),)


def spatter(image, severity, layer):
    mean, deviation, sigma, threshold, last = CONSTANTS["spatter"][severity - 1]
    liquid = filters.gaussian(mean + deviation * layer, sigma=sigma)
    values = image / 255
    if severity > 3:
        cover = filters.gaussian((liquid > threshold).astype(float), sigma=last)
        cover = np.where(cover < 0.8, 0, cover)[:, :, None]
        return truncated(values * (1 - cover) + cover * coloured(image, (63, 42, 20)))
    drops = (np.where(liquid < threshold, 0, liquid) * 255).astype(int).astype(np.uint8)
    near = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    height = cv2.equalizeHist(cv2.blur(np.minimum(near, 20), (3, 3)).astype(np.uint8))
    height = cv2.filter2D(height, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    light = drops * cv2.blur(height, (3, 3)).astype(float)
    light = light[:, :, None] / max(light.max(), 1) * last
    return truncated(values + light * coloured(image, (175, 238, 238)))


def coloured(image, colour):
    values = np.array(colour, dtype=float).reshape(1, 1, 3) / 255
    return values if image.shape[2] == 3 else luma(values)


def itself(shape, constants, rng):
    return (rng,)


DRAWS = {
    **dict.fromkeys(["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"], itself),
    "glass_blur": glass_draws,
    "motion_blur": motion_draws,
    "snow": snow_draws,
    "frost": frost_draws,
    "fog": fog_draws,
    "elastic_transform": elastic_draws,
    "spatter": spatter_draws,
}
PLAIN = {name: globals()[name] for name in CONSTANTS}


def scenes(count=20, size=32, channels=3, seed=5):
    """Smooth random fields with the falling spectrum of natural images: uint8 (N, C, H, W)."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, size, size))
    fields = sum(ndimage.gaussian_filter(noise, (0, 0, s, s)) * s**1.5 for s in (0.5, 1, 2, 4))
    common = fields[:, :1] * 0.8 + fields * 0.6  # channels of photographs are alike
    return np.clip(128 + 60 * common / common.std(), 0, 255).astype(np.uint8)


def each(images, change):
    """`change` of every image (H, W, C), for images and result (N, C, H, W)."""
    return np.stack([change(image.transpose(1, 2, 0), place).transpose(2, 0, 1) for place, image in enumerate(images)])
