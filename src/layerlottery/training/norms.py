"""BatchNorm over several processes: statistics of the whole batch, as a single process would take them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerlottery.errors import LayerLotteryError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SharedNorms:
    """The BatchNorm layers of a network, changed in place to take statistics together while `join` says so.

    On GPUs they become torch's SyncBatchNorm, which the CPU has not. Parameters, buffers and their names stay. Raises
    LayerLotteryError for a kind of BatchNorm that does more, such as timm's, which holds an activation.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        for name, layer in model.named_modules():
            if isinstance(layer, _BatchNorm) and type(layer) not in PLAIN:
                raise LayerLotteryError(
                    f"resources.gpus_per_training: the network's layer {name} is a {type(layer).__name__}, "
                    f"whose statistics can't be taken over several GPUs; allowed: 1"
                )
        if device.type == "cpu":
            for layer in model.modules():
                if isinstance(layer, _BatchNorm):
                    layer.__class__ = ProcessorSyncBatchNorm
        else:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        kinds = (ProcessorSyncBatchNorm, nn.SyncBatchNorm)
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


class ProcessorSyncBatchNorm(_BatchNorm):
    """SyncBatchNorm for the CPU: maps (N, C, …) normalised by mean and variance over all processes' N and positions."""

    process_group: Any = None

    def _check_input_dim(self, x: Tensor) -> None:
        """Of any dimensions, as torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """Sums in float32 at least, variance from centred values, in two passes as torch's own layer does."""
        if not self.training or self.process_group is not None:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        axes, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        # as a tensor's element, exact up to 2^53 values
        count = torch.tensor(x.numel() / x.shape[1], dtype=torch.float64)
        dist.all_reduce(count)
        mean = _Total.apply(wide.sum(axes)) / count.item()
        centred = wide - mean.view(shape)
        variance = _Total.apply(centred.square().sum(axes)) / count.item()
        self._keep(mean.detach(), variance.detach() * (count.item() / (count.item() - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        normal = centred * scale.view(shape)
        return (normal if self.bias is None else normal + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; a `momentum` of None is the mean over all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        moved = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), moved)
        self.running_var.lerp_(variance.to(self.running_var.dtype), moved)


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override] # of one input alone
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
