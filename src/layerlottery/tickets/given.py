"""What score and find_ticket are given, made ready: the network, its blocks, the batches and the criterion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from layerlottery.config.criteria import CRITERIA, CriterionSettings
from layerlottery.config.loading import first_line
from layerlottery.criteria.batches import Batches, CheckedBatches, check_outputs
from layerlottery.criteria.own import scores_of
from layerlottery.criteria.ranking import BlockRanking, EqualScoresError, check_differ, rank_once
from layerlottery.criteria.score import rank_blocks
from layerlottery.criteria.scoring import Loss
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.answers import logits_of
from layerlottery.networks.blocks import Block, residual_blocks, why_none
from layerlottery.networks.copies import cloned, copied
from layerlottery.networks.eager import eager
from layerlottery.networks.examples import called_for, check_network, example_for
from layerlottery.networks.heads import with_random_head, zero_heads
from layerlottery.networks.inputs import Forward, count, network_of, rows
from layerlottery.tickets.progress import watched
from layerlottery.tickets.targets import whole

Criterion = str | CriterionSettings | Callable[..., dict[str, float]]


@dataclass(frozen=True)
class Way:
    """How a network is called and scored: arguments that score and find_ticket have in common."""

    forward: Forward | None = None
    loss: Loss | None = None
    head: Any = None
    branches: bool = False
    progress: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        given: Any = self.loss
        if given is not None and not callable(given):
            found = type(given).__name__
            raise LayerLotteryError(f"loss: found {found}; allowed: a function f(outputs, targets) of a batch")
        if self.head is not None and not (isinstance(self.head, str) and self.head == "random"):
            raise LayerLotteryError(f"head: found {self.head!r}; allowed: None, random")
        if (seed := whole(self.seed)) is None:
            raise LayerLotteryError(f"seed: found {self.seed!r}; allowed: a whole number")
        # NumPy's whole numbers can't be written as JSON, of which draws are derived
        object.__setattr__(self, "seed", seed)


@dataclass(frozen=True)
class Given:
    """A network, its blocks, what is looked at, and the criterion; `shown` is the first batch's inputs."""

    model: nn.Module
    blocks: Sequence[Block]
    batches: Any
    criterion: CriterionSettings | Callable[..., dict[str, float]]
    called: str
    shown: Any
    way: Way

    @classmethod
    def of(cls, model: nn.Module, batch: Batches | None, criterion: Criterion, way: Way, *, example: Any) -> Given:
        """All made ready; raises LayerLotteryError for what does not fit, and for a network without blocks."""
        check_network(model)
        chosen, called = chosen_criterion(criterion)
        built_in = isinstance(chosen, CriterionSettings)
        labelled = not built_in or chosen.formula.labels
        raw = way.loss is not None and way.forward is not None
        if batch is None:
            if not built_in or not chosen.formula.data_free:
                raise LayerLotteryError(f"batch: found none; {called} needs images{' and labels' if labelled else ''}")
            network = called_for(model, example, way.forward, raw=raw)
            blocks = residual_blocks(network, example, branches=way.branches)
            shown = example_for(network, example)
            batches: Any = (shown, torch.zeros(count(shown), dtype=torch.long))
        else:
            checked = CheckedBatches(model, batch, labelled=called if labelled else "", free=way.loss is not None)
            shown, targets = checked.first()
            shown = cloned(shown)  # a network may write into it
            network = called_for(model, shown, way.forward, raw=raw)
            blocks = residual_blocks(network, shown, branches=way.branches)
            if labelled and way.loss is None:
                checked.classes = _classes(network, (shown, targets))
            batches = checked.first() if checked.single else checked
        if not any(block.removable for block in blocks):
            raise LayerLotteryError(why_none(network, blocks, shown))
        return cls(network, blocks, batches, chosen, called, shown, way)

    def ranked(self, *, minimum: int = 1) -> BlockRanking:
        """Scores by block name, of which low goes first, or the sets that go together."""
        scored, seed = self.model, self.way.seed
        if self.way.head == "random":
            scored = with_random_head(self.model, rows(self.shown, slice(2)), seed=seed)
        what = f"{self.called} of {sum(block.removable for block in self.blocks)} removable blocks"
        with watched(self.batches, what, wanted=self.way.progress) as batches:
            try:
                return self._ranked(scored, batches, seed=seed, minimum=minimum)
            except EqualScoresError as error:
                if not zero_heads(scored, rows(self.shown, slice(2))):
                    raise
                raise LayerLotteryError(
                    f"{error}: this network's does; head='random' scores a copy with a random last layer, or start "
                    "from trained weights"
                ) from error

    def _ranked(self, scored: nn.Module, batches: Any, *, seed: int, minimum: int) -> BlockRanking:
        if not isinstance(self.criterion, CriterionSettings):
            removable = [block for block in self.blocks if block.removable]
            network = copied(network_of(scored)).eval()
            with torch.random.fork_rng():
                scores = scores_of(self.criterion, network, removable, batches, seed=seed)
            check_differ(scores.values(), self.called, "blocks")
            return rank_once(scores, keep="high")
        return rank_blocks(
            scored, batches, self.criterion, seed=seed, blocks=self.blocks, minimum=minimum, loss=self.way.loss
        )


def chosen_criterion(criterion: Criterion) -> tuple[Any, str]:
    """Settings or a function, and its name; raises LayerLotteryError for what scores no blocks."""
    if callable(criterion):
        return criterion, getattr(criterion, "__name__", type(criterion).__name__)
    fitting = ", ".join(name for name, one in CRITERIA.items() if one.fits("layers"))
    if isinstance(criterion, CriterionSettings):
        # a copy with changes was not looked at when it was made
        try:
            chosen, called = type(criterion).model_validate(vars(criterion)), criterion.function
        except ValidationError as error:
            raise LayerLotteryError(f"criterion: {first_line(error)}") from None
    elif isinstance(criterion, str) and criterion in CRITERIA:
        chosen, called = CRITERIA[criterion], criterion
    else:
        raise LayerLotteryError(f"criterion: found {criterion!r}; allowed: {fitting}")
    if not chosen.fits("layers"):
        raise LayerLotteryError(f"criterion: {called} scores no blocks; allowed: {fitting}")
    return chosen, called


def _classes(model: nn.Module, batch: tuple[Any, Tensor]) -> tuple[int, ...]:
    """Sizes of the logits' axes but the first; raises unless the network answers with logits for all labels."""
    inputs, labels = batch
    network = copied(model).eval()
    with torch.no_grad(), eager():
        logits = logits_of(network(rows(inputs, slice(1))))
    if isinstance(logits, Tensor) and logits.dim() and len(logits) == 1:
        logits = logits.expand(len(labels), *logits.shape[1:])
    check_outputs(logits, (inputs, labels))
    return tuple(logits.shape[1:])
