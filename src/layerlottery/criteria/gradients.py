"""Criteria from gradients: SNIP and GraSP of the loss, SynFlow of the output alone."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.criteria.parameters import block_score, scored_parameters
from layerlottery.networks.blocks import Block
from layerlottery.settings import CriterionSettings


def _parameters(model: nn.Module, blocks: list[Block], settings: CriterionSettings) -> dict[str, list[Tensor]]:
    return {block.name: scored_parameters(model.get_submodule(block.name), settings) for block in blocks}


def _saliencies(groups: dict[str, list[Tensor]], scalar: Tensor, settings: CriterionSettings) -> dict[str, float]:
    """Each block's sum or mean of θ · ∂scalar/∂θ."""
    derivatives = iter(torch.autograd.grad(scalar, [p for group in groups.values() for p in group]))
    return {
        name: block_score([parameter * next(derivatives) for parameter in group], settings)
        for name, group in groups.items()
    }


def loss(model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings) -> Tensor:
    """Mean cross-entropy of the logits divided by the temperature."""
    images, labels = batch
    return F.cross_entropy(model(images) / settings.temperature, labels)


def gradient_flow(model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings) -> Tensor:
    """A scalar whose derivative is Hg: g is the loss's gradient over all trainable parameters, H its Hessian."""
    everything = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss(model, batch, settings), everything, create_graph=True)
    return torch.stack([(gradient * gradient.detach()).sum() for gradient in gradients]).sum()


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
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ |θ · ∂L/∂θ| over a block (Lee et al. 2019, equation 6, not normalised).

    Signed products over convolutions that a train-mode BatchNorm follows would add up to zero, since the loss
    would not depend on their scale, but for BatchNorm's epsilon: such a score ranks by what that leaves.
    """
    return _saliencies(_parameters(model, blocks, settings), loss(model, batch, settings), settings)


def grasp(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ −θ · (Hg) over a block (Wang et al. 2020, equation 8); the highest go, since they carry least gradient flow.

    g is the gradient over all parameters of the network, H the Hessian of the same loss.
    """
    return _saliencies(_parameters(model, blocks, settings), -gradient_flow(model, batch, settings), settings)


def synflow(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ θ · ∂R/∂θ over a block, R the sum of the outputs for one image of ones (SynFlow, Tanaka et al. 2020).

    The network is the linearized one; its outputs are products over all layers, which float32 may not hold.
    Only the shape of the images matters: `batch` may hold none.
    """
    linear = linearized(model)
    return _saliencies(_parameters(linear, blocks, settings), synaptic_flow(linear, batch[0]), settings)
