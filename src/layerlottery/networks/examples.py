"""Inputs to try a network on, and the network inside a wrapper."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import copied
from layerlottery.networks.eager import eager
from layerlottery.networks.inputs import (
    Called,
    Forward,
    as_inputs,
    call_plainly,
    count,
    each_tensor,
    named,
    network_of,
    rows,
)
from layerlottery.networks.trace import tensors_of

# sides of images that are tried where nobody says what a network takes
SIDES = (64, 224, 32, 256, 299, 384, 28, 8)
# the shape of images, or other inputs themselves
_seen: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


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


def check_network(model: Any) -> None:
    """Raise LayerLotteryError unless it is a network."""
    if not isinstance(model, nn.Module):
        found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise LayerLotteryError(f"model: found {found}; allowed: a network, a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise LayerLotteryError("model: found a ScriptModule; allowed: the network that torch.jit made it from")


def called_for(
    model: nn.Module, example: Any = None, forward: Forward | None = None, *, raw: bool = False
) -> nn.Module:
    """The network inside its wrappers, such that model(inputs) calls it as the inputs or `forward` ask for."""
    network = unwrapped(model)
    check_network(network)
    if isinstance(network, Called):
        return network
    if forward is not None and not callable(forward):
        raise LayerLotteryError(f"forward: found {type(forward).__name__}; allowed: a function f(model, inputs)")
    seen = example if example is not None else _seen.get(network)
    if forward is None and not isinstance(as_inputs(seen), dict | tuple):
        return network
    return Called(network, forward or call_plainly, raw=raw)


def example_for(model: nn.Module, example: Any) -> Any:
    """Two images or texts for the network: of the example, or random images of a shape that it is known to accept."""
    network = unwrapped(model)
    if not isinstance(network, Called):
        check_forward(network)
    if example is not None:
        return _two(network, example)
    seen = _seen.get(network_of(network))
    if isinstance(seen, torch.Size):
        return _random(network, seen)
    if seen is None:
        return _guessed(network)
    return each_tensor(seen, lambda one: one.to(device_of(network)))


def remember(model: nn.Module, example: Any) -> None:
    """Note the shape of images that the network took, or two of its other inputs."""
    images = isinstance(example, Tensor) and example.is_floating_point()
    _seen[network_of(unwrapped(model))] = example.shape[1:] if images else example


def check_forward(network: nn.Module) -> None:
    """Raise unless the network can be called with one tensor."""
    parameters = inspect.signature(network.forward).parameters.values()
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in open_ended]
    if len(needed) > 1:
        raise LayerLotteryError(
            f"{type(network).__name__}: its forward takes several inputs ({', '.join(needed)}); allowed: one batch, "
            "or a dict of its arguments by name in place of images; or say with forward= how it is called"
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


def _two(network: nn.Module, example: Any) -> Any:
    given = as_inputs(example)
    first = next(tensors_of(given), None)
    if given is None or first is None or (given is first and first.dim() < 2) or not len(first):
        found = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise LayerLotteryError(
            f"example: found {found}; allowed: a batch of images, a tensor (N, …), or a dict of the network's arguments"
        )
    if first.device != device_of(network):
        raise LayerLotteryError(f"example: found on {first.device}; the network is on {device_of(network)}")
    # two, since what is added to a single image may fit it by chance
    return each_tensor(rows(given, [0, count(given) - 1]), lambda one: one.detach().clone())


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
        f"{named(network)}: took none of the images that were tried ({channels} channels, "
        f"{', '.join(map(str, SIDES))} pixels a side); give a batch that it takes as example="
    )


def check_example(network: nn.Module, example: Any, answer: Any) -> None:
    """Raise where an example that isn't finite leaves nothing finite of the answer: what holds there shows nothing.

    A finite example with such an answer is a fault of the network's weights, which scoring tells with the block.
    """
    values = [one for one in tensors_of(answer) if one.is_floating_point() and not one.is_meta and one.numel()]
    if not values or any(one.isfinite().any() for one in values):
        return
    if all(one.isfinite().all() for one in tensors_of(example)):
        return
    raise LayerLotteryError(f"example: {named(network)} answers it with no finite number; allowed: ordinary values")
