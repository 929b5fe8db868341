"""Layer tickets of anyone's network: find a smaller network before training it, keep it in a file, load it again."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from layerlottery.config.criteria import CRITERIA, CriterionSettings
from layerlottery.config.loading import first_line
from layerlottery.cost.network import macs, parameters, step_memory
from layerlottery.criteria.batches import Batches, CheckedBatches, check_outputs
from layerlottery.criteria.own import scores_of
from layerlottery.criteria.ranking import BlockRanking, check_differ, rank_once
from layerlottery.criteria.score import rank_blocks
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.answers import logits_of
from layerlottery.networks.blocks import Block, outermost, remove_blocks, residual_blocks, why_none
from layerlottery.networks.copies import copied, public
from layerlottery.networks.eager import eager
from layerlottery.networks.examples import example_for, unwrapped
from layerlottery.networks.removal import Removal
from layerlottery.networks.selection import removal_order, select, tied
from layerlottery.networks.weights import network_state, save_network
from layerlottery.store.artifacts import read_tensors
from layerlottery.store.hashing import digest

Criterion = str | CriterionSettings | Callable[..., dict[str, float]]
KIND = "layerlottery ticket"


@dataclass(frozen=True)
class Cost:
    """Cost of the whole network and of the ticket; memory in bytes is that of one float32 training step with SGD."""

    macs_before: int
    macs: int
    params_before: int
    params: int
    memory_before: int
    memory: int
    batch_size: int

    @property
    def flops_reduction(self) -> float:
        """Share of the multiply-accumulates that is gone, 0 to 1."""
        return 1 - self.macs / self.macs_before

    @property
    def params_reduction(self) -> float:
        """Share of the parameters that is gone, 0 to 1."""
        return 1 - self.params / self.params_before


@dataclass(frozen=True)
class Ticket:
    """A smaller network, what was removed and kept (names, in network order), the scores, and the cost.

    Scores hold every removable block; the lowest went first. `ties` are kept blocks whose score equals a removed one's.
    """

    model: nn.Module
    removed_blocks: list[str]
    kept: list[str]
    scores: dict[str, float]
    cost: Cost
    criterion: str
    ties: list[str] = field(default_factory=list)
    removals: dict[str, Removal] = field(default_factory=dict)
    image_shape: tuple[int, ...] = ()


@public
def score(
    model: nn.Module,
    batch: Batches | None = None,
    criterion: Criterion = "grasp",
    *,
    seed: int = 0,
    branches: bool = False,
    example: Tensor | None = None,
) -> dict[str, float]:
    """The score of every removable block by name, in network order; low goes first.

    `batch` is (images, labels), or an iterable or DataLoader of them that is read batch by batch, some criteria twice;
    criteria that look at no image need none. `criterion` is a name of `layerlottery.CRITERIA`, settings of one, or a
    function f(model, blocks, batches, *, seed) -> {block name: score}. Nothing about the model is changed, nor are
    random states. Raises LayerLotteryError for input that does not fit.
    """
    given = _Given.of(model, batch, criterion, branches=branches, example=example)
    return given.ranked(seed=seed).score


@public
def prune(model: nn.Module, remove: Collection[str], *, example: Tensor | None = None) -> nn.Module:
    """A smaller copy without the named blocks or single branches; the argument is untouched.

    The names are those of find_blocks; what is kept keeps its names and weights. `example` is a batch of images that
    shows what the network takes; it can be left out after find_blocks or score, and where images of a usual size will
    do. Of a wrapped model (DataParallel, torch.compile) the copy is the network inside. Raises LayerLotteryError for a
    name that can't be removed.
    """
    if not isinstance(remove, Iterable):
        raise LayerLotteryError(f"remove: found {remove!r}; allowed: names of blocks; find_ticket takes a number")
    names = [remove] if isinstance(remove, str) else list(remove)
    known = _known(model, names, example)
    for name in names:
        if name not in known or not known[name].removable:
            raise LayerLotteryError(_refusal(model, name, known))
    return remove_blocks(model, outermost(names), {name: known[name].removal for name in names})


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
    example: Tensor | None = None,
    **old: Any,
) -> Ticket:
    """Score the blocks and remove the lowest, at initialization or at any time.

    One target is given: `remove`, how many blocks go, or `remove_flops` or `remove_params`, the share (0 to 1) of the
    multiply-accumulates or parameters that goes at least, by as few blocks as that takes. Blocks of one shape that
    follow one another are a stage, which keeps `minimum_per_stage` of them (the paper keeps 2, the first among them).
    The other arguments are those of `score`. Raises LayerLotteryError when the target is beyond what is possible.
    """
    targets = {"remove": remove, "remove_flops": remove_flops, "remove_params": remove_params}
    key, target = _only_target(targets, old)
    given = _Given.of(model, batch, criterion, branches=branches, example=example)
    ranked = given.ranked(seed=seed, minimum=minimum_per_stage)
    rows = [vars(block) | {"score": ranked.score.get(block.name)} for block in given.blocks]
    selected = partial(select, rows, minimum=minimum_per_stage, sets=ranked.sets)
    chosen = given.chosen(selected, len(removal_order(rows, minimum=minimum_per_stage)), key, target)
    removals = {block.name: block.removal for block in given.blocks if block.name in chosen}
    small = remove_blocks(model, removals, removals)
    return Ticket(
        small,
        removed_blocks=list(removals),
        kept=[block.name for block in given.blocks if block.removable and block.name not in removals],
        scores=ranked.score,
        cost=given.cost(small),
        criterion=given.called,
        ties=tied(rows, chosen, sets=ranked.sets),
        removals=removals,
        image_shape=given.shape,
    )


@public
def save_ticket(ticket: Ticket, path: str | Path) -> None:
    """Write a ticket's weights and facts to a safetensors file, atomically and with a hash of its content."""
    removals = {name: removal.facts() for name, removal in ticket.removals.items()}
    facts = {"kind": KIND} | vars(ticket) | {"cost": asdict(ticket.cost), "removals": removals}
    del facts["model"]
    made_by = digest([KIND, ticket.removed_blocks, ticket.criterion])
    save_network(Path(path), unwrapped(ticket.model), facts, config_hash=made_by)


@public
def load_ticket(path: str | Path, model_factory: Callable[[], nn.Module]) -> Ticket:
    """The ticket in a file of `save_ticket`; `model_factory` makes the whole network that it was cut from.

    Raises LayerLotteryError when the file is damaged or no ticket, or when the factory's network does not fit.
    """
    if isinstance(model_factory, nn.Module) or not callable(model_factory):
        found = type(model_factory).__name__
        raise LayerLotteryError(f"model_factory: found a {found}; allowed: a function that makes the whole network")
    arrays, facts = read_tensors(Path(path))
    if facts.get("kind") != KIND:
        raise LayerLotteryError(f"{path}: holds no ticket; allowed: files of save_ticket")
    if "removed" in facts:  # as an earlier version called it
        facts["removed_blocks"] = facts.pop("removed")
    model = model_factory()
    try:
        return _restored(model, arrays, facts)
    except (RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise LayerLotteryError(f"{path}: does not fit {type(model).__name__} of the factory; {last[:200]}") from error


def _restored(model: nn.Module, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> Ticket:
    """The ticket of a file's facts; of all that they hold only names of blocks and activations change the model."""
    removals = {name: Removal.from_facts(one) for name, one in facts["removals"].items()}
    small = remove_blocks(model, facts["removed_blocks"], removals)
    _load(small, network_state(arrays, facts))
    held = {one.name: facts[one.name] for one in fields(Ticket) if one.name != "model"}
    held |= {"cost": Cost(**facts["cost"]), "removals": removals, "image_shape": tuple(facts["image_shape"])}
    return Ticket(small, **held)


def _load(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a state; raises RuntimeError where that would round."""
    for name, own in model.state_dict().items():
        held = state.get(name)
        if (
            isinstance(held, Tensor)
            and isinstance(own, Tensor)
            and torch.promote_types(held.dtype, own.dtype) != own.dtype
        ):
            raise RuntimeError(f"{name} is {held.dtype} in the file and {own.dtype} in the network")
    model.load_state_dict(state)


@dataclass(frozen=True)
class _Given:
    """A network, its blocks, what is looked at, and the criterion."""

    model: nn.Module
    blocks: Sequence[Block]
    batches: Any
    criterion: CriterionSettings | Callable[..., dict[str, float]]
    called: str
    shown: Tensor

    @classmethod
    def of(
        cls, model: nn.Module, batch: Batches | None, criterion: Criterion, *, branches: bool, example: Tensor | None
    ) -> _Given:
        chosen, called = _chosen_criterion(criterion)
        if batch is None:
            if not isinstance(chosen, CriterionSettings) or not chosen.formula.data_free:
                raise LayerLotteryError(f"batch: found none; {called} needs images and labels")
            blocks = residual_blocks(model, example, branches=branches)
            shown = example_for(model, example)
            batches: Any = (shown, torch.zeros(len(shown), dtype=torch.long))
        else:
            batches = CheckedBatches(model, batch)
            shown, labels = batches.first()
            blocks = residual_blocks(model, shown, branches=branches)
            batches.classes = _classes(model, (shown, labels))
            batches = batches.first() if batches.single else batches
        if not any(block.removable for block in blocks):
            raise LayerLotteryError(why_none(model, blocks, shown))
        return cls(model, blocks, batches, chosen, called, shown)

    def ranked(self, *, seed: int, minimum: int = 1) -> BlockRanking:
        """Scores by block name, of which low goes first, or the sets that go together."""
        if not isinstance(self.criterion, CriterionSettings):
            removable = [block for block in self.blocks if block.removable]
            network = copied(unwrapped(self.model)).eval()
            with torch.random.fork_rng():
                scores = scores_of(self.criterion, network, removable, self.batches, seed=seed)
            check_differ(scores.values(), self.called, "blocks")
            return rank_once(scores, keep="high")
        return rank_blocks(self.model, self.batches, self.criterion, seed=seed, blocks=self.blocks, minimum=minimum)

    def cost(self, small: nn.Module) -> Cost:
        """Of the network and of a smaller one, at the size of the first batch."""
        whole, count = unwrapped(self.model), len(self.shown)
        return Cost(
            self.macs(whole),
            self.macs(small),
            parameters(whole),
            parameters(small),
            step_memory(whole, self.shape, batch_size=count, example=self.shown),
            step_memory(small, self.shape, batch_size=count, example=self.shown),
            count,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.shown.shape[1:])

    def macs(self, model: nn.Module) -> int:
        """Multiply-accumulates of the network or a smaller one on the first image."""
        return macs(model, self.shape, example=self.shown)

    def chosen(self, selected: Callable[[int], list[str]], most: int, key: str, target: float) -> list[str]:
        """The blocks that the target takes; `selected` gives those of a number, `most` at most."""
        if key == "remove":
            if not 0 <= target <= most:
                raise LayerLotteryError(f"remove: found {target}; this network allows 0 to {most} blocks")
            return selected(int(target))
        count = {"remove_flops": self.macs, "remove_params": parameters}[key]
        whole, share = count(unwrapped(self.model)), 0.0
        removals = {block.name: block.removal for block in self.blocks}
        for number in range(most + 1):
            names = selected(number)
            share = 1 - count(remove_blocks(self.model, names, removals)) / whole
            if target <= share:
                return names
        raise LayerLotteryError(f"{key}: found {target}; removing all {most} blocks that may go takes {share:.4f} away")


# what find_ticket's targets were called once
OLD_TARGETS = {"density": "remove", "flops": "remove_flops", "params": "remove_params"}


def _only_target(targets: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[str, float]:
    """The one target that is given; raises LayerLotteryError unless there is one, and a share is from 0 to 1."""
    for name in old:
        if name not in OLD_TARGETS:
            raise LayerLotteryError(f"{name}: unknown argument; allowed: {', '.join(targets)}")
        raise LayerLotteryError(f"{name}: now called {OLD_TARGETS[name]}")
    found = {key: value for key, value in targets.items() if value is not None}
    if len(found) != 1:
        raise LayerLotteryError(f"target: found {', '.join(found) or 'none'}; allowed: one of {', '.join(targets)}")
    ((key, value),) = found.items()
    if key == "remove":
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            shares = "; a share goes with remove_flops or remove_params" if isinstance(value, float) else ""
            raise LayerLotteryError(f"remove: found {value!r}; allowed: a whole number of blocks{shares}")
        return key, index(value)
    if isinstance(value, bool) or not isinstance(value, SupportsFloat) or not 0 <= float(value) <= 1:
        number = float(value) if isinstance(value, SupportsFloat) else math.nan
        meant = f"; did you mean {number / 100:g}?" if 1 < number <= 100 else ""
        raise LayerLotteryError(f"{key}: found {value!r}; allowed: a share from 0 to 1{meant}")
    return key, float(value)


def _chosen_criterion(criterion: Criterion) -> tuple[Any, str]:
    if callable(criterion):
        return criterion, getattr(criterion, "__name__", type(criterion).__name__)
    fitting = ", ".join(name for name, one in CRITERIA.items() if one.fits("layers"))
    if isinstance(criterion, CriterionSettings):
        # a copy with changes was not looked at when it was made
        try:
            chosen, called = type(criterion).model_validate(vars(criterion)), criterion.function
        except ValidationError as error:
            raise LayerLotteryError(f"criterion: {first_line(error)}") from None
    elif criterion in CRITERIA:
        chosen, called = CRITERIA[criterion], criterion
    else:
        raise LayerLotteryError(f"criterion: found {criterion!r}; allowed: {fitting}")
    if not chosen.fits("layers"):
        raise LayerLotteryError(f"criterion: {called} scores no blocks; allowed: {fitting}")
    return chosen, called


def _classes(model: nn.Module, batch: tuple[Tensor, Tensor]) -> int:
    """How many there are; raises unless the network answers with logits for all labels."""
    images, labels = batch
    network = copied(unwrapped(model)).eval()
    with torch.no_grad(), eager():
        logits = logits_of(network(images[:1]))
    if isinstance(logits, Tensor) and logits.dim() == 2:
        logits = logits.expand(len(images), -1)
    check_outputs(logits, (images, labels))
    return int(logits.shape[1])


def _known(model: nn.Module, names: Sequence[str], example: Tensor | None) -> dict[str, Block]:
    """Blocks, and single branches if a name is none of the blocks."""
    known = {block.name: block for block in residual_blocks(model, example)}
    if any(name not in known for name in names):
        known |= {block.name: block for block in residual_blocks(model, example, branches=True)} | known
    return known


def _refusal(model: nn.Module, name: str, known: Mapping[str, Block]) -> str:
    modules = dict(unwrapped(model).named_modules())
    allowed = ", ".join(one for one, block in known.items() if block.removable) or "none"
    if name in known:
        reason = known[name].reason
    elif name in modules:
        reason = "it is no residual block: nothing shows an identity around it"
    else:
        reason = f"{type(unwrapped(model)).__name__} has no module of this name"
    return f"block {name!r} can't be removed: {reason}; removable are {allowed}"
