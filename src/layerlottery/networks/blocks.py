"""Finding residual blocks by what a network does: a sub-module whose contribution is added to an identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise, zip_longest
from os.path import commonprefix
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import cloned, copied, public
from layerlottery.networks.eager import eager
from layerlottery.networks.examples import called_for, check_example, example_for, remember, unwrapped
from layerlottery.networks.features import channel_axis
from layerlottery.networks.inputs import Forward, described, named
from layerlottery.networks.removal import Removal, left_over, take_out
from layerlottery.networks.streams import Branch, Streams, gated, last_addition, staying
from layerlottery.networks.trace import Call, Operation, Trace, WithoutBranches, record, tensors_of

RELATIVE_ERROR = 1e-4
NEEDED = "the network can't run without it: it reads more of it than what it gives"
REFUTED = "without it the network does not compute what it computes with its branch zeroed"


@dataclass(frozen=True)
class Block:
    """A residual block, or one branch of a block that has several, by its named_modules() name.

    `shape` is that of the stream behind it, without the images' dimension, and `channel_axis` where that has its
    channels, the images' dimension counted; `stage` is what blocks of one shape that
    follow one another have in common. `reason` says why it is not removable.
    """

    name: str
    stage: str
    removable: bool
    reason: str = ""
    shape: tuple[int, ...] = ()
    removal: Removal = field(default_factory=Removal, compare=False)
    channel_axis: int = 1


def residual_blocks(
    model: nn.Module, example: Any = None, *, keep_first: bool = False, branches: bool = False
) -> list[Block]:
    """All residual blocks in the order of their first call, those that can't be removed with the reason.

    `example` is a batch of images (N, …) or other inputs, of which two are looked at; without one, what the network was
    last seen to take, or images of a usual size. `keep_first` keeps the first block of every stage (Jordao et al. 2023,
    section 3). `branches` gives the single branches of blocks that have several, such as attention and MLP.
    """
    called = called_for(model, example)
    network = copied(called).eval().requires_grad_(False)
    given = example_for(called, example)
    trace = run(network, given)
    remember(called, given)
    finder = _Finder(network, trace)
    found = finder.branches() if branches else finder.blocks()
    refuted = _refuted(network, given, found, trace)
    left = [one for one in found if one.block.removable and one.block.name not in refuted]
    needed = _needed(network, given, {one.block.name: one.block.removal for one in left})
    reasons = dict.fromkeys(refuted, REFUTED) | dict.fromkeys(needed, NEEDED)
    blocks = [
        replace(one.block, removable=False, reason=reasons[one.block.name]) if one.block.name in reasons else one.block
        for one in found
    ]
    return list(_staged(blocks, keep_first=keep_first))


@public
def find_blocks(
    model: nn.Module, example: Any = None, *, branches: bool = False, forward: Forward | None = None
) -> dict[str, Block]:
    """Removable residual blocks by their named_modules() name, in the order of the forward pass.

    `example` is a batch of what the network takes: images, token ids, or a dict of its arguments; `forward(model,
    example)` says how it is called where none of these does.

    Each was seen to work on the example: without it the network computes what it computes with the block's
    branches set to zero. Of a wrapped model (DataParallel, torch.compile) the names are those inside. For
    transformers, `branches=True` gives attention and MLP singly. Nothing about the model is changed.
    Raises LayerLotteryError where there is none, with the reason.
    """
    called = called_for(model, example, forward)
    found = residual_blocks(called, example, branches=branches)
    removable = {block.name: block for block in found if block.removable}
    if not removable:
        raise LayerLotteryError(why_none(called, found, example))
    return removable


def remove_blocks(model: nn.Module, names: Collection[str], removals: Mapping[str, Removal] | None = None) -> nn.Module:
    """A smaller copy without the named blocks; the kept ones keep their weights and their names.

    `removals` says what stays of a block; an identity takes the place of those that are not in it. Nothing is
    looked at or computed: see `tickets.prune` for names that come from a user.
    """
    small = copied(unwrapped(model))
    known = dict(small.named_modules())
    for name in outermost(names):
        if name not in known:
            raise LayerLotteryError(f"block {name!r}: {named(small)} has no such module")
        take_out(small, name, (removals or {}).get(name, Removal()))
    return small


def outermost(names: Collection[str]) -> list[str]:
    """The names that lie inside none of the others, in their order."""
    return [name for name in dict.fromkeys(names) if not any(name.startswith(f"{other}.") for other in names)]


def run(network: nn.Module, example: Any) -> Trace:
    """The record of one forward pass; what goes wrong in it is the example's fault, and said in one line."""
    try:
        return record(network, example)
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LayerLotteryError(f"images: {named(network)} can't take {described(example)} ({line[:160]})") from error


@dataclass(frozen=True)
class _Found:
    """A block, the call that showed it, and the additions (operation, operand) that leave with it."""

    block: Block
    call: Call
    zeroed: tuple[Branch, ...] = ()


class _Finder:
    """Looks through a trace for calls that own an addition."""

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        self.network, self.trace, self.homes = network, trace, dict[int, Call]()
        handed = set[int]()
        for index, operation in enumerate(trace.operations):
            if operation.joins and (passed := list(self._handing(operation))):
                handed.update(map(id, passed))
                self.homes[index] = passed[-1].parent or passed[-1]
        self.streams = Streams(trace, handed)
        self.times = Counter(id(call.module) for call in trace.calls)

    def owners(self) -> list[Call]:
        """Calls in which a residual addition stands, each module once, in order."""
        found: dict[int, Call] = {}
        for index, operation in enumerate(self.trace.operations):
            call = self.homes.get(index, operation.call) if operation.joins else None
            # an addition that is a module of its own belongs to the module that calls it
            while call is not None and len(call.inputs) > 1 and not any(call.module.children()):
                call = call.parent
            if call is not None and call.name and call.tuple_length >= 0 and call.inputs:
                found.setdefault(id(call.module), call)
        return sorted(found.values(), key=lambda call: call.begin)

    def _handing(self, operation: Operation) -> Iterator[Call]:
        """Calls, innermost first, that are handed an operand of the addition beside their first argument (BERT)."""
        call = operation.call
        while call is not None and call.inputs and any(call.module.children()):
            beside = [one for one in operation.inputs if one in call.inputs[1:] and one != call.inputs[0]]
            others = [one for one in operation.inputs if one not in beside]
            if len(beside) != 1 or not others or call.inputs[0] not in self.trace.sources(others, call):
                return
            yield call
            call = call.parent

    def blocks(self) -> list[_Found]:
        """What is removed as one; of what lies inside another, either that or the other."""
        kept = [found for call in self.owners() if (found := self._block(call))]
        for outer in list(kept):
            within = [one for one in kept if one.call.name.startswith(f"{outer.call.name}.")]
            if outer not in kept or not within:
                continue
            if not (outer.block.removable or self._in_branch(within, outer)):
                continue
            gates = [one for one in within if gated(self.streams, one.call)]
            stage = self._stage([one for one in within if one not in gates], outer)
            gone = gates + [outer] * outer.block.removable if stage else within
            kept = [one for one in kept if one not in gone]
        return kept

    def _in_branch(self, inner: Sequence[_Found], outer: _Found) -> bool:
        """Whether only one of the operands that the outer one adds last comes by way of the inner ones."""
        last = last_addition(self.streams, outer.call)
        operands = self.trace.operations[last].inputs if last is not None else ()
        made = {one.call.outputs[0] for one in inner}
        return sum(not made.isdisjoint(self.trace.sources([one], outer.call)) for one in operands) == 1

    def _stage(self, inner: Sequence[_Found], outer: _Found) -> bool:
        """Whether the outer one is a shortcut around a chain of blocks, which holds most of its weights."""
        chained = any(one.call.outputs[0] == two.call.inputs[0] for one, two in pairwise(inner))
        weights = sum(_size(one.call.module) for one in inner)
        return chained and 2 * weights > _size(outer.call.module)

    def _block(self, call: Call) -> _Found | None:
        axis = channel_axis(self.trace, call)
        block = Block(call.name, "", removable=False, shape=tuple(call.shapes[1][1:]), channel_axis=axis)
        steps = self.streams.through(call) if call.shapes[0] == call.shapes[1] else None
        added = [step for step in steps or [] if isinstance(step, Branch)]
        if steps is None or not added or not all(self._own(step.addition, call) for step in added):
            return _Found(replace(block, reason=self._why_not(call)), call) if self._residual(call) else None
        if self.times[id(call.module)] > 1:
            return _Found(replace(block, reason=f"it is used {self.times[id(call.module)]} times"), call)
        if not call.packed and self._gives_more(call):
            return _Found(replace(block, reason="it gives more than the stream, which others use"), call)
        gives = 0 if call.packed else call.tuple_length
        passes = call.passed if gives and any(call.passed) else ()
        stays, extra = tuple(staying(self.streams, steps, call)), call.packed or call.arguments > 1
        removal = Removal(stays, extra=extra, gives=gives, passes=passes)
        return _Found(replace(block, removable=True, removal=removal), call, tuple(added))

    def _gives_more(self, call: Call) -> bool:
        """Whether there is something beside the stream in what it gives that is, or may be, used."""
        used = {value for operation in self.trace.operations[call.end :] for value in operation.inputs}
        return call.mixed or bool(({*call.outputs[1:]} - call.handed) & {*used, *self.trace.calls[0].outputs})

    def _own(self, addition: int, call: Call) -> bool:
        """Whether an addition stands in the call itself, or is a module that it calls, or is handed what it adds."""
        inner, home = self.trace.operations[addition].call, self.homes.get(addition)
        if home is not None and (home is call or home.name.startswith(f"{call.name}.")):
            return True
        return inner is call or (inner is not None and inner.parent is call and len(inner.inputs) > 1)

    def _residual(self, call: Call) -> bool:
        """Whether both operands of the last addition come from the call's input."""
        last = last_addition(self.streams, call)
        if last is None or not call.floats or not self._own(last, call):
            return False
        return all(self.streams.depends(value, call) for value in self.trace.operations[last].inputs)

    def _why_not(self, call: Call) -> str:
        before, after = (tuple(shape[1:]) for shape in call.shapes)
        if before != after:
            return f"its removal changes a shape: it takes {before} and gives {after}"
        return "its shortcut is no identity"

    def branches(self) -> list[_Found]:
        """Single branches of blocks with several; blocks with one branch are taken whole."""
        found = []
        for whole in self.blocks():
            parts = [self._branch(whole, step) for step in whole.zeroed] if len(whole.zeroed) > 1 else []
            found += [part for part in parts if part] or [whole]
        return found

    def _branch(self, whole: _Found, step: Branch) -> _Found | None:
        call = whole.call
        stream = self.streams.along(call, whole.zeroed)
        values = self.trace.sources([step.value], call, until=stream)
        children = self._children(call, values - stream, step.addition)
        own = [child for child in children if self._only_in(child, call)]
        if not own:
            return None
        stubs = {child.name: -1 - child.tuple_length for child in own[:-1]} | {own[-1].name: own[-1].tuple_length}
        # the one that holds most of the branch's weights gives it the name
        largest = max(own, key=lambda child: _size(child.module))
        block = replace(whole.block, name=largest.name, removal=Removal(stubs=stubs))
        return _Found(block, call, (step,))

    def _children(self, call: Call, values: set[int], addition: int) -> list[Call]:
        """Calls of the block's children that gave one of the values, in order; of one that adds, of its children."""
        inside = [self.streams.producer[value] for value in values if value in self.streams.producer]
        found: list[Call] = []
        for child in self.trace.calls:
            if child.parent is call and any(child.begin <= index < child.end for index in inside):
                adds = child.begin <= addition < child.end and any(child.module.children())
                found += self._children(child, values, addition) if adds else [child]
        return found

    def _only_in(self, child: Call, call: Call) -> bool:
        return self.times[id(child.module)] == 1 and child.tuple_length >= 0 and child.name.startswith(call.name)


def _size(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def _refuted(network: nn.Module, example: Any, found: Sequence[_Found], trace: Trace) -> set[str]:
    """Names of blocks whose removal does not give what the block gives with its branches zeroed."""
    refuted: set[str] = set()
    removable = [one for one in found if one.block.removable]
    running: set[nn.Module] = set()

    def check(module: nn.Module, args: Any, kwargs: Any) -> None:
        if running:
            return
        running.add(module)
        own = [one for one in removable if one.call.module is module]
        refuted.update(one.block.name for one in own if not _agrees(module, one, trace, args, kwargs))
        running.remove(module)

    with ExitStack() as hooks, torch.no_grad(), eager():
        for module in {one.call.module for one in removable}:
            hooks.callback(module.register_forward_pre_hook(check, with_kwargs=True).remove)
        check_example(network, example, network(cloned(example)))
    return refuted


def _needed(network: nn.Module, example: Any, removals: Mapping[str, Removal]) -> set[str]:
    """Names of blocks without which the network can't run, since it reads more of them than what they give."""

    def runs(names: Collection[str]) -> bool:
        try:
            with torch.no_grad(), eager():
                remove_blocks(network, names, removals)(cloned(example))
        except Exception:  # whatever a network does without a part of it
            return False
        return True

    # without all of them is one pass; only where that fails each is tried
    return set() if runs(removals) else {name for name in removals if not runs([name])}


def _agrees(module: nn.Module, found: _Found, trace: Trace, args: Any, kwargs: Any) -> bool:
    given, named = cloned((args, kwargs))
    # the numbers of the additions among those of this call
    additions = [i for i in range(found.call.begin, found.call.end) if trace.operations[i].adds]
    with WithoutBranches({additions.index(step.addition): step.place for step in found.zeroed}):
        expected = module(*given, **named)
    given, named = cloned((args, kwargs))
    try:
        got = _without(module, found)(*given, **named)
    except Exception:  # whatever a module does that was changed inside: it can't be changed, then
        return False
    # a named tuple is more than a tuple
    if not (type(got) is type(expected) if isinstance(expected, tuple) else isinstance(got, Tensor)):
        return False
    # of what it gives beside the stream, a removal may leave nothing
    if found.block.removal.stubs or found.block.removal.gives:
        return _close(next(tensors_of(expected)), next(tensors_of(got), None))
    if _without_tensors(got) != _without_tensors(expected):
        return False
    return all(_close(one, other) for one, other in zip_longest(tensors_of(expected), tensors_of(got)))


def _without_tensors(values: Any) -> Any:
    return tree_map(lambda one: None if isinstance(one, Tensor) else one, values)


def _close(expected: Tensor | None, got: Tensor | None) -> bool:
    if expected is None or got is None or got.shape != expected.shape:
        return False
    if expected.is_meta:
        # shapes are all that there is to compare
        return True
    # attention takes other kernels where its calls are looked at
    scale = expected.nan_to_num(0, 0, 0).abs().max().item()
    return torch.allclose(got, expected, rtol=0, atol=RELATIVE_ERROR * scale, equal_nan=True)


def _without(module: nn.Module, found: _Found) -> nn.Module:
    removal = found.block.removal
    if not removal.stubs:
        return left_over(module, removal)
    stubbed = copied(module)
    prefix = f"{found.call.name}."
    inside = {name.removeprefix(prefix): length for name, length in removal.stubs.items()}
    take_out(stubbed, "", replace(removal, stubs=inside))
    return stubbed


def _staged(blocks: Sequence[Block], *, keep_first: bool) -> Iterator[Block]:
    """The blocks with the names of their stages: runs of one shape, called by what their blocks have in common."""
    runs = [list(members) for _, members in groupby(blocks, key=lambda block: block.shape)]
    # of lists it compares the items
    shared = [".".join(commonprefix([block.name.split(".")[:-1] for block in run])) for run in runs]  # noqa: RUF071
    for run, common in zip(runs, shared, strict=True):
        # a name of its own for each
        stage = common if common and shared.count(common) == 1 else run[0].name
        for place, block in enumerate(run):
            if keep_first and not place and block.removable:
                block = replace(block, removable=False, reason="it is the first of its stage, which stays")
            yield replace(block, stage=stage)


def why_none(model: nn.Module, found: Sequence[Block], example: Any) -> str:
    """Why a network has no removable block, in one line."""
    called = called_for(model, example)
    name = named(called)
    if found:
        reasons = "; ".join(f"{block.name}: {block.reason}" for block in found[:3])
        return f"{name}: found no removable residual block among {len(found)}; {reasons}"
    trace = run(copied(called).eval(), example_for(called, example))
    if any(operation.joins for operation in trace.operations):
        return (
            f"{name}: found no residual block; none of its additions stands in a sub-module that takes a tensor and "
            "gives one, alone or first in a tuple"
        )
    joined = any(operation.function in (torch.cat, torch.concat) for operation in trace.operations)
    how = "its layers are joined by concatenation, not by addition" if joined else "nothing is added to an identity"
    return f"{name}: found no residual block; {how}, so removing a layer would change what follows"
