"""The 19 common corruptions of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), for batches, in torch.

Every operation takes uint8 images (N, C, H, W) with 1 or 3 channels and H = W of at least 8, a severity from 1 to 5
and one random generator an image, and returns uint8 images of the same shape. As in the published files, values are
clipped to [0, 1], scaled to 255 and truncated, not rounded (JPEG and pixelate round, there and here).

Size: the constants were chosen for 32x32. Those that are distances in pixels (widths and radii of blurs, the reach of
glass, the grain of frost) grow with size/32 above 32 and stay as they are below, because a blur of a quarter of a
pixel changes nothing. Those that are shares of the image (elastic, pixelate, zoom, fog) go with the size always.

Frost: the published textures are photographs; these are made by formula, see `frost`.
"""

from layerlottery.evaluation.corruptions.apply import OPERATIONS, corrupt_images
from layerlottery.evaluation.corruptions.constants import CONSTANTS, SMALLEST_SIZE

__all__ = ["CONSTANTS", "OPERATIONS", "SMALLEST_SIZE", "corrupt_images"]
