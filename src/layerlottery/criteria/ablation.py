"""A network run without one block at a time, from stored outputs of all that comes before the block.

The cost is then that of what follows each block, about half of a whole pass for each, in any network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.networks.blocks import Block
from layerlottery.networks.removal import take_out


@dataclass
class _Unit:
    """A module that runs once and holds no block, or is one: when its call began and ended, and what it gave."""

    module: nn.Module
    begin: int = -1
    end: int = -1
    calls: int = 0
    output: Tensor | None = None

    @property
    def stored(self) -> bool:
        return self.calls == 1 and self.output is not None


class Ablation:
    """`model` run on one batch, whole and without each of its `blocks`; the model is as before afterwards."""

    def __init__(self, model: nn.Module, blocks: Sequence[Block]) -> None:
        self.model, self.blocks = model, blocks
        self.units = {name: _Unit(module) for name, module in _units(model, {block.name for block in blocks})}

    def run(self, images: Tensor, read: Callable[[Any], Tensor]) -> Iterator[tuple[str | None, Tensor]]:
        """`read` of the network's answer, first of the whole network (None), then without each block by name."""
        yield None, read(self._store(images))
        replayed: list[_Unit] = []
        try:
            for block in self.blocks:
                self._replay(replayed, before=self._begin(block))
                with without(self.model, block):
                    answer = self.model(images)
                if any(unit.output is not None and unit.output._version != 0 for unit in replayed):
                    # something wrote into what was stored: nothing is stored from now on
                    self._run_again(replayed)
                    with without(self.model, block):
                        answer = self.model(images)
                yield block.name, read(answer)
        finally:
            self._run_again(replayed)

    def _store(self, images: Tensor) -> Any:
        clock = 0

        def enter(unit: _Unit) -> None:
            nonlocal clock
            clock += 1
            unit.begin, unit.calls = clock, unit.calls + 1

        def leave(unit: _Unit, out: Any) -> None:
            nonlocal clock
            clock += 1
            unit.end = clock
            # a copy: what follows may write into the tensor itself
            unit.output = out.detach().clone() if isinstance(out, Tensor) else None

        with ExitStack() as hooks:
            for unit in self.units.values():
                unit.calls, unit.output = 0, None
                before = unit.module.register_forward_pre_hook(lambda *_, unit=unit: enter(unit))
                after = unit.module.register_forward_hook(lambda *given, unit=unit: leave(unit, given[-1]))
                hooks.callback(before.remove)
                hooks.callback(after.remove)
            return self.model(images)

    def _begin(self, block: Block) -> int:
        """When the first of what leaves with the block began."""
        gone = list(block.removal.stubs) or [block.name]
        return min(self.units[name].begin for name in gone if name in self.units)

    def _replay(self, replayed: list[_Unit], *, before: int) -> None:
        """Let the units that ended before this time give what they gave, without computing it."""
        due = [unit for unit in self.units.values() if unit.stored and 0 < unit.end < before and unit not in replayed]
        for unit in sorted(due, key=lambda unit: unit.end):
            unit.module.forward = _constant(unit.output)  # type: ignore[arg-type]
            replayed.append(unit)

    def _run_again(self, replayed: list[_Unit]) -> None:
        for unit in replayed:
            del unit.module.forward
            unit.calls = 0
        replayed.clear()


@contextmanager
def without(model: nn.Module, block: Block) -> Iterator[None]:
    """The model itself less one block, in place, and whole again afterwards."""
    names = list(block.removal.stubs) or [block.name]
    kept = {name: model.get_submodule(name) for name in names}
    take_out(model, block.name, block.removal)
    try:
        yield
    finally:
        for name, module in kept.items():
            model.set_submodule(name, module)


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


@torch.no_grad()
def answers(
    model: nn.Module, blocks: Sequence[Block], parts: Sequence[Tensor], read: Callable[[Any], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """`read` (N, …) of the network's answers to all parts, whole and without each block."""
    whole: list[Tensor] = []
    less: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    ablation = Ablation(model, blocks)
    for part in parts:
        for name, found in ablation.run(part, read):
            (whole if name is None else less[name]).append(found)
    return torch.cat(whole), {name: torch.cat(found) for name, found in less.items()}
