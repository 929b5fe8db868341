"""What a criterion looks at: one batch of inputs and labels, or many, never all in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.examples import device_of
from layerlottery.networks.inputs import Inputs, as_inputs, count, each_tensor, joined, rows
from layerlottery.networks.trace import tensors_of

# images or other inputs, and their labels or other targets
Batch = tuple[Any, Any]
Batches = Batch | Iterable[Any]
# names of the labels in a batch that is a dict
LABELS = ("labels", "label")

# pixels of images that go through a network together where they need not
PIXELS_AT_A_TIME = 2**19
# the same on a processor, whose caches hold the maps of so many; but weights are not read for fewer images than that
CACHED_PIXELS, FEWEST_IMAGES = 2**16, 8


def each(batches: Batches) -> Iterator[Batch]:
    """The batches, one by one: inputs, such as images (N, …), and targets, such as labels (N,)."""
    if is_one(batches):
        yield batches  # type: ignore[misc] # a pair, as is_one has seen
    else:
        yield from batches


def is_one(batches: Any) -> bool:
    """Whether this is a single batch: a pair of inputs and targets."""
    if not isinstance(batches, tuple | list) or len(batches) != 2:
        return False
    first, second = batches
    if isinstance(first, Tensor):
        return True
    # two dicts in a list are two batches
    one = isinstance(second, Tensor) or (isinstance(batches, tuple) and isinstance(first, Mapping))
    return one and as_inputs(first) is not None


def parts(inputs: Inputs, *, together: bool) -> Sequence[Any]:
    """The inputs in parts that a network takes with bounded memory; one part where they need to stay `together`."""
    if together:
        return [inputs]
    maps = [one.shape[-1] * one.shape[-2] for one in tensors_of(inputs) if one.dim() == 4]
    most = max(1, PIXELS_AT_A_TIME // max(maps, default=1))
    if next(tensors_of(inputs)).is_cpu:
        most = min(most, max(FEWEST_IMAGES, CACHED_PIXELS // max(maps, default=1)))
    if isinstance(inputs, Tensor):
        return list(torch.split(inputs, most))
    return [rows(inputs, slice(first, first + most)) for first in range(0, count(inputs), most)]


class CheckedBatches:
    """Batches of a user's own, on the network's device, each checked before a network sees it.

    Read again as often as a criterion asks; an iterator that gives its batches once is kept in memory. `labelled` says
    what needs labels, or nothing: zeros then stand for them. `free` targets are checked by nobody but a loss of
    the user's own.
    """

    def __init__(self, model: nn.Module, batches: Any, *, labelled: str = "the loss", free: bool = False) -> None:
        self.device, self.labelled, self.free = device_of(model), labelled, free
        # once they are known, labels are checked against them
        self.classes: tuple[int, ...] | None = None
        self.single = is_one(batches) or isinstance(batches, Tensor | Mapping)
        if self.single:
            self.held: Iterable[Any] = [batches]
        elif isinstance(batches, Iterable) and not isinstance(batches, str | bytes):
            self.held = list(batches) if iter(batches) is batches else batches
        else:
            raise LayerLotteryError(f"batch: found {type(batches).__name__}; {ALLOWED}")

    def __iter__(self) -> Iterator[Batch]:
        waiting: list[Batch] = []
        for number, batch in enumerate(self.held, start=1):
            waiting.append(self._checked(batch, number))
            if len(waiting) > 2:
                yield waiting.pop(0)
        # a last batch of a single image has no batch statistics, and joins the one before it
        if [count(inputs) == 1 for inputs, _ in waiting] == [False, True]:
            waiting = [joined(waiting)]
        yield from waiting

    def __len__(self) -> int:
        return len(self.held) if isinstance(self.held, Sized) else 0

    def first(self) -> Batch:
        """The first batch; no other is read."""
        for batch in self.held:
            return self._checked(batch, 1)
        raise LayerLotteryError("batch: found an iterable that gives none; allowed: one batch or more")

    def _checked(self, batch: Any, number: int) -> Batch:
        where = "batch" if self.single else f"batch {number}"
        inputs, targets = _pair(batch)
        targets = targets if self.labelled else None
        given = as_inputs(inputs)
        if given is None:
            raise LayerLotteryError(f"{where}: found {_named(batch)}; allowed: a pair of tensors, images and labels")
        first = next(tensors_of(given))
        if self.single and first.device != self.device:
            raise LayerLotteryError(f"{where}: images are on {first.device}; the network is on {self.device}")
        if targets is None and self.labelled:
            raise LayerLotteryError(f"{where}: found {_named(batch)}; {ALLOWED}; {self.labelled} needs labels")
        self._check_targets(first, targets, where, images=isinstance(given, Tensor))
        # what was made for inference alone can't take part in a gradient
        given = each_tensor(given, lambda one: (one.clone() if one.is_inference() else one).to(self.device))
        if targets is None:
            return given, torch.zeros(len(first), dtype=torch.long, device=self.device)
        moved = each_tensor(targets, lambda one: one.to(self.device))
        return given, moved if self.free else moved.long()

    def _check_targets(self, first: Tensor, targets: Any, where: str, *, images: bool) -> None:
        """Raise unless inputs, of which this is the first tensor, and targets are one batch."""
        fits = targets is None or self.free or (isinstance(targets, Tensor) and targets.shape[:1] == first.shape[:1])
        if not fits or (images and first.dim() < 2) or not len(first):
            raise LayerLotteryError(
                f"{where}: found images {tuple(first.shape)} and labels {_shape(targets)}; "
                "allowed: images (N, …) and labels (N,), one or more"
            )
        if targets is None or self.free:
            return
        if targets.dtype.is_floating_point or targets.dtype is torch.bool:
            raise LayerLotteryError(
                f"{where}: labels are {targets.dtype}; allowed: whole numbers from 0, or a loss= of your own for others"
            )
        if self.classes is not None:
            check_outputs(torch.empty(len(first), *self.classes, device="meta"), (first, targets))


ALLOWED = "allowed: (images, labels) or an iterable, such as a DataLoader, of such pairs"


def check_outputs(logits: Any, batch: Batch) -> None:
    """Raise unless a network answered with logits (N, classes, …) that have a place for each label (N, …)."""
    inputs, labels = batch
    number = count(inputs)
    fits = isinstance(logits, Tensor) and logits.dim() > 1 and (len(logits), *logits.shape[2:]) == tuple(labels.shape)
    if not fits:
        raise LayerLotteryError(
            f"forward: gives {_named(logits)}; allowed: logits, a tensor ({number}, classes) for labels "
            f"{tuple(labels.shape)}; or say how it is called with forward=, and with loss= what it is trained on"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= logits.shape[1]:
        found = lowest if lowest < 0 else highest
        raise LayerLotteryError(f"batch: label {found} is out of range; this network allows 0 to {logits.shape[1] - 1}")


def _pair(batch: Any) -> tuple[Any, Any]:
    """The inputs and targets of a batch, which may be None."""
    if isinstance(batch, Mapping):
        name = next((one for one in LABELS if one in batch), None)
        return {key: one for key, one in batch.items() if key != name}, None if name is None else batch[name]
    if is_one(batch):
        return batch[0], batch[1]
    # of a data set without labels
    return (batch[0] if isinstance(batch, tuple | list) and len(batch) == 1 else batch), None


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else _named(value)


def _named(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
