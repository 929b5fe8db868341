"""Taking residual blocks, or single branches of them, out of a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError

# activations that stand in a forward method as functions are written as modules when they stay
BUILT_IN = "nn."
# outputs of a branch, in a tuple
LONGEST = 100


@dataclass(frozen=True)
class Removal:
    """How a block or branch leaves a network, in a form that a file can hold.

    Of a whole block only what `stays` behind its addition is left: modules in it by name, or activations as `nn.ReLU`.
    A single branch leaves by `stubs` in place of sub-modules, by their full name: 0 gives zeros like its first
    argument, n > 0 a tuple of n that starts with them; -1 passes the first argument on, -n - 1 in a tuple of n.
    `extra` says that the block is called with more than one argument, or with a tuple that starts with the stream;
    `gives` that it gives a tuple of so many, and `passes` which arguments, by place or name, its items but the first
    are: "" is None.
    """

    stays: tuple[str, ...] = ()
    stubs: Mapping[str, int] = field(default_factory=dict)
    extra: bool = False
    gives: int = 0
    passes: tuple[str, ...] = ()

    @property
    def trivial(self) -> bool:
        """Whether a plain identity takes the place."""
        return not (self.stays or self.stubs or self.extra or self.gives)

    def facts(self) -> dict[str, Any]:
        """The same as JSON."""
        facts = asdict(self) | {"stays": list(self.stays), "passes": list(self.passes)}
        return {key: value for key, value in facts.items() if value or key not in ("gives", "passes")}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Removal:
        """The removal that `facts` describes."""
        stubs = {str(name): int(length) for name, length in facts["stubs"].items()}
        gives, passes = int(facts.get("gives", 0)), tuple(map(str, facts.get("passes", ())))
        if (longest := max(gives, len(passes), *map(abs, stubs.values()), 0)) > LONGEST:
            raise LayerLotteryError(f"removals: found a tuple of {longest}; allowed: at most {LONGEST}")
        return cls(tuple(facts["stays"]), stubs, bool(facts["extra"]), gives, passes)


class FirstArgument(nn.Sequential):
    """Passes its first argument on, through what stays of a block, whatever else it is called with.

    Of a tuple its first item goes through what stays. With a length, it gives a tuple of so many that holds None, or
    the arguments that `passes` names by place or name.
    """

    def __init__(
        self, stays: OrderedDict[str, nn.Module] | None = None, *, length: int = 0, passes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(stays or OrderedDict())
        self.length, self.passes = length, passes

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else next(iter(kwargs.values()))
        stream, *rest = given if isinstance(given, tuple) else (given,)
        for module in self:
            stream = module(stream)
        if isinstance(given, tuple):
            return (stream, *rest)
        named = {str(place): one for place, one in enumerate(args)} | kwargs
        return (stream, *map(named.get, self.passes or [""] * (self.length - 1))) if self.length else stream


class Zeros(nn.Module):
    """Zeros like the first argument; with a length, a tuple of so many that starts with them and holds None."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        zeros = torch.zeros_like(x)
        return (zeros, *[None] * (self.length - 1)) if self.length else zeros


def take_out(model: nn.Module, name: str, removal: Removal) -> None:
    """Remove the block or branch `name` in place; names and weights of all else stay as they are."""
    for stubbed, length in removal.stubs.items():
        model.set_submodule(stubbed, FirstArgument(length=-length - 1) if length < 0 else Zeros(length))
    if not removal.stubs:
        model.set_submodule(name, left_over(model.get_submodule(name), removal))


def left_over(block: nn.Module, removal: Removal) -> nn.Module:
    """The module that takes a block's place; it shares the modules that stay."""
    stays = _nested([_staying(block, stay) for stay in removal.stays])
    if removal.extra or removal.gives:
        return FirstArgument(stays, length=removal.gives, passes=removal.passes)
    return nn.Sequential(stays) if stays else nn.Identity()


def _nested(modules: Sequence[tuple[str, nn.Module]]) -> OrderedDict[str, nn.Module]:
    """Modules that run one after another, under their names: those within another module lie in one of its name."""
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for name, group in groupby(modules, key=lambda one: one[0].partition(".")[0]):
        within = list(group)
        if name in found:
            raise LayerLotteryError(f"stays: parts of {name!r} are apart; allowed: parts that follow one another")
        deeper = [(inner.partition(".")[2], module) for inner, module in within]
        found[name] = nn.Sequential(_nested(deeper)) if deeper[0][0] else within[0][1]
    return found


def _staying(block: nn.Module, stay: str) -> tuple[str, nn.Module]:
    """A name and a module for it: a child of the block, whose weights are shared, or a new activation."""
    if not stay.startswith(BUILT_IN):
        return stay, block.get_submodule(stay)
    name = stay.removeprefix(BUILT_IN)
    kind = getattr(nn, name, None)
    # a file of results names it, which may come from anywhere
    if not isinstance(kind, type) or kind.__module__ != nn.ReLU.__module__:
        raise LayerLotteryError(f"stays: found {stay!r}; allowed: activations of torch.nn")
    return name.lower(), kind()
