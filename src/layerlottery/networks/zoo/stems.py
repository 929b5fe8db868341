"""First layers: channels other than colour, and smaller strides for small images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from layerlottery.errors import LayerLotteryError


@dataclass(frozen=True)
class SmallStem:
    """The changes of `stem: small`: the first convolution, by name, gets stride 1, and the max-pool behind it goes.

    With `kernel` the convolution is a new one of that size, padded to keep the side; without, it keeps its weights.
    """

    convolution: str
    kernel: int | None = None
    pool: str | None = None


def take_channels(model: nn.Module, channels: int) -> None:
    """Replace the first convolution in place by one that takes `channels`, unless it does."""
    name, first = next((name, one) for name, one in model.named_modules() if isinstance(one, nn.Conv2d))
    if first.in_channels != channels:
        model.set_submodule(name, _like(first, channels=channels))


def make_small(model: nn.Module, stems: Mapping[str, SmallStem], *, called: str) -> None:
    """Adapt the first layers to small images, in place, as `stems` says for the network's class.

    Raises LayerLotteryError for a class that it says nothing about.
    """
    stem = stems.get(type(model).__name__)
    first = dict(model.named_modules()).get(stem.convolution) if stem else None
    if stem is None or not isinstance(first, nn.Conv2d):
        raise LayerLotteryError(
            f"networks: stem small is not known for {called} ({type(model).__name__}); "
            f"allowed: plain stems of {', '.join(stems)}, and as_is"
        )
    if stem.kernel is None:
        first.stride = (1, 1)
    else:
        model.set_submodule(stem.convolution, _like(first, kernel=stem.kernel))
    if stem.pool is not None:
        model.set_submodule(stem.pool, nn.Identity())


def _like(old: nn.Conv2d, *, channels: int | None = None, kernel: int | None = None) -> nn.Conv2d:
    """A convolution with other input channels, or with another kernel, stride 1 and the padding that keeps the side.

    Drawn by He et al.'s rule (fan out), as the networks with BatchNorm draw theirs; one with a bias, the patches of
    transformers and their like, by LeCun's (fan in).
    """
    if old.groups != 1:
        raise LayerLotteryError("networks: the first convolution is grouped; its channels can't be changed")
    shape: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    if kernel is not None:
        shape = {"kernel_size": kernel, "stride": 1, "padding": kernel // 2}
    new = nn.Conv2d(channels or old.in_channels, old.out_channels, bias=old.bias is not None, **shape)
    if new.bias is None:
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.kaiming_normal_(new.weight, mode="fan_in", nonlinearity="linear")
        nn.init.zeros_(new.bias)
    return new
