"""How tests ask for published sets."""

import pytest

from layerlottery.config.data import OfficialSettings
from layerlottery.data.official_classes import CIFAR10
from layerlottery.errors import LayerLotteryError

SET = "CIFAR-10-C"
FITTING = {"channels": 3, "classes": CIFAR10, "image_size": 32}


def settings(location, *sets, download=False):
    return OfficialSettings(sets=[*sets], location=str(location), download=download)


def refused(action, *args, **kwargs):
    """The one line in which something is refused."""
    with pytest.raises(LayerLotteryError) as caught:
        action(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder):
    """Every file below a folder, with what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
