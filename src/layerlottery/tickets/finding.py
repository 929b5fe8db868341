"""Scores of a network's blocks, and the tickets without the lowest or without those that someone names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from layerlottery.cost.network import macs, parameters
from layerlottery.criteria.batches import Batches
from layerlottery.criteria.scoring import Loss
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, outermost, remove_blocks, residual_blocks
from layerlottery.networks.copies import public
from layerlottery.networks.examples import called_for, example_for
from layerlottery.networks.inputs import Forward, as_inputs, called_like, named, network_of
from layerlottery.networks.selection import tied
from layerlottery.tickets.given import Criterion, Given, Way
from layerlottery.tickets.targets import check_minimum, chosen, only_target
from layerlottery.tickets.ticket import BY_HAND, Ticket, cost_of, image_shape


@public
def score(
    model: nn.Module,
    batch: Batches | None = None,
    criterion: Criterion = "grasp",
    *,
    seed: int = 0,
    branches: bool = False,
    example: Any = None,
    forward: Forward | None = None,
    loss: Loss | None = None,
    head: str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """The score of every removable block by name, in network order; low goes first.

    `batch` is (images, labels), or an iterable or DataLoader of them that is read batch by batch, some criteria twice;
    images alone for criteria that look at no labels, and nothing for those that look at no image. In place of images
    there may be token ids, or a dict of the network's arguments. `criterion` is a name of `layerlottery.CRITERIA`,
    settings of one, or a function f(model, blocks, batches, *, seed) -> {block name: score}.

    `forward(model, inputs)` says how the network is called, `loss(outputs, targets)` what takes the place of the
    cross-entropy of its logits: the mean over a batch, as a tensor. `head="random"` scores a copy whose last layer is
    random, for networks whose last layer starts at zero. `progress` shows a bar in terminals and notebooks after two
    seconds. Nothing about the model is changed, nor are random states. Raises LayerLotteryError for input that does not
    fit.
    """
    way = Way(forward=forward, loss=loss, head=head, branches=branches, progress=progress, seed=seed)
    return Given.of(model, batch, criterion, way, example=example).ranked().score


@public
def find_ticket(
    model: nn.Module,
    batch: Batches | None = None,
    criterion: Criterion = "grasp",
    *,
    remove: int | None = None,
    remove_flops: float | None = None,
    remove_params: float | None = None,
    minimum_per_stage: int = 1,
    branches: bool = False,
    seed: int = 0,
    example: Any = None,
    forward: Forward | None = None,
    loss: Loss | None = None,
    head: str | None = None,
    progress: bool = True,
    **old: Any,
) -> Ticket:
    """Score the blocks and remove the lowest, at initialization or at any time.

    One target is given: `remove`, how many blocks go, or `remove_flops` or `remove_params`, the share (0 to 1) of the
    multiply-accumulates or parameters that goes at least, by as few blocks as that takes. Blocks of one shape that
    follow one another are a stage, which keeps `minimum_per_stage` of them (the paper keeps 2, the first among them).
    The other arguments are those of `score`; the ticket's own last layer is the network's. Raises LayerLotteryError
    when the target is beyond what is possible.
    """
    targets = {"remove": remove, "remove_flops": remove_flops, "remove_params": remove_params}
    key, target = only_target(targets, old)
    check_minimum(minimum_per_stage)
    way = Way(forward=forward, loss=loss, head=head, branches=branches, progress=progress, seed=seed)
    given = Given.of(model, batch, criterion, way, example=example)
    ranked = given.ranked(minimum=minimum_per_stage)
    rows = [vars(block) | {"score": ranked.score.get(block.name)} for block in given.blocks]
    share = _Share(given, key)
    gone = chosen(rows, key, target, minimum=minimum_per_stage, sets=ranked.sets, share=share)
    removals = {block.name: block.removal for block in given.blocks if block.name in gone}
    network = network_of(given.model)
    small = remove_blocks(network, removals, removals)
    return Ticket(
        small,
        removed_blocks=list(removals),
        kept=[block.name for block in given.blocks if block.removable and block.name not in removals],
        scores=ranked.score,
        cost=cost_of(given.model, small, given.shown),
        criterion=given.called,
        ties=tied(rows, gone, sets=ranked.sets),
        removals=removals,
        image_shape=image_shape(given.shown),
        whole=network,
        forward=forward,
    )


class _Share:
    """The share of the multiply-accumulates or parameters that goes with some blocks."""

    def __init__(self, given: Given, key: str) -> None:
        self.given, self.removals = given, {block.name: block.removal for block in given.blocks}
        self.counts_macs = key == "remove_flops"
        self.whole = 0

    def __call__(self, names: Sequence[str]) -> float:
        self.whole = self.whole or self._count(network_of(self.given.model))
        return 1 - self._count(remove_blocks(network_of(self.given.model), names, self.removals)) / self.whole

    def _count(self, network: nn.Module) -> int:
        if not self.counts_macs:
            return parameters(network)
        shown = self.given.shown
        return macs(called_like(self.given.model, network), image_shape(shown), example=shown)


@public
def prune(model: nn.Module, remove: Collection[str], *, example: Any = None, forward: Forward | None = None) -> Ticket:
    """The ticket without the named blocks or single branches: `prune(…).model` is the smaller network.

    The names are those of find_blocks; what is kept keeps its names and weights, and the argument is untouched.
    `example` is a batch that shows what the network takes; it can be left out after find_blocks or score, and where
    images of a usual size will do. The cost is that of the example's size. Of a wrapped model (DataParallel,
    torch.compile) the ticket is that of the network inside. Raises LayerLotteryError for a name that can't be removed.
    """
    if not isinstance(remove, Iterable):
        raise LayerLotteryError(f"remove: found {remove!r}; allowed: names of blocks; find_ticket takes a number")
    names = [remove] if isinstance(remove, str) else list(remove)
    if others := [name for name in names if not isinstance(name, str)]:
        raise LayerLotteryError(f"remove: found {others[0]!r}; allowed: names of blocks")
    called = called_for(model, example, forward)
    units, known = _known(called, names, example)
    for name in names:
        if name not in known or not known[name].removable:
            raise LayerLotteryError(_refusal(called, name, known))
    gone = outermost(names)
    removals = {name: block.removal for name, block in known.items() if name in gone}
    network = network_of(called)
    small = remove_blocks(network, removals, removals)
    shown = example_for(called, None) if example is None else as_inputs(example)
    return Ticket(
        small,
        removed_blocks=list(removals),
        kept=[one for one in units if units[one].removable and not any(f"{one}.".startswith(f"{n}.") for n in gone)],
        scores={},
        cost=cost_of(called, small, shown),
        criterion=BY_HAND,
        removals=removals,
        image_shape=image_shape(shown),
        whole=network,
        forward=forward,
    )


def _known(model: nn.Module, names: Sequence[str], example: Any) -> tuple[Mapping[str, Block], Mapping[str, Block]]:
    """The blocks, or the single branches if a name is none of the blocks; and all that can be named."""
    blocks = {block.name: block for block in residual_blocks(model, example)}
    if all(name in blocks for name in names):
        return blocks, blocks
    units = {block.name: block for block in residual_blocks(model, example, branches=True)}
    known = units | blocks
    return (units if any(name in units and name not in blocks for name in names) else blocks), known


def _refusal(model: nn.Module, name: str, known: Mapping[str, Block]) -> str:
    modules = dict(model.named_modules(remove_duplicate=False))
    twin = next((one for one in known if name in modules and modules.get(one) is modules[name]), None)
    allowed = ", ".join(one for one, block in known.items() if block.removable) or "none"
    if name in known:
        reason = known[name].reason
    elif twin is not None:
        reason = f"it is the same module as {twin}"
    elif name in modules:
        reason = "it is no residual block: nothing shows an identity around it"
    else:
        reason = f"{named(model)} has no module of this name"
    return f"block {name!r} can't be removed: {reason}; removable are {allowed}"
