"""Outputs of a network's blocks and of its penultimate layer for given images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.trace import tensors_of

PENULTIMATE = "penultimate"


@contextmanager
def captured(
    model: nn.Module, names: Sequence[str], read: Callable[[str, Tensor], Tensor] = lambda name, output: output
) -> Iterator[dict[str, Tensor]]:
    """A dict that holds, after each forward pass, the outputs of the named modules, detached.

    Or what `read` makes of a name and its output, as soon as there is one: while a cache has it, before a later layer
    can write into it, and with no need to keep them all. `penultimate` is the input of the network's classifier,
    (N, features).
    """
    held: dict[str, Tensor] = {}

    def hold(name: str, output: Tensor) -> None:
        held[name] = read(name, output.detach())

    def after(name: str, module: nn.Module, given: object, out: object) -> None:
        hold(name, next(tensors_of(out)))

    with ExitStack() as hooks:
        for name in names:
            if name == PENULTIMATE:
                before = last_linear(model).register_forward_pre_hook(lambda _, given: hold(PENULTIMATE, given[0]))
                hooks.enter_context(before)
            else:
                hooks.enter_context(model.get_submodule(name).register_forward_hook(partial(after, name)))
        yield held


def channel_axis(module: nn.Module, shape: Sequence[int]) -> int:
    """Where a module has the channels of its output (N, *shape): 1, or -1 as transformers do.

    Its first layer with channels says how many there are.
    """
    if len(shape) == 2:
        return -1
    for layer in module.modules():
        for size in ("in_channels", "num_features", "normalized_shape", "in_features", "embed_dim"):
            found = getattr(layer, size, None)
            channels = found[-1] if isinstance(found, tuple) else found
            if channels:
                return -1 if shape[0] != channels == shape[-1] else 1
    return 1


def last_linear(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The classifier: the last fully connected layer, or the last convolution where a network has none."""
    for kind in (nn.Linear, nn.Conv2d):
        if found := [module for module in model.modules() if isinstance(module, kind)]:
            return found[-1]
    raise LayerLotteryError(f"{type(model).__name__}: has no fully connected layer and no convolution to classify with")
