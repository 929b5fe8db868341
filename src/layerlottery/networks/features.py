"""Outputs of a network's blocks and of its penultimate layer for given images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.streams import REARRANGING
from layerlottery.networks.trace import Call, Operation, Trace, record, tensors_of

PENULTIMATE = "penultimate"


@contextmanager
def captured(
    model: nn.Module,
    names: Sequence[str],
    read: Callable[[str, Tensor], Tensor] = lambda name, output: output,
    *,
    example: Tensor | None = None,
) -> Iterator[dict[str, Tensor]]:
    """A dict that holds, after each forward pass, the outputs of the named modules, detached.

    Or what `read` makes of a name and its output, as soon as there is one: while a cache has it, before a later layer
    can write into it, and with no need to keep them all. `penultimate` is the input of the network's classifier,
    (N, features), which a pass over the images `example` finds.
    """
    held: dict[str, Tensor] = {}
    heads = classifiers(model, example) if PENULTIMATE in names and example is not None else []
    inputs: dict[nn.Module, Tensor] = {}

    def hold(name: str, output: Tensor) -> None:
        held[name] = read(name, output.detach())

    def after(name: str, module: nn.Module, given: object, out: object) -> None:
        hold(name, next(tensors_of(out)))

    def before(module: nn.Module, args: object, kwargs: object) -> None:
        inputs[module] = next(tensors_of((args, kwargs)))
        if len(inputs) == len(heads):
            together = [inputs[head] for head in heads]
            hold(PENULTIMATE, torch.cat([one.flatten(1) for one in together], 1) if len(heads) > 1 else together[0])
            inputs.clear()

    with ExitStack() as hooks:
        for head in heads:
            hooks.enter_context(head.register_forward_pre_hook(before, with_kwargs=True))
        for name in names:
            if name != PENULTIMATE:
                hooks.enter_context(model.get_submodule(name).register_forward_hook(partial(after, name)))
        yield held


# functions that mix or scale channels, by where they have them
FIRST = (torch.conv1d, torch.conv2d, torch.conv3d, F.batch_norm, F.group_norm, F.instance_norm)
LAST = (F.linear, F.layer_norm, F.rms_norm, F.multi_head_attention_forward, torch._native_multi_head_attention)
MIXING = {F.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.einsum, torch.cdist, *FIRST[:3]}
MIXING |= {Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm, Tensor.bmm}


def channel_axis(trace: Trace, call: Call) -> int:
    """Where a module's output has its channels, 1 or -1, by the first layer on its input as it lies, or the last.

    Axes are followed through what only rearranges them. What takes values in another order, or fewer, says nothing: a
    gate of pooled channels, for one.
    """
    operations = trace.operations[call.begin : call.end]
    # by value: where the axes 1 and -1 of the module's input, or output, lie in it
    lying = {call.inputs[0]: _ends(len(call.shapes[0]))}
    for operation in operations:
        for number, tensor in _given(operation):
            here = lying.get(number, {})
            for axis in _known(operation, tensor.dim()) & here.keys():
                return here[axis]
            moved = _moved(operation, tensor)
            found = {moved[axis]: end for axis, end in here.items() if axis in moved}
            lying[operation.output] = found | lying.get(operation.output, {})
    lying = {call.outputs[0]: _ends(len(call.shapes[1]))}
    for operation in reversed(operations):
        here = lying.get(operation.output, {})
        for axis in _known(operation, len(operation.shape)) & here.keys():
            return here[axis]
        for number, tensor in _given(operation):
            found = {axis: here[after] for axis, after in _moved(operation, tensor).items() if after in here}
            lying[number] = found | lying.get(number, {})
    # no layer of a known kind: of tokens (T, C) the last, as in transformers
    return -1 if len(call.shapes[1]) == 3 else 1


def _ends(axes: int) -> dict[int, int]:
    return {1: 1, axes - 1: -1} if axes > 2 else {1: 1}


def _known(operation: Operation, axes: int) -> set[int]:
    """Where an operation has its channels among so many axes, if it is of a kind that says so."""
    # over whole images (C, H, W) it does not
    whole = operation.function is F.layer_norm and len(operation.arguments[1]) > 1
    return {1} if operation.function in FIRST else {axes - 1} if operation.function in LAST and not whole else set()


def _given(operation: Operation) -> list[tuple[int, Tensor]]:
    tensors = tensors_of((operation.arguments, operation.keywords))
    return list(zip(operation.inputs, tensors, strict=True))


def _moved(operation: Operation, tensor: Tensor) -> dict[int, int]:
    """Where each axis of an input lies in the output; only those that are kept whole.

    A rearrangement gives a view: of values in their usual order its strides tell which axis is which.
    """
    if operation.function is torch.einsum:
        return {}
    if operation.shape == tensor.shape and operation.function not in REARRANGING and not _is_property(operation):
        return {axis: axis for axis in range(tensor.dim())}
    plain = torch.empty(tensor.shape, device="meta")

    def stand_in(one: Any) -> Any:
        return plain if one is tensor else torch.empty(one.shape, device="meta") if isinstance(one, Tensor) else one

    try:
        given, named = tree_map(stand_in, (operation.arguments, operation.keywords))
        view = operation.function(*given, **named)
        if not view._is_view() or view.shape != operation.shape:
            return {}
    except Exception:  # what has no form without values rearranges nothing
        return {}
    known = {(view.shape[axis], view.stride(axis)): axis for axis in range(view.dim())}
    sides = enumerate(zip(plain.shape, plain.stride(), strict=True))
    return {axis: known[side] for axis, side in sides if side in known and side[0] > 1}


def _is_property(operation: Operation) -> bool:
    """Whether it is an attribute such as `mT`."""
    return getattr(operation.function, "__name__", "") == "__get__"


def classifiers(model: nn.Module, example: Tensor) -> list[nn.Module]:
    """The layers that give the logits, one in most networks: the last with weights on the way to the answer.

    Raises LayerLotteryError where there is none, or where something else than a layer mixes the features.
    """
    trace = record(model, example)
    found: dict[int, Call] = {}
    seen, waiting = set[int](), [*trace.calls[0].outputs]
    while waiting:
        value = waiting.pop()
        if value in seen or value not in trace.producer:
            continue
        seen.add(value)
        operation = trace.operations[trace.producer[value]]
        if layer := _layer(operation.call):
            # of layers with one input, one says it all
            found.setdefault(layer.inputs[0], layer)
        elif operation.function in MIXING:
            name = operation.call.name if operation.call else ""
            raise LayerLotteryError(
                f"{name or type(model).__name__}: computes the answer by {operation.function.__name__}; penultimate "
                "features need a layer that does, such as nn.Linear"
            )
        else:
            waiting.extend(operation.inputs)
    if not found:
        raise LayerLotteryError(f"{type(model).__name__}: found no layer that gives the answer; allowed: nn.Linear, …")
    return list(dict.fromkeys(one.module for one in sorted(found.values(), key=lambda one: one.begin)))


def _layer(call: Call | None) -> Call | None:
    """The innermost call around this one, or itself, of a layer with a matrix of weights; the network is none."""
    while call is not None and call.name:
        matrix = any(sum(size > 1 for size in one.shape) > 1 for one in call.module.parameters(recurse=False))
        if call.inputs and (matrix or isinstance(call.module, nn.Linear | nn.modules.conv._ConvNd)):
            return call
        call = call.parent
    return None
