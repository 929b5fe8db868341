"""A network's cost on paper: parameters, multiply-accumulates, bytes that one training step holds."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from layerlottery.networks.masks import masked_weights


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one float32 training step holds; activations are what autograd saves for the backward pass."""

    activations: int
    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Sum of the four parts, bytes."""
        return self.activations + self.parameters + self.gradients + self.optimizer


def parameters(model: nn.Module) -> int:
    """Number of parameters left; shared ones count once, masked weights do not count."""
    return sum(parameter.numel() for parameter in model.parameters()) - masked_weights(model)


def filters(model: nn.Module) -> int:
    """Number of convolution filters, those of projections included."""
    return sum(module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def macs(model: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of convolutions and fully connected layers for one image, (channels, height, width)."""
    # a copy without storage: nothing is computed, and the caller's mode and buffers stay as they are
    shadow = copy.deepcopy(model).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shadow(torch.empty(1, *image_shape, device="meta"))
    return int(counter.get_total_flops()) // 2


def training_memory(model: nn.Module, image_shape: tuple[int, ...], *, batch_size: int) -> TrainingMemory:
    """Bytes of one training step on `batch_size` images: float32, cross-entropy, SGD with momentum.

    Computed on a copy on the processor, so the model, its gradients and the random state stay untouched.
    The batch itself isn't counted: it is the same for every network.
    """
    twin = copy.deepcopy(model).to("cpu", torch.float32).train()
    held = sum(parameter.nbytes for parameter in twin.parameters())
    trained = sum(parameter.nbytes for parameter in twin.parameters() if parameter.requires_grad)
    activations = _saved_bytes(twin, torch.zeros(batch_size, *image_shape))
    return TrainingMemory(activations, held, gradients=trained, optimizer=trained)


def step_memory(model: nn.Module, image_shape: tuple[int, ...], *, batch_size: int) -> int:
    """Bytes of one training step, as training_memory counts them, for a batch that need not fit this machine.

    Activations grow by the same amount with every image, so two small batches tell.
    """
    small, larger = (training_memory(model, image_shape, batch_size=count) for count in (2, 3))
    each = larger.activations - small.activations
    return small.total + each * (batch_size - 2)


def _saved_bytes(model: nn.Module, images: Tensor) -> int:
    labels = torch.zeros(len(images), dtype=torch.long)
    given = {_address(tensor) for tensor in (*model.parameters(), *model.buffers(), images, labels)}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _address(tensor) not in given:
            saved[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor  # kept by the graph: no address is handed out twice while we count

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), hooks:
        loss = F.cross_entropy(model(images), labels)
    del loss
    return sum(saved.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
