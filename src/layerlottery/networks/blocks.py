"""Finding the residual blocks of a network and removing them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.resnet import BasicBlock


@dataclass(frozen=True)
class Block:
    """A residual block: its named_modules() name, its stage, and whether it may go."""

    name: str
    stage: str
    removable: bool


def find_blocks(model: nn.Module) -> list[Block]:
    """All residual blocks in network order.

    Removable are those whose shortcut is the identity, save the first block of a stage, which follows
    the stem or changes the shape (Jordao et al. 2023, section 3).
    """
    found: list[Block] = []
    for name, module in model.named_modules():
        if isinstance(module, BasicBlock):
            stage = name.rpartition(".")[0]
            first = all(block.stage != stage for block in found)
            found.append(Block(name, stage, isinstance(module.shortcut, nn.Identity) and not first))
    return found


def remove_blocks(model: nn.Module, names: Collection[str]) -> nn.Module:
    """A smaller copy without the named blocks; the kept ones keep their weights and their names."""
    removable = {block.name for block in find_blocks(model) if block.removable}
    for name in names:
        if name not in removable:
            allowed = ", ".join(sorted(removable)) or "none"
            raise LayerLotteryError(f"block {name!r} can't be removed; removable are {allowed}")
    small = copy.deepcopy(model)
    for parent in {name.rpartition(".")[0] for name in names}:
        kept = OrderedDict(
            (child, module)
            for child, module in small.get_submodule(parent).named_children()
            if f"{parent}.{child}" not in names
        )
        small.set_submodule(parent, nn.Sequential(kept))
    return small
