"""Sets that torchvision downloads and verifies by hash: CIFAR10, CIFAR100, SVHN, FashionMNIST."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from layerlottery.data.decode import Decoded
from layerlottery.data.prepared import Images, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import TorchvisionImages

log = logging.getLogger(__name__)


def load_torchvision(settings: TorchvisionImages) -> Decoded:
    """Both splits of the set. Raises LayerLotteryError when it is not on disk and can't be fetched."""
    train, test = (_open(settings, part) for part in ("train", "test"))
    # SVHN's classes are its digits; torchvision gives them no names
    classes = tuple(getattr(train, "classes", map(str, range(10))))
    return Decoded(classes, _split(train), _split(test), {})


def _open(settings: TorchvisionImages, part: str) -> Any:
    from torchvision import datasets

    which = {"split": part} if settings.set == "SVHN" else {"train": part == "train"}
    log.info("opening %s %s in %s", settings.set, part, settings.location)
    try:
        return getattr(datasets, settings.set)(root=Path(settings.location), download=settings.download, **which)
    # a failed download surfaces as URLError, RuntimeError, ValueError, …: the user needs the same line
    except Exception as error:
        raise LayerLotteryError(_explain(settings, error)) from error


def _explain(settings: TorchvisionImages, error: Exception) -> str:
    place = f"{settings.location}: {settings.set}"
    if not settings.download:
        return f"{place} is not there or is damaged, and download is false; set download: true to fetch it"
    reason = " ".join(str(error).split())[:160] or "no reason given"
    return f"{place} could not be fetched or read ({type(error).__name__}: {reason})"


def _split(held: Any) -> Split:
    labels = held.labels if hasattr(held, "labels") else held.targets
    return Split(_channels_first(np.asarray(held.data)), np.asarray(labels, dtype=np.int64))


def _channels_first(images: Images) -> Images:
    """(N, H, W), (N, H, W, 3) or SVHN's (N, 3, H, W) as (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
