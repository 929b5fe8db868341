"""Images to try a network on, and the network inside a wrapper."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import copied
from layerlottery.networks.eager import eager

# sides of images that are tried where nobody says what a network takes
SIDES = (64, 224, 32, 256, 299, 384, 28, 8)
_seen: WeakKeyDictionary[nn.Module, torch.Size] = WeakKeyDictionary()


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel and DistributedDataParallel."""
    # torch's compiler is 160 MiB and seconds to import; where it was not, no model came out of it
    compiler = sys.modules.get("torch._dynamo")
    while True:
        if compiler is not None and isinstance(model, compiler.OptimizedModule):
            model = model._orig_mod
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def example_for(model: nn.Module, example: Tensor | None) -> Tensor:
    """Two images (2, …) for the network: from the example, or random ones of a shape that it is known to accept."""
    network = unwrapped(model)
    check_forward(network)
    if example is not None:
        return _two(network, example)
    if network in _seen:
        return _random(network, _seen[network])
    return _guessed(network)


def remember(model: nn.Module, example: Tensor) -> None:
    """Note the shape of an example that the network took."""
    _seen[unwrapped(model)] = example.shape[1:]


def check_forward(network: nn.Module) -> None:
    """Raise unless the network can be called with one tensor."""
    parameters = inspect.signature(network.forward).parameters.values()
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in open_ended]
    if len(needed) > 1:
        raise LayerLotteryError(
            f"{type(network).__name__}: its forward takes several inputs ({', '.join(needed)}); allowed: one, "
            "a batch of images: wrap it in a module that fills in the others"
        )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode; each of its modules is in its own mode again afterwards."""
    modes = {module: module.training for module in network.modules()}
    try:
        yield network.eval()
    finally:
        for module, training in modes.items():
            module.training = training


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights are; the processor if it has none."""
    return next((one.device for one in network.parameters()), torch.device("cpu"))


def _two(network: nn.Module, example: Tensor) -> Tensor:
    if not isinstance(example, Tensor) or example.dim() < 2 or not len(example):
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise LayerLotteryError(f"example: found {found}; allowed: a batch of images, a tensor (N, …)")
    if example.device != device_of(network):
        raise LayerLotteryError(f"example: found on {example.device}; the network is on {device_of(network)}")
    # two, since what is added to a single image may fit it by chance
    return example[[0, len(example) - 1]].detach().clone()


def _random(network: nn.Module, shape: torch.Size) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    dtype = next((one.dtype for one in network.parameters()), torch.float32)
    return torch.randn(2, *shape, generator=generator).to(device_of(network), dtype)


def _guessed(network: nn.Module) -> Tensor:
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    channels = convolutions[0].in_channels if convolutions else 3
    # a copy: a network may count its calls or keep what it saw
    twin = copied(network).eval()
    with torch.no_grad(), eager():
        for side in SIDES:
            images = _random(network, torch.Size((channels, side, side)))
            with suppress(RuntimeError, AssertionError, ValueError, IndexError):
                twin(images)
                return images
    raise LayerLotteryError(
        f"{type(network).__name__}: took none of the images that were tried ({channels} channels, "
        f"{', '.join(map(str, SIDES))} pixels a side); give a batch that it takes as example="
    )
