"""Criteria from gradients of the loss: SNIP and GraSP."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.criteria.parameters import block_score, scored_parameters
from layerlottery.networks.blocks import Block
from layerlottery.settings import CriterionSettings


def _parameters(model: nn.Module, blocks: list[Block], settings: CriterionSettings) -> dict[str, list[Tensor]]:
    return {block.name: scored_parameters(model.get_submodule(block.name), settings) for block in blocks}


def _loss(model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings) -> Tensor:
    images, labels = batch
    return F.cross_entropy(model(images) / settings.temperature, labels)


def snip(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ |θ · ∂L/∂θ| over a block (Lee et al. 2019, equation 6, not normalised).

    Signed products over convolutions that a train-mode BatchNorm follows add up to zero, since the loss does
    not depend on their scale: such a score ranks by rounding errors.
    """
    groups = _parameters(model, blocks, settings)
    gradients = iter(
        torch.autograd.grad(_loss(model, batch, settings), [p for group in groups.values() for p in group])
    )
    return {
        name: block_score([parameter * next(gradients) for parameter in group], settings)
        for name, group in groups.items()
    }


def grasp(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Σ −θ · (Hg) over a block (Wang et al. 2020, equation 8); the highest go, since they carry least gradient flow.

    g is the gradient over all parameters of the network, H the Hessian of the same loss.
    """
    groups = _parameters(model, blocks, settings)
    everything = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(_loss(model, batch, settings), everything, create_graph=True)
    flow = torch.stack([(gradient * gradient.detach()).sum() for gradient in gradients]).sum()
    products = iter(torch.autograd.grad(flow, [p for group in groups.values() for p in group]))
    return {
        name: block_score([-parameter * next(products) for parameter in group], settings)
        for name, group in groups.items()
    }
