"""Criteria from gradients: SNIP and GraSP of the loss, SynFlow of the output alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.batches import Batch, Batches, each, is_one
from layerlottery.criteria.parameters import block_score, scored_parameters
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.networks.trace import record

# with these an output does not grow with every weight
LEVELLING = frozenset(
    {
        F.layer_norm,
        torch.layer_norm,
        F.group_norm,
        torch.group_norm,
        F.instance_norm,
        F.softmax,
        torch.softmax,
        Tensor.softmax,
        F.multi_head_attention_forward,
        F.scaled_dot_product_attention,
    }
)


class _TwiceDifferentiable(TorchFunctionMode):
    """While it is active, functions that torch can't derive twice are computed in parts that it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))


def _parameters(model: nn.Module, blocks: list[Block], settings: CriterionSettings) -> dict[str, list[Tensor]]:
    return {block.name: scored_parameters(model.get_submodule(block.name), settings) for block in blocks}


def _saliencies(
    groups: dict[str, list[Tensor]], scalars: Iterable[tuple[int, Tensor]], settings: CriterionSettings
) -> dict[str, float]:
    """Each block's sum or mean of θ · ∂scalar/∂θ; of several scalars, their mean weighted by the number beside each."""
    everything = [parameter for group in groups.values() for parameter in group]
    derivatives = iter(_mean_gradients(everything, scalars))
    return {
        name: block_score([parameter * next(derivatives) for parameter in group], settings)
        for name, group in groups.items()
    }


def _mean_gradients(parameters: list[Tensor], scalars: Iterable[tuple[int, Tensor]]) -> list[Tensor]:
    mean: list[Tensor] = []
    total = 0
    for count, scalar in scalars:
        found = torch.autograd.grad(scalar, parameters, materialize_grads=True) if parameters else []
        total += count
        # a running mean: a single one stays what it is to the last bit
        mean = [old + (new - old) * (count / total) for old, new in zip(mean, found, strict=True)] if mean else [*found]
    return mean


def loss(model: nn.Module, batch: Batch, settings: CriterionSettings) -> Tensor:
    """Mean cross-entropy of the logits divided by the temperature."""
    images, labels = batch
    return F.cross_entropy(model(images) / settings.temperature, labels)


def gradient_flow(
    model: nn.Module, batch: Batch, settings: CriterionSettings, *, towards: list[Tensor] | None = None
) -> Tensor:
    """A scalar whose derivative is Hg: H is the Hessian of the batch's loss over all trainable parameters.

    g is the same loss's gradient, or `towards`, the gradient over more images.
    """
    everything = _trainable(model)
    gradients = torch.autograd.grad(loss(model, batch, settings), everything, create_graph=True, materialize_grads=True)
    along = towards or [gradient.detach() for gradient in gradients]
    return torch.stack([(gradient * one).sum() for gradient, one in zip(gradients, along, strict=True)]).sum()


def _trainable(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _losses(model: nn.Module, batches: Batches, settings: CriterionSettings) -> Iterator[tuple[int, Tensor]]:
    return ((len(batch[1]), loss(model, batch, settings)) for batch in each(batches))


@contextmanager
def _derivatives_exist() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        line = str(error).splitlines()[0]
        raise LayerLotteryError(f"grasp: the network holds what has no second derivative ({line[:120]})") from error


def linearized(model: nn.Module) -> nn.Module:
    """A copy in float64 with every parameter and buffer replaced by its absolute value."""
    copied = copy.deepcopy(model).double().requires_grad_(True)
    with torch.no_grad():
        for tensor in copied.state_dict().values():
            tensor.abs_()
    return copied


def synaptic_flow(linear: nn.Module, images: Tensor) -> Tensor:
    """R: the sum of a linearized network's outputs for one image of ones with the shape of `images` (N, C, H, W)."""
    ones = torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)
    flow: Tensor = linear(ones).sum()
    return flow


def snip(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ |θ · ∂L/∂θ| over a block (Lee et al. 2019, equation 6, not normalised).

    L is the mean over all images. Signed products over convolutions that a train-mode BatchNorm follows would add up
    to zero, since the loss would not depend on their scale, but for BatchNorm's epsilon: such a score ranks by what
    that leaves.
    """
    return _saliencies(_parameters(model, blocks, settings), _losses(model, batches, settings), settings)


def grasp(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ −θ · (Hg) over a block (Wang et al. 2020, equation 8); the highest go, since they carry least gradient flow.

    g is the gradient over all parameters of the network, H the Hessian of the same loss, the mean over all images.
    Many batches are read twice: for g, and for H along it.
    """
    # fused attention has no second derivative
    with sdpa_kernel(SDPBackend.MATH), _TwiceDifferentiable(), _derivatives_exist():
        one = is_one(batches)
        towards = None if one else _mean_gradients(_trainable(model), _losses(model, batches, settings))
        flows = ((len(batch[1]), -gradient_flow(model, batch, settings, towards=towards)) for batch in each(batches))
        return _saliencies(_parameters(model, blocks, settings), flows, settings)


def synflow(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ θ · ∂R/∂θ over a block, R the sum of the outputs for one image of ones (SynFlow, Tanaka et al. 2020).

    The network is the linearized one; its outputs are products over all layers, which float32 may not hold.
    Only the shape of the images matters: a batch may hold none. Raises for networks whose outputs do not grow with
    their weights: those with attention, or with another normalization than BatchNorm.
    """
    images = next(each(batches))[0]
    linear = linearized(model)
    seen = record(linear, torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device))
    for operation in seen.operations:
        if operation.function in LEVELLING:
            place = operation.call.name if operation.call and operation.call.name else "the network"
            name = operation.function.__name__
            raise LayerLotteryError(
                f"{place}: found {name}; synflow needs outputs that grow with every weight, so it allows no attention "
                "and no normalization but BatchNorm"
            )
    return _saliencies(_parameters(linear, blocks, settings), [(1, synaptic_flow(linear, images))], settings)
