"""Tensors that a network overwrites although their gradients need them, of which torch tells only going backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerlottery.criteria.batches import Batches, each
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.trace import writes

# both bear this name
OPERATORS = {"add_": "add_ (or +=)", "sub_": "sub_ (or -=)", "mul_": "mul_ (or *=)", "div_": "div_ (or /=)"}


@contextmanager
def overwriting_named(model: nn.Module, batches: Batches, function: str) -> Iterator[None]:
    """Whatever fails within since the network overwrites what gradients need is told by the module that does."""
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        where = _overwriting(model, next(each(batches))[0])
        raise LayerLotteryError(
            f"{where} overwrites a tensor that gradients need, so {function} can't score the network, nor can it be "
            "trained; compute a new one, such as x = x + f(x) in place of x += f(x)"
        ) from error


class _Watch(TorchFunctionMode):
    """Notes the first function after which a tensor that was saved for gradients is no longer what was saved."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = [""]
        self.saved: list[tuple[Tensor, int]] = []
        self.found = ""

    def save(self, tensor: Tensor) -> Tensor:
        self.saved.append((tensor, tensor._version))
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        if not self.found and writes(func, kwargs or {}) and any(one._version != seen for one, seen in self.saved):
            called = OPERATORS.get(name, f"{name} with inplace=True" if (kwargs or {}).get("inplace") else name)
            self.found = f"{self.stack[-1] or 'the network'}: {called}"
        return out


def _overwriting(model: nn.Module, inputs: Any) -> str:
    """The module, by name, and its function that does; the network where neither is seen."""
    watch = _Watch()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, name=name: watch.stack.append(name))
            leave = module.register_forward_hook(lambda *_: watch.stack.pop() and None)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(watch.save, lambda tensor: tensor))
        stack.enter_context(watch)
        model(inputs)
    return watch.found or "the network or its loss"
