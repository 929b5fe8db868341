"""A ticket: a smaller network, what was removed from the whole one, and what that saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from layerlottery.cost.latency import in_turns
from layerlottery.cost.network import macs, parameters, step_memory
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import cloned, copied, public
from layerlottery.networks.eager import eager
from layerlottery.networks.examples import called_for, device_of, unwrapped
from layerlottery.networks.inputs import Forward, as_inputs, called_like, count, network_of
from layerlottery.networks.removal import Removal
from layerlottery.runtime.processor import processor
from layerlottery.tickets import drawing
from layerlottery.tickets.progress import watched
from layerlottery.words import MINUS, one_line

BY_HAND = "chosen by hand"
# of a timing; a hundred thousand threads end the process without an error
MOST_ROUNDS, MOST_THREADS = 1_000_000, 1024
# what a timing takes where nobody says: rounds, and seconds for all of them
ROUNDS, BUDGET = 15, 10.0


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


def cost_of(whole: nn.Module, small: nn.Module, shown: Any) -> Cost:
    """Of a network and a smaller one, called alike, at the size of the batch `shown`."""
    twin, shape, number = called_like(whole, small), image_shape(shown), count(shown)
    return Cost(
        macs(whole, shape, example=shown),
        macs(twin, shape, example=shown),
        parameters(whole),
        parameters(small),
        step_memory(whole, shape, batch_size=number, example=shown),
        step_memory(twin, shape, batch_size=number, example=shown),
        number,
    )


def image_shape(shown: Any) -> tuple[int, ...]:
    """Of one image; () where the network takes something else: token ids, or several arguments."""
    images = isinstance(shown, torch.Tensor) and (shown.is_floating_point() or shown.dim() > 2)
    return tuple(shown.shape[1:]) if images else ()


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a forward pass of the whole network and of the ticket on one batch; `threads` 0 is a GPU's."""

    whole: float
    ticket: float
    batch_size: int
    device: str
    threads: int

    @property
    def speedup(self) -> float:
        """How many times as fast the ticket is."""
        return self.whole / self.ticket

    def __str__(self) -> str:
        on = self.device if not self.threads else f"{self.device}, {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.whole:.3g} ms whole, {self.ticket:.3g} ms ticket: {self.speedup:.2f} times as fast ({on})"


@dataclass(frozen=True, repr=False)
class Ticket:
    """A smaller network, what was removed and kept (names, in network order), the scores, and the cost.

    Scores hold every removable block; the lowest went first, and there are none where blocks were chosen by hand.
    `ties` are kept blocks whose score equals a removed one's. `whole` is the network that it was cut from, and
    `forward` how both are called, where that was said; files hold neither.
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
    whole: nn.Module | None = field(default=None, compare=False)
    forward: Forward | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        gone, of = len(self.removed_blocks), len(self.removed_blocks) + len(self.kept)
        saved = [("MACs", self.cost.flops_reduction), ("parameters", self.cost.params_reduction)]
        shares = ", ".join(f"{name} {less(share)}" for name, share in saved)
        return f"Ticket({one_line(self.criterion)}: {gone} of {of} removable blocks removed, {shares})"

    @public
    def _repr_html_(self) -> str:
        return drawing.page(self, type(self._network()).__name__)

    @public
    def summary(self) -> str:
        """Text of several lines: the costs as a table, and the network's tree with what was removed."""
        return drawing.text(self, self._network())

    @public
    def latency(
        self, inputs: Any, *, rounds: int | None = None, threads: int | None = None, progress: bool = True
    ) -> Latency:
        """Time a forward pass of the whole network and of the ticket in turns, in eval mode and without autograd.

        `inputs` is a batch of what they take, on their device. Milliseconds are the median over rounds, each of 50 ms
        and one pass or more. There are 15 rounds or, where these would take longer than ten seconds, fewer, but at
        least 3; `rounds` asks for a number. `threads` are torch's, by default as many as it uses. `progress` shows how
        long it has gone on, in terminals and notebooks after two seconds. Raises LayerLotteryError where the whole
        network is not known, or takes no such batch.
        """
        if self.whole is None:
            raise LayerLotteryError("latency: this ticket does not hold the whole network; load_ticket's do")
        given = as_inputs(inputs)
        if given is None or not count(given):
            found = type(inputs).__name__ if given is None else "an empty batch"
            raise LayerLotteryError(f"inputs: found {found}; allowed: a batch that the network takes")
        if self.forward is None and _has_labels(given, unwrapped(self.whole)):
            raise LayerLotteryError("inputs: found a batch with its labels; allowed: what the network takes, no labels")
        used = torch.get_num_threads() if threads is None else threads
        _whole("rounds", ROUNDS if rounds is None else rounds, MOST_ROUNDS)
        _whole("threads", used, MOST_THREADS)
        pair = {"whole": self.whole, "ticket": self.model}
        called = {name: called_for(copied(unwrapped(one)).eval(), given, self.forward) for name, one in pair.items()}
        # a copy: a network may write into what it is given
        passes = {name: partial(one, cloned(given)) for name, one in called.items()}
        limits: dict[str, Any] = {"rounds": ROUNDS, "budget": BUDGET} if rounds is None else {"rounds": rounds}
        with eager(), watched(None, "forward passes of both networks", wanted=progress):
            taken = in_turns(passes, min_seconds=0.05, threads=used, **limits)
        where, gpu = device_of(self.model), device_of(self.model).type == "cuda"
        name = torch.cuda.get_device_name(where) if gpu else processor("model name") or where.type
        return Latency(taken["whole"], taken["ticket"], count(given), name, threads=0 if gpu else used)

    def _network(self) -> nn.Module:
        return network_of(unwrapped(self.model if self.whole is None else self.whole))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            # what prune once gave was the network itself
            hint = ": its network is ticket.model" if hasattr(nn.Module, name) else ""
            raise AttributeError(f"a Ticket has no {name!r}{hint}")


def _has_labels(given: Any, network: nn.Module) -> bool:
    """Whether a batch is a pair of which the network takes only the first."""
    if not isinstance(given, tuple) or len(given) != 2:
        return False
    try:
        signature(network.forward).bind(*given)
    except TypeError:
        return True
    return False


def _whole(name: str, value: Any, most: int) -> None:
    """Raise LayerLotteryError unless a value is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise LayerLotteryError(f"{name}: found {value!r}; allowed: a whole number from 1 to {most}")


def less(share: float) -> str:
    """A share that is gone, in percent: −21 %."""
    number = f"{100 * share:.0f}"
    return f"{MINUS if share > 0 and number != '0' else ''}{number} %"
