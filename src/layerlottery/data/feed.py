"""The images and labels of a training's batches: from tensors that hold the whole split, or streamed from disk.

Both give the same bits: what is in a batch is the caller's choice, and nothing is drawn here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from layerlottery.data.prepared import Split

# batches that a GPU has before it wants them: one is copied there while the other is decoded
AHEAD = 2

Batch = tuple[Tensor, Tensor]
Wanted = TypeVar("Wanted")
Found = TypeVar("Found")


class Feed(Protocol):
    """One split, ready to be taken from."""

    def __len__(self) -> int:
        """Number of images."""

    def batches(self, chosen: Sequence[Tensor]) -> Generator[Batch, None, None]:
        """uint8 images (n, C, H, W) and int64 labels (n,) at the indices (n,) of each batch, in their order.

        Both on the feed's device. To be closed when it is left early.
        """


@dataclass(frozen=True)
class Resident:
    """A split in memory: the device's own, or the pages of memory-mapped arrays."""

    images: Tensor
    labels: Tensor
    check: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, chosen: Sequence[Tensor]) -> Generator[Batch, None, None]:
        """Raises LayerLotteryError naming a memory-mapped file that was cut."""
        for rows in chosen:
            self.check()
            yield self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class Streamed:
    """A split of which a few batches are in memory, whatever its size.

    On a GPU batches are read and decoded `ahead`, in pinned memory, and copied while the GPU computes. A CPU, which has
    nothing to gain from that, decodes each with all of the job's threads when it is asked for.
    """

    split: Split
    device: torch.device
    ahead: int = AHEAD

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, chosen: Sequence[Tensor]) -> Generator[Batch, None, None]:
        """Raises LayerLotteryError naming the file that can't be read."""
        if self.device.type == "cpu":
            yield from map(self._read, chosen)
            return
        copies = torch.cuda.Stream(self.device)
        for batch, copied in in_advance(lambda rows: self._copy(rows, copies), chosen, self.ahead):
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            for one in batch:
                # or its memory could be given to the next copy while it is still computed with
                one.record_stream(current)
            yield batch

    def _read(self, rows: Tensor) -> Batch:
        images = self.split.images
        self.split.check()
        if isinstance(images, np.ndarray):
            # torch gathers with several threads, without holding Python up
            return torch.from_numpy(images)[rows], torch.from_numpy(self.split.labels)[rows]
        return torch.from_numpy(images[rows.numpy()]), torch.from_numpy(self.split.labels)[rows]

    def _copy(self, rows: Tensor, copies: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event]:
        images, labels = self._read(rows)
        with torch.cuda.stream(copies):
            # pinned memory is not reused before its copy is done
            moved = tuple(one.pin_memory().to(self.device, non_blocking=True) for one in (images, labels))
            return (moved[0], moved[1]), copies.record_event()


def in_advance(take: Callable[[Wanted], Found], wanted: Sequence[Wanted], ahead: int) -> Generator[Found, None, None]:
    """`take` of each, in their order, of which the next `ahead` are taken by a thread meanwhile."""
    waiting: deque[Future[Found]] = deque()
    with ThreadPoolExecutor(1, "feed") as thread:
        try:
            for one in wanted:
                waiting.append(thread.submit(take, one))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def resident(split: Split, device: torch.device) -> Resident:
    """The whole split on a device; on the CPU memory-mapped arrays stay what they are."""
    images, labels = split.images, torch.from_numpy(split.labels)
    if device.type == "cpu" and isinstance(images, np.ndarray):
        return Resident(torch.from_numpy(images), labels, split.check)
    held = torch.empty((len(split), *split.shape), dtype=torch.uint8, device=device)
    start = 0
    for piece in split.pieces(np.arange(len(split))):
        held[start : start + len(piece)] = torch.from_numpy(piece)
        start += len(piece)
    return Resident(held, labels.to(device))
