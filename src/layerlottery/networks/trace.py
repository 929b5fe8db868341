"""A record of one forward pass: the tensors that every module and every operation took and returned.

Residual blocks are found in this record, by what a network does and not by what its classes are called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerlottery.networks.eager import eager

ADDITIONS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__})
WRITING_OPERATORS = frozenset({"__iadd__", "__isub__", "__imul__", "__itruediv__"})


@dataclass
class Call:
    """One call of a module. Values are numbers: equal ones are the same tensor with the same content."""

    name: str
    module: nn.Module
    parent: Call | None
    inputs: tuple[int, ...]
    # how many arguments it was given, tensors or not
    arguments: int
    # its first operation, and the first after it
    begin: int
    end: int = -1
    outputs: tuple[int, ...] = ()
    # tensors alone or in a tuple of so many; -1 is anything else
    tuple_length: int = -1
    # whether the first argument is a tuple, and whether there is more in a tuple that comes out than tensors, None and
    # what was given
    packed: bool = False
    mixed: bool = False
    # whether the first tensor holds floats: token ids are embedded, not added to
    floats: bool = False
    # for each item but the first of a tuple that comes out: the argument that it is, by place or name, or nothing
    passed: tuple[str, ...] = ()
    # the tensors among these
    handed: frozenset[int] = frozenset()
    # of the first tensor that went in, and of the first that came out
    shapes: tuple[torch.Size, torch.Size] = (torch.Size(), torch.Size())


@dataclass
class Operation:
    """One call of a torch function, and the innermost module call that it was made in."""

    function: Any
    inputs: tuple[int, ...]
    output: int
    call: Call | None
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    # of the output
    shape: torch.Size

    @property
    def adds(self) -> bool:
        """Whether two tensors are added."""
        return self.function in ADDITIONS and len(self.inputs) == 2

    @property
    def joins(self) -> bool:
        """Whether two tensors of equal shape are added, neither of them scaled."""
        return self.adds and not self.keywords and bool(self.arguments[0].shape == self.arguments[1].shape)


@dataclass
class Trace:
    """The record of one forward pass, in order."""

    calls: list[Call] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)

    @cached_property
    def producer(self) -> dict[int, int]:
        """The operation that gave a value."""
        return {operation.output: index for index, operation in enumerate(self.operations)}

    def sources(
        self, values: Iterable[int], call: Call | None = None, *, until: Collection[int] = frozenset()
    ) -> set[int]:
        """All values that lead to these, themselves included.

        Only what was computed within the call; the search goes not beyond `until`.
        """
        within = range(call.begin, call.end) if call is not None else range(len(self.operations))
        seen, waiting = set[int](), [*values]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            index = self.producer.get(one, -1)
            if index in within and one not in until:
                waiting.extend(self.operations[index].inputs)
        return seen


class Recorder(TorchFunctionMode):
    """Writes down all torch functions and module calls while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.stack: list[Call] = []
        self._numbers: dict[int, int] = {}
        # a tensor that were freed would give its id to another
        self._held: list[Tensor] = []

    def number(self, tensor: Tensor, *, fresh: bool = False) -> int:
        """The number of the tensor's present content."""
        if fresh or id(tensor) not in self._numbers:
            self._held.append(tensor)
            self._numbers[id(tensor)] = len(self._held)
        return self._numbers[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        inputs = tuple(self.number(tensor) for tensor in tensors_of((args, keywords)))
        out = func(*args, **keywords)
        call = self.stack[-1] if self.stack else None
        for tensor in tensors_of(out):
            # a function that gives its argument back unchanged is no operation
            if id(tensor) not in self._numbers or writes(func, keywords):
                number = self.number(tensor, fresh=True)
                self.trace.operations.append(Operation(func, inputs, number, call, tuple(args), keywords, tensor.shape))
        return out

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Note the begin of a module's call."""
        given = list(tensors_of((args, kwargs)))
        parent = self.stack[-1] if self.stack else None
        inputs = tuple(self.number(tensor) for tensor in given)
        call = Call(name, module, parent, inputs, len(args) + len(kwargs), len(self.trace.operations))
        call.packed = bool(args) and isinstance(args[0], tuple)
        if given:
            call.shapes, call.floats = (given[0].shape, torch.Size()), given[0].is_floating_point()
        self.stack.append(call)
        self.trace.calls.append(call)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        """Note the end of the innermost call, which is the module's."""
        call = self.stack.pop()
        call.end = len(self.trace.operations)
        given = list(tensors_of(out))
        call.outputs = tuple(self.number(tensor) for tensor in given)
        first = isinstance(out, tuple) and isinstance(next(iter(out), None), Tensor)
        call.tuple_length = 0 if isinstance(out, Tensor) else len(out) if first else -1
        rest = out[1:] if first else ()
        call.passed = tuple(_argument(one, args, kwargs) for one in rest)
        items = list(zip(rest, call.passed, strict=True))
        call.handed = frozenset(self.number(one) for item, place in items if place for one in tensors_of(item))
        call.mixed = not all(one is None or isinstance(one, Tensor) or place for one, place in items)
        if given:
            call.shapes = (call.shapes[0], given[0].shape)


def _argument(value: Any, args: Any, kwargs: Any) -> str:
    """The place or name of the argument, beside the first, that a value is; nothing if it is none of them."""
    if value is None:
        return ""
    given = [*enumerate(args), *kwargs.items()][1:]
    return next((str(place) for place, one in given if one is value or _equal(one, value)), "")


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal numbers, texts or tuples of such."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, int | float | str) and type(one) is type(other) and one == other


def writes(function: Any, keywords: dict[str, Any]) -> bool:
    """Whether a torch function changes its first argument."""
    name = getattr(function, "__name__", "")
    return name in WRITING_OPERATORS or (name[-1:] == "_" and name[-2:] != "__") or keywords.get("inplace") is True


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_of(one)
    elif isinstance(value, dict):
        yield from tensors_of(list(value.values()))


@torch.no_grad()
def record(model: nn.Module, example: Any) -> Trace:
    """The record of model(example); the model should be in eval mode and may be a copy. Its hooks are as before."""
    recorder = Recorder()
    with ExitStack() as stack:
        stack.enter_context(eager())
        for name, module in model.named_modules():
            enter = partial(recorder.enter, name)
            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True).remove)
            stack.callback(module.register_forward_hook(recorder.leave, with_kwargs=True).remove)
        stack.enter_context(recorder)
        model(example)
    return recorder.trace


class WithoutBranches(TorchFunctionMode):
    """While it is active, some additions (number from 0, in order: which operand) get zeros as one operand."""

    def __init__(self, zeroed: dict[int, int]) -> None:
        super().__init__()
        self.zeroed, self.count = zeroed, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if func in ADDITIONS and len(list(tensors_of((args, keywords)))) == 2:
            place = self.zeroed.get(self.count)
            self.count += 1
            if place is not None:
                changed = list(args)
                # what an addition writes into stays the same tensor
                kept = place == 0 and writes(func, keywords)
                changed[place] = args[place].zero_() if kept else torch.zeros_like(args[place])
                args = tuple(changed)
        return func(*args, **keywords)
