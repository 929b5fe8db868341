"""The residual stream through one module call: from its input, by additions, to its output.

y = s(… s(x + b1(x)) + b2(…)): the branches b may go, and what stands on the stream itself, s, stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.networks.removal import BUILT_IN
from layerlottery.networks.trace import Call, Operation, Trace

# give the values that they take, as a new tensor
PASSING = frozenset({F.dropout, torch.dropout, Tensor.contiguous, Tensor.clone, torch.clone, Tensor.to, Tensor.float})
# put the same values into another order; on a stream they come in pairs
RESHAPING = {getattr(owner, name) for owner in (torch, Tensor) for name in ("reshape", "flatten", "unflatten")}
RESHAPING |= {Tensor.view}
REARRANGING = RESHAPING | {
    getattr(owner, name)
    for owner in (torch, Tensor)
    for name in ("permute", "transpose", "squeeze", "unsqueeze", "movedim", "moveaxis", "swapaxes", "swapdims")
}
CARRYING = PASSING | REARRANGING
PRODUCTS = frozenset(
    {torch.mul, torch.multiply, torch.addcmul, Tensor.mul, Tensor.mul_, Tensor.multiply, Tensor.addcmul}
    | {Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__}
)
# functions that torch.nn has a module for, when they are called with nothing but their default options
ALIKE = ("ReLU", "ReLU6", "GELU", "SiLU", "Hardswish", "ELU", "Mish", "Softplus", "Tanh", "Sigmoid")
MODULES = {name.lower(): name for name in ALIKE} | {"relu_": "ReLU", "leaky_relu": "LeakyReLU"}
ACTIVATIONS = {
    getattr(owner, name): module
    for owner in (F, torch, Tensor)
    for name, module in MODULES.items()
    if hasattr(owner, name)
}
POSITIVE = frozenset({"ReLU", "ReLU6", "Sigmoid", "Softplus"})
POOLS = frozenset({F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.max_pool1d, F.avg_pool1d})


@dataclass(frozen=True)
class Branch:
    """A value that an addition joins to the stream: its number, and which operand of which operation it is."""

    addition: int
    place: int
    value: int


@dataclass(frozen=True)
class Stay:
    """A module on the stream itself: one within the block by name, or an activation of torch.nn."""

    name: str
    affine: bool = False


Step = Branch | Stay


class Streams:
    """Finds the steps of the stream through module calls of one trace.

    `handed` are ids of calls that add what they are handed beside their first argument: their parts count as those of
    the block that hands it to them.
    """

    def __init__(self, trace: Trace, handed: Collection[int] = ()) -> None:
        self.trace, self.producer, self.handed = trace, trace.producer, handed

    @cached_property
    def leaf_of(self) -> dict[int, Call]:
        """The call of a childless module, with one tensor in and out, that gave a value."""
        return {
            call.outputs[0]: call
            for call in self.trace.calls
            if not any(call.module.children())
            and call.tuple_length == 0
            and len(call.inputs) == 1 == len(call.outputs)
            and call.inputs != call.outputs
        }

    def through(self, call: Call) -> list[Step] | None:
        """Steps from the call's first input to its output, first to last; None where no identity leads through."""
        found = self._back(call.outputs[0], call)
        if found is None:
            return None
        first = next((i for i, step in enumerate(found) if isinstance(step, Branch)), len(found))
        # a norm before the first addition is part of a projection, one after it (post-norm) stays
        return None if any(isinstance(step, Stay) and step.affine for step in found[:first]) else found

    def _back(self, value: int, call: Call) -> list[Step] | None:
        if value == call.inputs[0]:
            return []
        leaf = self.leaf_of.get(value)
        if leaf is not None and self._of(leaf, call) and (stay := standing(leaf, call.name)):
            return _then(self._back(leaf.inputs[0], call), stay)
        index = self.producer.get(value, -1)
        if not call.begin <= index < call.end:
            return None
        operation = self.trace.operations[index]
        if operation.joins:
            return self._across(index, operation, call)
        if operation.function in CARRYING and len(operation.inputs) == 1:
            return self._back(operation.inputs[0], call)
        if name := activation(operation):
            return _then(self._back(operation.inputs[0], call), Stay(BUILT_IN + name))
        return None

    def _of(self, leaf: Call, call: Call) -> bool:
        """Whether a module is the call's own, or that of a call within it that adds what it is handed."""
        parent = leaf.parent
        return parent is call or (id(parent) in self.handed and leaf.name.startswith(f"{call.name}."))

    def _across(self, index: int, operation: Operation, call: Call) -> list[Step] | None:
        for identity, other in ((0, 1), (1, 0)):
            before = self._back(operation.inputs[identity], call)
            if before is None or not self.depends(operation.inputs[other], call):
                continue
            # x + x is a factor on the stream, no branch of it
            if self._back(operation.inputs[other], call) != []:
                return _then(before, Branch(index, other, operation.inputs[other]))
        return None

    def along(self, call: Call, branches: Sequence[Branch]) -> frozenset[int]:
        """All values on the stream through a call, from its input to its output, given the branches that join it."""
        places = {one.addition: one.place for one in branches}
        value, found = call.outputs[0], {call.inputs[0]}
        while value not in found:
            found.add(value)
            leaf, index = self.leaf_of.get(value), self.producer.get(value, -1)
            if index in places:
                value = self.trace.operations[index].inputs[1 - places[index]]
            elif leaf is not None or index >= 0:
                value = leaf.inputs[0] if leaf is not None else self.trace.operations[index].inputs[0]
        return frozenset(found)

    def depends(self, value: int, call: Call) -> bool:
        """Whether a value was computed, within the call, from its first input."""
        return call.inputs[0] in self.trace.sources([value], call)

    def positive(self, value: int) -> bool:
        """Whether a value has no negative numbers, by what gave it."""
        leaf = self.leaf_of.get(value)
        kind = type(leaf.module) if leaf is not None else object
        if kind.__name__ in POSITIVE and kind.__module__.startswith("torch.nn."):
            return True
        index = self.producer.get(value)
        if index is None:
            return False
        operation = self.trace.operations[index]
        if operation.function in CARRYING | POOLS:
            return self.positive(operation.inputs[0])
        return activation(operation) in POSITIVE


def last_addition(streams: Streams, call: Call) -> int | None:
    """The operation that last added two tensors on the way to the call's output, whatever they were."""
    value = call.outputs[0]
    while True:
        index = streams.producer.get(value, -1)
        if not call.begin <= index < call.end:
            return None
        operation, leaf = streams.trace.operations[index], streams.leaf_of.get(value)
        if operation.joins:
            return index
        if leaf is not None and standing(leaf, call.name):
            value = leaf.inputs[0]
        elif operation.function in CARRYING or activation(operation):
            value = operation.inputs[0]
        else:
            return None


def gated(streams: Streams, call: Call) -> bool:
    """Whether the call weights the values that it is given by factors that it computes from them."""
    stream = {call.inputs[0]}
    for operation in streams.trace.operations[call.begin : call.end]:
        given = set(operation.inputs)
        if given & stream and operation.function in CARRYING:
            stream.add(operation.output)
        factors = given - stream if given & stream and operation.function in PRODUCTS else set()
        if any(streams.depends(one, call) for one in factors):
            return True
    return False


def standing(leaf: Call, block: str) -> Stay | None:
    """A childless module that may stand on a block's stream: it keeps the shape, with at most one weight a channel."""
    parameters = list(leaf.module.parameters())
    if leaf.shapes[0] != leaf.shapes[1] or any(one.numel() != max(one.shape, default=1) for one in parameters):
        return None
    name = leaf.name.removeprefix(f"{block}.")
    return Stay(name, affine=bool(parameters) or isinstance(leaf.module, nn.modules.batchnorm._NormBase))


def activation(operation: Operation) -> str:
    """The name in torch.nn of an activation with default options, or nothing."""
    options: dict[str, Any] = {key: value for key, value in operation.keywords.items() if key != "inplace"}
    defaults = {"negative_slope": 0.01, "alpha": 1.0, "approximate": "none", "input": None}
    plain = all(defaults.get(key) == value for key, value in options.items())
    tensors = len(operation.inputs) == 1
    return ACTIVATIONS.get(operation.function, "") if plain and tensors and len(operation.arguments) <= 1 else ""


def staying(streams: Streams, steps: list[Step], call: Call) -> Iterator[str]:
    """Names of what stays: all that stands on the stream, but for a ReLU of what has no negative numbers."""
    positive = streams.positive(call.inputs[0])
    for step in steps:
        if isinstance(step, Stay):
            relu = step.name == "nn.ReLU" or isinstance(dict(call.module.named_modules()).get(step.name), nn.ReLU)
            if not (relu and positive):
                yield step.name
            positive = relu


def _then(before: list[Step] | None, step: Step) -> list[Step] | None:
    return None if before is None else [*before, step]
