"""What rectifiers are given, in any network, whether they are modules or functions; and EASIER, which asks that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.features import FIRST, LAST

# with a slope of 0 for negative numbers and 1 for positive ones
RELUS = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
# these bend near zero, too: Swin's layers in EASIER are of the kind
RECTIFIERS = RELUS | {F.relu6, F.leaky_relu, F.leaky_relu_, F.prelu, F.elu, F.celu, F.selu}
RECTIFIERS |= {F.hardtanh, F.gelu, F.silu, F.mish, F.softplus, F.hardswish}


class AtRectifiers(TorchFunctionMode):
    """While it is active, `instead` computes rectifiers: of the function, its input, and where that has its channels.

    The axis is that of the last layer before the rectifier that has one: 1 or -1, or 1 where there is none.
    """

    def __init__(self, instead: Callable[[Callable[..., Tensor], Tensor, int], Tensor]) -> None:
        super().__init__()
        self.instead, self.axis = instead, 1

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if func in FIRST or func in LAST:
            self.axis = 1 if func in FIRST else -1
        if func not in RECTIFIERS:
            return func(*args, **keywords)
        given, *rest = args if args else (keywords.pop("input"),)
        return self.instead(lambda stream: func(stream, *rest, **keywords), given, self.axis)


@criterion(names={"easier": {"batchnorm": "eval"}}, needs="forward")
def sign_entropy(given: Scoring) -> dict[str, float]:
    """Entropy in bits of the sign of what rectifiers are given (EASIER, Quétu et al. 2024); the lowest goes.

    For each channel p is the share of positive values among those that are not zero, over images and positions, and
    H = −p log₂ p − (1 − p) log₂ (1 − p); a rectifier has the mean over its channels. With 0 it is linear for all
    images. The source takes single rectifiers out; the mean over those of a block is an extension of it.
    """
    counts = _signs(given)
    for name, found in counts.items():
        if not found:
            raise LayerLotteryError(f"block {name}: found no rectifier; easier scores blocks that hold a ReLU, GELU, …")
    return {name: sum(map(_entropy, found)) / len(found) for name, found in counts.items()}


def _entropy(signs: Tensor) -> float:
    """Mean entropy in bits over channels, of counts (2, channels) of positive and of negative values."""
    shares = signs / signs.sum(0).clamp(min=1)
    return float(torch.special.entr(shares).sum(0).mean()) / math.log(2)


@torch.no_grad()
def _signs(given: Scoring) -> dict[str, list[Tensor]]:
    """Counts (2, channels) of positive and of negative inputs of each rectifier of each block, over all images."""
    found: dict[str, list[Tensor]] = {block.name: [] for block in given.blocks}
    # the blocks that the pass is in, with the number of rectifiers so far
    within: list[tuple[str, itertools.count[int]]] = []

    def enter(name: str, module: nn.Module, args: Any) -> None:
        within.append((name, itertools.count()))

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        within.pop()

    def note(rectify: Callable[[Tensor], Tensor], stream: Tensor, axis: int) -> Tensor:
        if within:
            name, place = within[-1][0], next(within[-1][1])
            values = stream.movedim(axis, 0).flatten(1)
            signs = torch.stack([(values > 0).sum(1), (values < 0).sum(1)]).double()
            if place < len(found[name]):
                found[name][place] += signs
            else:
                found[name].append(signs)
        return rectify(stream)

    with ExitStack() as hooks:
        for block in given.blocks:
            module = given.model.get_submodule(block.name)
            hooks.enter_context(module.register_forward_pre_hook(partial(enter, block.name)))
            hooks.enter_context(module.register_forward_hook(leave))
        hooks.enter_context(AtRectifiers(note))
        for images in itertools.chain.from_iterable(given.parts()):
            given.model(images)
    return found
