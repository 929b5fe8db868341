"""What a network is given, and how it is called on it: a tensor, a dict of arguments by name, or a tuple of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from layerlottery.networks.answers import logits_of
from layerlottery.networks.trace import tensors_of

# a batch of images (N, …) or token ids (N, T), or the arguments of the network's forward method, by name or in order
Inputs = Tensor | dict[str, Any] | tuple[Any, ...]
Forward = Callable[[nn.Module, Any], Any]


def as_inputs(value: Any) -> Inputs | None:
    """The same as plain dicts and tuples; None where it holds no batch, a tensor with at least one axis."""
    found = dict(value) if isinstance(value, Mapping) else tuple(value) if isinstance(value, list | tuple) else value
    first = next(tensors_of(found), None)
    return None if first is None or first.dim() == 0 else found


def each_tensor(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with every tensor changed."""
    return tree_map(lambda one: change(one) if isinstance(one, Tensor) else one, inputs)


def count(inputs: Inputs) -> int:
    """How many images or texts there are: the length of the first tensor."""
    return len(next(tensors_of(inputs)))


def rows(inputs: Inputs, index: Any) -> Any:
    """Some of the images or texts; a tensor that does not hold one entry for each stays whole."""
    number = count(inputs)
    return each_tensor(inputs, lambda one: one[index] if one.dim() and len(one) == number else one)


def some(targets: Any, part: slice, number: int) -> Any:
    """Some of the targets of so many images; a tensor or list that does not hold one entry for each stays whole."""

    def one_each(value: Any) -> bool:
        held = value.dim() > 0 if isinstance(value, Tensor) else isinstance(value, list)
        return held and len(value) == number

    return tree_map(lambda one: one[part] if one_each(one) else one, targets, is_leaf=one_each)


def joined(parts: Sequence[Any]) -> Any:
    """Batches one after another; what does not hold one entry for each is the first batch's."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, list):
        return [one for part in parts for one in part]
    if isinstance(first, tuple):
        return tuple(joined([part[place] for part in parts]) for place in range(len(first)))
    return torch.cat(list(parts)) if isinstance(first, Tensor) and first.dim() else first


def described(inputs: Inputs) -> str:
    """The shape of a tensor, or the shapes of all by name or place."""
    if isinstance(inputs, Tensor):
        return f"the shape {tuple(inputs.shape)}"
    named = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    shapes = [f"{name} {tuple(one.shape)}" for name, one in named if isinstance(one, Tensor)]
    return f"the arguments {', '.join(shapes)}"


def call_plainly(network: nn.Module, inputs: Inputs) -> Any:
    """The network's answer to a tensor, to arguments by name or to arguments in order."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


class Called(nn.Module):
    """A network that is called by a function, `call(network, inputs)`; its parts keep their names.

    It answers with the logits in what that gives or, `raw`, with what that gives.
    """

    def __init__(self, network: nn.Module, call: Forward = call_plainly, *, raw: bool = False) -> None:
        super().__init__()
        # held in common with the network, which is no child: children, weights and their names are its own
        for held in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[held] = network.__dict__[held]
        self.__dict__.update(network=network, call=call, raw=raw, training=network.training)

    def forward(self, inputs: Inputs) -> Any:
        answer = self.__dict__["call"](self.__dict__["network"], inputs)
        return answer if self.__dict__["raw"] else logits_of(answer)

    def train(self, mode: bool = True) -> Self:
        self.__dict__["network"].train(mode)
        self.training = mode
        return self


def network_of(model: nn.Module) -> nn.Module:
    """The network itself, however it is called."""
    found: nn.Module = model.__dict__["network"] if isinstance(model, Called) else model
    return found


def called_like(model: nn.Module, network: nn.Module) -> nn.Module:
    """Another network, called as the model is."""
    if not isinstance(model, Called):
        return network
    return Called(network, model.__dict__["call"], raw=model.__dict__["raw"])


def named(model: nn.Module) -> str:
    """What messages call a network: its class."""
    return type(network_of(model)).__name__
