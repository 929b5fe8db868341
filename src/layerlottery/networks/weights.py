"""Weights files: safetensors that also say which network they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from layerlottery.config.extensions import UntrustedCodeError
from layerlottery.config.networks import CustomSettings, Network
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import outermost
from layerlottery.networks.filters import cut
from layerlottery.networks.masks import add_masks
from layerlottery.networks.removal import Removal, take_out
from layerlottery.networks.zoo import construct
from layerlottery.networks.zoo.draws import WithoutDraws
from layerlottery.store.artifacts import read_weights, write_tensors

NETWORK: TypeAdapter[Network] = TypeAdapter(Network)


def dense_architecture(settings: Network, *, channels: int, classes: int, image_size: int) -> dict[str, Any]:
    """The description that `build` makes a whole network from; images are (channels, image_size, image_size)."""
    form = {"channels": channels, "classes": classes} | ({"image_size": image_size} if settings.sized else {})
    return {"network": settings.model_dump(mode="json"), **form, "removed_blocks": []}


def network_settings(architecture: Mapping[str, Any]) -> Network:
    """The settings of an architecture's network."""
    return NETWORK.validate_python(architecture["network"])


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """The network of an architecture: {network, channels, classes, removed_blocks}; its constructor draws its weights.

    More keys may stand there: `image_size`, the images' side where the weights depend on it; `removals`, what stays of
    removed blocks or stands in their place, by name; `filters`, the weight shapes of modules that lost filters, by
    name; `masked`, how many weights are left in convolutions that have a mask, by name.
    """
    model = construct(
        network_settings(architecture),
        channels=architecture["channels"],
        classes=architecture["classes"],
        image_size=architecture.get("image_size"),
    )
    removals = {name: Removal.from_facts(facts) for name, facts in architecture.get("removals", {}).items()}
    for name in outermost(architecture["removed_blocks"]):
        take_out(model, name, removals.get(name, Removal()))
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
    try:
        # a user's code may insist on what it draws
        own = isinstance(network_settings(facts["architecture"]), CustomSettings)
        with torch.random.fork_rng(devices=[]), nullcontext() if own else WithoutDraws():
            model = build(facts["architecture"])
    except UntrustedCodeError as error:
        raise LayerLotteryError(f"{path}: {error}") from None
    try:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except RuntimeError as error:
        raise LayerLotteryError(f"{path}: its weights do not fit the network that it names") from error
    return model, facts
