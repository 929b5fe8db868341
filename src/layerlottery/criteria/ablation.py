"""A network run without one block at a time, from stored outputs of all that comes before the block.

The cost is then that of what follows each block, about half of a whole pass for each, in any network.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.networks.blocks import Block
from layerlottery.networks.removal import take_out


@dataclass(eq=False)
class _Unit:
    """A module that runs once and holds no block, or is one: when its call began and ended, and what it gave."""

    module: nn.Module
    begin: int = -1
    end: int = -1
    calls: int = 0
    output: Tensor | None = None


@torch.no_grad()
def answers(
    model: nn.Module, blocks: Sequence[Block], parts: Iterable[Tensor], read: Callable[[Any], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """`read` (N, …) of the network's answers to all parts, whole and without each block; the model stays as it was."""
    found: dict[str, list[Tensor]] = {name: [] for name in ("", *(block.name for block in blocks))}
    for part in parts:
        for name, answer in _ablated(model, blocks, part, read):
            found[name].append(answer)
    joined = {name: torch.cat(some) for name, some in found.items()}
    return joined.pop(""), joined


def _ablated(
    model: nn.Module, blocks: Sequence[Block], images: Tensor, read: Callable[[Any], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """`read` of the network's answer, first of the whole network under no name, then without each block."""
    units = {name: _Unit(module) for name, module in _units(model, {block.name for block in blocks})}
    yield "", read(_stored(model, units.values(), images))
    replayed: list[_Unit] = []
    try:
        for block in blocks:
            # what began before the first of what leaves with the block
            leaving = min(units[name].begin for name in _leaving(block) if name in units)
            _replay(units.values(), replayed, before=leaving)
            answer = _without(model, block, images)
            if any(unit.output is not None and unit.output._version != 0 for unit in replayed):
                # something wrote into what was stored: nothing is stored from now on
                _run_again(replayed)
                answer = _without(model, block, images)
            yield block.name, read(answer)
    finally:
        _run_again(replayed)


def _stored(model: nn.Module, units: Iterable[_Unit], images: Tensor) -> Any:
    """The network's answer, while the units note when they run and what they give."""
    clock = itertools.count(1)

    def enter(unit: _Unit, *_: Any) -> None:
        unit.begin, unit.calls = next(clock), unit.calls + 1

    def leave(unit: _Unit, module: nn.Module, given: Any, out: Any) -> None:
        # a copy: what follows may write into the tensor itself
        unit.end, unit.output = next(clock), out.detach().clone() if isinstance(out, Tensor) else None

    with ExitStack() as hooks:
        for unit in units:
            hooks.enter_context(unit.module.register_forward_pre_hook(partial(enter, unit)))
            hooks.enter_context(unit.module.register_forward_hook(partial(leave, unit)))
        return model(images)


def _replay(units: Iterable[_Unit], replayed: list[_Unit], *, before: int) -> None:
    """Let the units that ended before this time give what they gave, without computing it."""
    for unit in units:
        once = unit.calls == 1 and unit.output is not None
        if once and 0 < unit.end < before and unit not in replayed:
            unit.module.forward = _constant(unit.output)  # type: ignore[arg-type] # there, as `once` says
            replayed.append(unit)


def _run_again(replayed: list[_Unit]) -> None:
    for unit in replayed:
        del unit.module.forward
        unit.calls = 0
    replayed.clear()


def _without(model: nn.Module, block: Block, images: Tensor) -> Any:
    """The network's answer without one block, which is in its place again afterwards."""
    kept = {name: model.get_submodule(name) for name in _leaving(block)}
    take_out(model, block.name, block.removal)
    try:
        return model(images)
    finally:
        for name, module in kept.items():
            model.set_submodule(name, module)


def _leaving(block: Block) -> list[str]:
    return list(block.removal.stubs) or [block.name]


def _constant(output: Tensor) -> Callable[..., Tensor]:
    return lambda *args, **kwargs: output


def _units(model: nn.Module, blocks: set[str], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The largest modules that hold no block, and the blocks."""
    for child, module in model.named_children():
        name = f"{prefix}{child}"
        if any(block.startswith(f"{name}.") for block in blocks):
            yield from _units(module, blocks, f"{name}.")
        else:
            yield name, module
