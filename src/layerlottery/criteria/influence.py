"""Criteria of how far a block, or successive ones, turn what passes through them: block influence and angle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.networks.trace import tensors_of


@criterion(names={"block_influence": {"batchnorm": "eval"}}, needs="forward", spans=True)
def influence(given: Scoring) -> dict[str, float]:
    """1 − E[cos(x, y)] of a block's input x and output y (ShortGPT, Men et al. 2024); the lowest go.

    The source compares tokens. In feature maps the counterpart of a token is a position: the cosine is taken over the
    channels of each, and the mean over all positions and images. A block with an identity as its shortcut has inputs
    and outputs of one shape. Of successive blocks, x is the input of the first and y the output of the last.
    """
    return _means(given, lambda cosine: 1 - cosine)


@criterion(
    names={
        "angular": {"batchnorm": "eval", "select": "span"},
        "angular_deepest": {"batchnorm": "eval", "select": "deepest"},
    },
    needs="forward",
    spans=True,
)
def angular(given: Scoring) -> dict[str, float]:
    """E[arccos(cos(x, y))] / π of the input x and output y of successive blocks (Gromov et al. 2024).

    From 0 to 1; the span of n blocks with the smallest goes. The source looks at the last token alone, which has seen
    all others; here it is the mean over all positions and images, as for block influence. `angular_deepest` is the
    source's control, which removes the deepest blocks.
    """
    return _means(given, lambda cosine: cosine.clamp(-1, 1).arccos() / math.pi)


@torch.no_grad()
def _means(given: Scoring, of: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """The mean over images and positions of a function of the cosine, for each span or each block by itself."""
    spans = given.spans or {block.name: [block.name] for block in given.blocks}
    sums, count = dict.fromkeys(spans, 0.0), dict.fromkeys(spans, 0)
    with _passing(given.model, given.blocks) as (inputs, outputs):
        for images in itertools.chain.from_iterable(given.parts()):
            given.model(images)
            for called, span in spans.items():
                values = of(_cosines(inputs[span[0]], outputs[span[-1]]))
                sums[called] += values.sum().item()
                count[called] += values.numel()
    return {called: total / count[called] for called, total in sums.items()}


@contextmanager
def _passing(model: nn.Module, blocks: Sequence[Block]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Unit vectors (…, channels) in float64 of what goes into each block and comes out, after each forward pass."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def before(block: Block, module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs[block.name] = _units(block, next(tensors_of((args, kwargs))))

    def after(block: Block, module: nn.Module, args: Any, out: Any) -> None:
        outputs[block.name] = _units(block, next(tensors_of(out)))

    with ExitStack() as hooks:
        for block in blocks:
            if block.removal.stubs:
                raise LayerLotteryError(f"block {block.name}: is a branch, which is given no stream; allowed: blocks")
            module = model.get_submodule(block.name)
            hooks.enter_context(module.register_forward_pre_hook(partial(before, block), with_kwargs=True))
            hooks.enter_context(module.register_forward_hook(partial(after, block)))
        yield inputs, outputs


def _units(block: Block, stream: Tensor) -> Tensor:
    """A copy, since later layers may write into the stream; vectors of zeros stay what they are."""
    vectors = stream.movedim(block.channel_axis, -1).double()
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    units: Tensor = vectors / lengths.where(lengths > 0, 1)
    return units


def _cosines(before: Tensor, after: Tensor) -> Tensor:
    """Of vectors along the last axis, each a unit or zeros: 1 between zeros, which nothing turned, and 0 to others."""
    return (before * after).sum(-1) + ((before == 0).all(-1) & (after == 0).all(-1))
