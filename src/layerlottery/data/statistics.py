"""Mean and standard deviation of the channels of an image set of any size."""

from __future__ import annotations

import numpy as np

from layerlottery.data.prepared import Images

# one grey level: a channel with less contrast holds nothing, and dividing by 0 would end in NaN
_STD_FLOOR = 1 / 255


class Levels:
    """Exact counts of the 256 grey levels of each channel: neither order nor number of images moves what follows."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, images: Images) -> None:
        """Count uint8 (n, C, H, W)."""
        for channel, count in enumerate(self.counts):
            count += np.bincount(images[:, channel].ravel(), minlength=256)

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, for values in [0, 1], in float64; no deviation is 0."""
        shares = self.counts / self.counts.sum(axis=1, keepdims=True)
        levels = np.arange(256) / 255
        mean = shares @ levels
        variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
        return mean.tolist(), np.maximum(np.sqrt(variance), _STD_FLOOR).tolist()
