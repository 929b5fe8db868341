"""BatchNorm's statistics in training: of the whole batch, over all processes that share it, or of groups of images."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from layerlottery.data.batches import split
from layerlottery.errors import LayerLotteryError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def group_norms(model: nn.Module, images: int) -> None:
    """Let BatchNorm take statistics of so many images at a time, in place: ghost batches (Hoffer et al. 2017)."""
    for layer in _plain(model, "training.norm_images"):
        layer.__class__ = GroupedBatchNorm
        setattr(layer, "images", images)  # noqa: B010 - its type has just changed


class SharedNorms:
    """The BatchNorm layers of a network, changed in place to take statistics together while `join` says so.

    On GPUs they become torch's SyncBatchNorm, which the CPU has not; those that take statistics of groups go on to.
    Parameters, buffers and their names stay. Raises LayerLotteryError for a kind of BatchNorm that does more, such as
    timm's, which holds an activation.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        layers = _plain(model, "resources.gpus_per_training")
        if device.type == "cpu":
            for layer in layers:
                layer.__class__ = ProcessorSyncBatchNorm
        elif layers:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        kinds = (ProcessorSyncBatchNorm, GroupedBatchNorm, nn.SyncBatchNorm)
        self.layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
        # a group of this process alone; all make all of them
        groups = [dist.new_group([number]) for number in range(dist.get_world_size())]
        self.alone = groups[dist.get_rank()]
        self.joined = True

    def join(self, together: bool) -> None:
        """From now on take statistics over all processes' images, or each over its own."""
        if together != self.joined:
            self.joined = together
            for layer in self.layers:
                layer.process_group = None if together else self.alone


def _plain(model: nn.Module, key: str) -> list[_BatchNorm]:
    """The layers to change, all of kinds of torch's own; `key` asked for it."""
    layers = {name: one for name, one in model.named_modules() if isinstance(one, _BatchNorm)}
    for name, layer in layers.items():
        if type(layer) not in (*PLAIN, GroupedBatchNorm):
            raise LayerLotteryError(
                f"{key}: the network's layer {name} is a {type(layer).__name__}, not torch's own BatchNorm, "
                "so its statistics stay those of one process and its whole batch; leave the setting out"
            )
    return [one for one in layers.values() if type(one) in PLAIN]


class _OwnBatchNorm(_BatchNorm):
    """BatchNorm over maps (N, C, …) whose running statistics are moved by `_keep`.

    A layer becomes one in place. Where processes train together, `process_group` None stands for all of them.
    """

    process_group: Any = None

    def _check_input_dim(self, input: Tensor) -> None:
        """Of any dimensions, as SyncBatchNorm's."""

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; a `momentum` of None is the mean over all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        moved = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), moved)
        self.running_var.lerp_(variance.to(self.running_var.dtype), moved)


class GroupedBatchNorm(_OwnBatchNorm):
    """Each group of `images` that follow each other is normalised by its own statistics; a last single one joins.

    Running statistics move by the mean of the groups'. That alone is exchanged between processes, which have whole
    groups: so it computes what a layer of its own on each of several GPUs would, however many there are.
    """

    images: int

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return _BatchNorm.forward(self, input)
        groups, parts = split(input, self.images), []
        # the sums of means and of variances, and the number of groups
        sums = torch.zeros(3, self.num_features, device=input.device)
        for group in groups:
            mean, variance = torch.zeros(2, self.num_features, device=input.device)
            parts.append(F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps))
            sums += torch.stack([mean, variance, torch.ones_like(mean)])
        if dist.is_initialized() and self.process_group is None:
            dist.all_reduce(sums)
        self._keep(*(sums[:2] / sums[2]))
        return torch.cat(parts)


class ProcessorSyncBatchNorm(_OwnBatchNorm):
    """SyncBatchNorm for the CPU: normalised by mean and variance over all processes' images and positions."""

    def forward(self, input: Tensor) -> Tensor:
        """Sums in float32 at least, variance from centred values, in two passes as torch's own layer does."""
        if not self.training or self.process_group is not None:
            return _BatchNorm.forward(self, input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        axes, shape = [0, *range(2, input.dim())], [1, -1, *[1] * (input.dim() - 2)]
        values = torch.tensor(input.numel() // input.shape[1])
        dist.all_reduce(values)
        count = int(values)
        mean = _Total.apply(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = _Total.apply(centred.square().sum(axes)) / count
        self._keep(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        normal = centred * scale.view(shape)
        shifted: Tensor = normal if self.bias is None else normal + self.bias.view(shape)
        return shifted.to(input.dtype)


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
