"""A network as attackers and users see it: images in [0, 1] in, logits out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from layerlottery.data.prepared import PreparedSet
from layerlottery.networks.masks import fold_masks
from layerlottery.networks.resnet import BasicBlock, CifarResNet
from layerlottery.networks.weights import load_network


class Predictor(nn.Module):
    """Normalises (N, C, H, W) images in [0, 1] by the training split's mean and standard deviation, then predicts."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def fold(network: nn.Module) -> nn.Module:
    """A copy in eval mode, equal up to rounding, in which convolutions do the work of masks and of BatchNorm.

    In CIFAR ResNets a BatchNorm that follows a convolution among a module's children also follows it in the forward
    pass. In eval mode it is an affine map of each channel (Ioffe & Szegedy 2015, algorithm 2), and so a factor of
    the filter and a bias. Other networks, of which nobody knows that, keep their BatchNorm.
    """
    folded = fold_masks(network).eval()
    if not isinstance(folded, CifarResNet):
        return folded
    for parent in list(folded.modules()):
        for (first, convolution), (second, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                # in double precision, for it costs nothing here and rounds once
                setattr(parent, first, fuse_conv_bn_eval(convolution.double(), norm.double()).float())
                setattr(parent, second, nn.Identity())
        if isinstance(parent, BasicBlock):
            # ReLU and addition take place where the convolution wrote, in fewer passes
            parent.fast = True
        elif isinstance(parent, nn.ReLU):
            parent.inplace = True
    return folded


def load_predictor(weights: Path, prepared: PreparedSet, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """A frozen and folded predictor in eval mode on `device`, and the facts of its weights file."""
    network, facts = load_network(weights)
    predictor = Predictor(fold(network), prepared.mean, prepared.std).to(device).to(memory_format=torch.channels_last)
    return predictor.eval().requires_grad_(False), facts
