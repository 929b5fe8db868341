"""The images for a criterion: one batch of images and labels, or many, never all in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.examples import device_of

Batch = tuple[Tensor, Tensor]
Batches = Batch | Iterable[Batch]

# pixels of images that go through a network together where they need not
PIXELS_AT_A_TIME = 2**19
# the same on a processor, whose caches hold the maps of so many; but weights are not read for fewer images than that
CACHED_PIXELS, FEWEST_IMAGES = 2**16, 8


def each(batches: Batches) -> Iterator[Batch]:
    """The batches, one by one; images (N, …) and labels (N,)."""
    if is_one(batches):
        yield batches  # type: ignore[misc]
    else:
        yield from batches  # type: ignore[misc]


def is_one(batches: Batches) -> bool:
    """Whether this is a single batch."""
    return isinstance(batches, tuple | list) and len(batches) == 2 and isinstance(batches[0], Tensor)


def parts(images: Tensor, *, together: bool) -> Sequence[Tensor]:
    """The images in parts that a network takes with bounded memory; one part where they need to stay `together`."""
    if together:
        return [images]
    pixels = images.shape[-1] * images.shape[-2] if images.dim() == 4 else 1
    most = max(1, PIXELS_AT_A_TIME // pixels)
    if images.is_cpu:
        most = min(most, max(FEWEST_IMAGES, CACHED_PIXELS // pixels))
    return list(torch.split(images, most))


class CheckedBatches:
    """Batches of a user's own, on the network's device, each checked before a network sees it.

    Read again as often as a criterion asks; an iterator that gives its batches once is kept in memory.
    """

    def __init__(self, model: nn.Module, batches: Any) -> None:
        self.device = device_of(model)
        # once they are known, labels are checked against them
        self.classes: int | None = None
        self.single = is_one(batches)
        if self.single:
            self.held: Iterable[Any] = [tuple(batches)]
        elif isinstance(batches, Iterable) and not isinstance(batches, Tensor | str | bytes | dict):
            self.held = list(batches) if iter(batches) is batches else batches
        else:
            raise LayerLotteryError(
                f"batch: found {type(batches).__name__}; allowed: (images, labels) or an iterable, such as a "
                "DataLoader, of such pairs"
            )

    def __iter__(self) -> Iterator[Batch]:
        waiting: list[Batch] = []
        for count, batch in enumerate(self.held, start=1):
            waiting.append(self._checked(batch, count))
            if len(waiting) > 2:
                yield waiting.pop(0)
        # a last batch of a single image has no batch statistics, and joins the one before it
        if [len(labels) == 1 for _, labels in waiting] == [False, True]:
            waiting = [tuple(map(torch.cat, zip(*waiting, strict=True)))]  # type: ignore[list-item]
        yield from waiting

    def first(self) -> Batch:
        """The first batch; no other is read."""
        for batch in self.held:
            return self._checked(batch, 1)
        raise LayerLotteryError("batch: found an iterable that gives none; allowed: one batch or more")

    def _checked(self, batch: Any, number: int) -> Batch:
        where = "batch" if self.single else f"batch {number}"
        if not is_one(batch) or not isinstance(batch[1], Tensor):
            raise LayerLotteryError(f"{where}: found {_named(batch)}; allowed: a pair of tensors, images and labels")
        images, labels = batch
        if self.single and images.device != self.device:
            raise LayerLotteryError(f"{where}: images are on {images.device}; the network is on {self.device}")
        if images.dim() < 2 or labels.shape != images.shape[:1] or not len(labels):
            raise LayerLotteryError(
                f"{where}: found images {tuple(images.shape)} and labels {tuple(labels.shape)}; "
                "allowed: images (N, …) and labels (N,), one or more"
            )
        if labels.dtype.is_floating_point or labels.dtype is torch.bool:
            raise LayerLotteryError(f"{where}: labels are {labels.dtype}; allowed: whole numbers from 0")
        if self.classes is not None:
            check_outputs(images.new_empty(len(images), self.classes), (images, labels))
        # what was made for inference alone can't take part in a gradient
        images = images.clone() if images.is_inference() else images
        return images.to(self.device), labels.to(self.device).long()


def check_outputs(logits: Any, batch: Batch) -> None:
    """Raise unless a network answered a batch with logits (N, classes) that have a place for each label."""
    images, labels = batch
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
        raise LayerLotteryError(f"forward: gives {_named(logits)}; allowed: logits, a tensor ({len(images)}, classes)")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= logits.shape[1]:
        found = lowest if lowest < 0 else highest
        raise LayerLotteryError(f"batch: label {found} is out of range; this network allows 0 to {logits.shape[1] - 1}")


def _named(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
