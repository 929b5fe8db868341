"""Sets whose images are all in memory."""

from layerlottery.data.decode import Decoded
from layerlottery.data.prepared import Split


def whole(decoded):
    """The same set with every image of every split decoded."""
    train, test, *shifted = (
        Split(part.images, part.labels) for part in (decoded.train, decoded.test, *decoded.shifted.values())
    )
    return Decoded(decoded.classes, train, test, dict(zip(decoded.shifted, shifted, strict=True)))
