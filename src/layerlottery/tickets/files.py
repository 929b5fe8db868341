"""A ticket's file: safetensors, with its facts and a hash of its content; nothing is pickled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks
from layerlottery.networks.copies import public
from layerlottery.networks.examples import unwrapped
from layerlottery.networks.inputs import Forward
from layerlottery.networks.removal import Removal
from layerlottery.networks.weights import network_state, save_network
from layerlottery.store.artifacts import as_path, read_tensors
from layerlottery.store.hashing import digest
from layerlottery.tickets.ticket import Cost, Ticket

KIND = "layerlottery ticket"
# facts that a file holds as they are
PLAIN = ("removed_blocks", "kept", "scores", "criterion", "ties", "image_shape")


@public
def save_ticket(ticket: Ticket, path: str | Path) -> None:
    """Write a ticket's weights and facts to a safetensors file, atomically and with a hash of its content.

    A function that said how the network is called (`forward`) is not written, only that there was one.
    """
    if not isinstance(ticket, Ticket):
        raise LayerLotteryError(f"ticket: found {type(ticket).__name__}; allowed: what find_ticket or prune gives")
    removals = {name: removal.facts() for name, removal in ticket.removals.items()}
    facts = {"kind": KIND} | {name: getattr(ticket, name) for name in PLAIN}
    facts |= {"cost": asdict(ticket.cost), "removals": removals}
    facts |= {"forward": True} if ticket.forward else {}
    made_by = digest([KIND, ticket.removed_blocks, ticket.criterion])
    save_network(as_path(path), unwrapped(ticket.model), facts, config_hash=made_by)


@public
def load_ticket(path: str | Path, model_factory: Callable[[], nn.Module], *, forward: Forward | None = None) -> Ticket:
    """The ticket in a file of `save_ticket`; `model_factory` makes the whole network that it was cut from.

    `forward` is that of find_ticket or prune, if it was given there. Raises LayerLotteryError when the file is damaged
    or no ticket, when the factory's network does not fit, or where `forward` is lacking.
    """
    if isinstance(model_factory, nn.Module) or not callable(model_factory):
        found = type(model_factory).__name__
        raise LayerLotteryError(f"model_factory: found a {found}; allowed: a function that makes the whole network")
    arrays, facts = read_tensors(as_path(path))
    if facts.get("kind") != KIND:
        raise LayerLotteryError(f"{path}: holds no ticket; allowed: files of save_ticket")
    if "removed" in facts:  # as an earlier version called it
        facts["removed_blocks"] = facts.pop("removed")
    if facts.get("forward") and forward is None:
        raise LayerLotteryError(f"forward: found none; allowed: the one that the ticket in {path} was found with")
    model = model_factory()
    if not isinstance(model, nn.Module):
        raise LayerLotteryError(f"model_factory: gives a {type(model).__name__}; allowed: the whole network, a Module")
    try:
        return replace(_restored(model, arrays, facts), forward=forward)
    except (LayerLotteryError, RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise LayerLotteryError(f"{path}: does not fit {type(model).__name__} of the factory; {last[:200]}") from error


def _restored(model: nn.Module, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> Ticket:
    """The ticket of a file's facts; of all that they hold only names of blocks and activations change the model."""
    removals = {name: Removal.from_facts(one) for name, one in facts["removals"].items()}
    small = remove_blocks(model, facts["removed_blocks"], removals)
    _load(small, network_state(arrays, facts))
    held = {name: facts[name] for name in PLAIN} | {"image_shape": tuple(facts["image_shape"])}
    return Ticket(small, **held, cost=Cost(**facts["cost"]), removals=removals, whole=unwrapped(model))


def _load(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load a state; raises RuntimeError where that would round, or load nothing."""
    for name, own in model.state_dict().items():
        held = state.get(name)
        if isinstance(own, Tensor) and own.is_meta:
            raise RuntimeError(f"{name} of the network is on the device meta, which holds no numbers")
        if (
            isinstance(held, Tensor)
            and isinstance(own, Tensor)
            and torch.promote_types(held.dtype, own.dtype) != own.dtype
        ):
            raise RuntimeError(f"{name} is {held.dtype} in the file and {own.dtype} in the network")
    model.load_state_dict(state)
