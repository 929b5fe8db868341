"""The processes that train one network together: each takes its share of every batch, what they find is added up.

Seen from the training loop. A training of one process is the plain case, in which nothing is shared and nothing sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor

from layerlottery.data.batches import Share, split
from layerlottery.training.norms import SharedNorms


class Ranks:
    """One process, which does everything."""

    count, number = 1, 0

    def share(self, images: int) -> Share:
        """The part of a batch of so many images that this process trains on."""
        return Share(0, images, images)

    def slice_of(self, images: int) -> Share:
        """The part of so many test images; may be none."""
        return Share(0, images, images)

    def begin(self, share: Share) -> tuple[int, ...]:
        """Before a step: what tells the random numbers of the network on this share from those on others."""
        return ()

    def weighted(self, loss: Tensor, share: Share) -> Tensor:
        """The mean loss of a share such that the mean of all gradients is that of the whole batch."""
        return loss

    def total(self, loss: Tensor, correct: Tensor, share: Share) -> tuple[Tensor, Tensor]:
        """Of the whole batch the mean loss and the number of correct answers, from those of the shares."""
        return loss, correct

    def add(self, *sums: Tensor) -> None:
        """Make each the sum over all processes, in place."""

    def agreed(self, flag: bool) -> bool:
        """The flag of the first process, for all."""
        return flag


class ManyRanks(Ranks):
    """This process is the `number`-th of `count` (from 0) that torch.distributed joins; all call the same methods.

    Shares are contiguous. DistributedDataParallel takes the mean over processes, whatever their shares are, so losses
    are weighted by them. `group` images stay together. A batch with fewer groups than processes is computed by all of
    them, as one would.
    """

    def __init__(self, number: int, count: int, norms: SharedNorms, *, group: int = 1) -> None:
        self.number, self.count, self.norms, self.group = number, count, norms, group

    def share(self, images: int) -> Share:
        """The part of a batch of so many images that this process trains on: all of a batch that is too small."""
        ends: Sequence[int] = range(images + 1)
        if self.group > 1:
            ends = list(accumulate(map(len, split(torch.arange(images), self.group)), initial=0))
        if len(ends) <= self.count:
            return Share(0, images, images)
        part = self._part(len(ends) - 1)
        return Share(ends[part.first], ends[part.last], images)

    def slice_of(self, images: int) -> Share:
        """The part of so many test images; may be none."""
        return self._part(images)

    def _part(self, whole: int) -> Share:
        first, last = (whole * number // self.count for number in (self.number, self.number + 1))
        return Share(first, last, whole)

    def begin(self, share: Share) -> tuple[int, ...]:
        """Before a step: what tells the network's random numbers on this share from others; nothing on the first.

        From now on statistics are taken together, unless all compute all.
        """
        self.norms.join(not self._by_all(share))
        return (self.number,) if share.first else ()

    def weighted(self, loss: Tensor, share: Share) -> Tensor:
        """The mean loss of a share such that the mean of all gradients is that of the whole batch."""
        return loss if self._by_all(share) else loss * (self.count * len(share) / share.whole)

    def total(self, loss: Tensor, correct: Tensor, share: Share) -> tuple[Tensor, Tensor]:
        """Of the whole batch the mean loss and the number of correct answers, from those of the shares."""
        part = 1 / self.count if self._by_all(share) else len(share) / share.whole
        sums = torch.stack([loss.double() * part, correct.double()])
        dist.all_reduce(sums)
        # each counted what all did
        counted = self.count if self._by_all(share) else 1
        return sums[0], (sums[1] / counted).long()

    def add(self, *sums: Tensor) -> None:
        """Make each the sum over all processes, in place."""
        for one in sums:
            dist.all_reduce(one)

    def agreed(self, flag: bool) -> bool:
        """The flag of the first process, for all: it alone hears signals and keeps checkpoints."""
        said = torch.tensor([flag])  # on the CPU: a GPU does not wait for it
        dist.broadcast(said, src=0)
        return bool(said)

    def _by_all(self, share: Share) -> bool:
        return len(share) == share.whole
