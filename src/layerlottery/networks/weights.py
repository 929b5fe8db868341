"""Weights files: safetensors that also say which network they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks
from layerlottery.networks.filters import cut
from layerlottery.networks.masks import add_masks
from layerlottery.networks.resnet import CifarResNet
from layerlottery.results.artifacts import read_weights, write_tensors
from layerlottery.settings import NetworkSettings


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """The network of an architecture: {network, channels, classes, removed}; its weights are arbitrary.

    Two more keys may stand there: `filters`, the weight shapes of modules that lost filters, by name, and
    `masked`, how many weights are left in convolutions that have a mask, by name.
    """
    settings = NetworkSettings.model_validate(architecture["network"])
    dense = CifarResNet(settings, channels=architecture["channels"], classes=architecture["classes"])
    model = remove_blocks(dense, architecture["removed"])
    cut(model, architecture.get("filters", {}))
    add_masks(model, architecture.get("masked", {}))
    return model


def save_network(path: Path, model: nn.Module, facts: Mapping[str, Any], *, config_hash: str) -> str:
    """Write a network's state and its facts, among them `architecture`; returns the content hash."""
    state = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}
    return write_tensors(path, state, facts, config_hash=config_hash)


def load_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that a weights file describes, with its weights, and the file's facts."""
    tensors, facts = read_weights(path)
    model = build(facts["architecture"])
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except RuntimeError as error:
        raise LayerLotteryError(f"{path}: its weights do not fit the network that it names") from error
    return model, facts
