"""Weights files: safetensors that also say which network they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from layerlottery.config.loading import first_line
from layerlottery.config.networks import CustomSettings, Network
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import outermost
from layerlottery.networks.filters import cut
from layerlottery.networks.masks import add_masks
from layerlottery.networks.removal import Removal, take_out
from layerlottery.networks.zoo import construct
from layerlottery.networks.zoo.draws import WithoutDraws
from layerlottery.store.artifacts import read_weights, write_tensors
from layerlottery.store.stamps import NONE, Inputs

# types of tensors that NumPy has, too
IN_NUMPY = {torch.from_numpy(np.zeros(0, kind)).dtype for kind in (*"?bhiqBefd", "uint16", "uint32", "uint64")}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# numbers of a network that any file may name, and what a parameter counts for beside its own: it takes time, too
LEAST, PARAMETER = 20_000_000, 1_000
NETWORK: TypeAdapter[Network] = TypeAdapter(Network)


def dense_architecture(settings: Network, *, channels: int, classes: int, image_size: int) -> dict[str, Any]:
    """The description that `build` makes a whole network from; images are (channels, image_size, image_size).

    It says nothing of weights: a file holds its own.
    """
    form = {"channels": channels, "classes": classes} | ({"image_size": image_size} if settings.sized else {})
    return {"network": settings.untrained.model_dump(mode="json"), **form, "removed_blocks": []}


def network_settings(architecture: Mapping[str, Any]) -> Network:
    """The settings of an architecture's network."""
    return NETWORK.validate_python(architecture["network"])


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """The network of an architecture: {network, channels, classes, removed_blocks}; its constructor draws its weights.

    More keys may stand there: `image_size`, the images' side where the weights depend on it; `removals`, what stays of
    removed blocks or stands in their place, by name; `filters`, the weight shapes of modules that lost filters, by
    name; `masked`, how many weights are left in convolutions that have a mask, by name.
    """
    model = construct(
        network_settings(architecture),
        channels=architecture["channels"],
        classes=architecture["classes"],
        image_size=architecture.get("image_size"),
    )
    removals = {name: Removal.from_facts(facts) for name, facts in architecture.get("removals", {}).items()}
    for name in outermost(architecture["removed_blocks"]):
        take_out(model, name, removals.get(name, Removal()))
    cut(model, architecture.get("filters", {}))
    add_masks(model, architecture.get("masked", {}))
    return model


def save_network(
    path: Path, model: nn.Module, facts: Mapping[str, Any], *, config_hash: str, inputs: Inputs = NONE
) -> str:
    """Write a network's state and its facts, among them `architecture`; returns the content hash.

    Types that NumPy lacks, such as bfloat16, are kept as their bytes, and named in `types`; a module's extra state that
    JSON can hold is kept in `extra_state`. Raises LayerLotteryError for any other.
    """
    held, more = state_arrays(model.state_dict())
    return write_tensors(path, held, {**facts, **more}, config_hash=config_hash, inputs=inputs)


def state_arrays(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a state as arrays, and the facts, if any, that bring the rest of it back."""
    extra = {name: _plain_state(name, value) for name, value in state.items() if not isinstance(value, Tensor)}
    tensors = {name: one.detach().cpu().contiguous() for name, one in state.items() if name not in extra}
    types = {name: str(one.dtype).removeprefix("torch.") for name, one in tensors.items() if one.dtype not in IN_NUMPY}
    held = {name: (_as_integers(name, one) if name in types else one).numpy() for name, one in tensors.items()}
    return held, {key: one for key, one in {"types": types, "extra_state": extra}.items() if one}


def network_state(tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The state dictionary that `save_network` wrote."""
    types = facts.get("types", {})
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    state |= {name: state[name].view(getattr(torch, kind)) for name, kind in types.items()}
    extra: dict[str, Any] = facts.get("extra_state", {})
    return state | extra


def _as_integers(name: str, tensor: Tensor) -> Tensor:
    """The same bytes as whole numbers of the same size."""
    if tensor.itemsize not in INTEGERS or tensor.is_quantized:
        raise LayerLotteryError(f"{name}: found {tensor.dtype}; files hold no numbers of this type")
    return tensor.view(INTEGERS[tensor.itemsize])


def _plain_state(name: str, value: Any) -> Any:
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    except (TypeError, ValueError, RecursionError):
        pass
    raise LayerLotteryError(
        f"{name}: holds a {type(value).__name__}; a file takes tensors, and extra state that JSON gives back as it was"
    )


@contextmanager
def _at_most(held: int) -> Iterator[None]:
    """Stop the construction of a network that is far larger than a file of so many numbers says.

    A few bytes can name a network of a billion layers. A ticket lacks blocks and filters of the network that it is cut
    from, but not 99 % of it.
    """
    most, seen = LEAST + 100 * held, 0

    def count(_module: nn.Module, _name: str, parameter: Tensor | None) -> None:
        nonlocal seen
        seen += PARAMETER + (0 if parameter is None else parameter.numel())
        if seen > most:
            raise LayerLotteryError(f"the network that it names has over {seen} weights, the file {held}")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def load_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network that a weights file describes, with its weights, and the file's facts."""
    tensors, facts = read_weights(path)
    try:
        # a user's code may insist on what it draws
        own = isinstance(network_settings(facts["architecture"]), CustomSettings)
        limited = nullcontext() if own else _at_most(sum(array.size for array in tensors.values()))
        with torch.random.fork_rng(devices=[]), limited, nullcontext() if own else WithoutDraws():
            model = build(facts["architecture"])
    except LayerLotteryError as error:
        raise LayerLotteryError(f"{path}: {error}") from None
    except (ValidationError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        text = first_line(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise LayerLotteryError(f"{path}: the network that it names can't be built; {text}") from error
    try:
        model.load_state_dict(network_state(tensors, facts))
    except (RuntimeError, TypeError, LookupError, AttributeError) as error:
        raise LayerLotteryError(f"{path}: its weights do not fit the network that it names") from error
    return model, facts
