"""Trained weights for a network of a library: the library's own or a file's, with a new head where classes differ."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Size, Tensor, nn

from layerlottery.config.networks import TimmSettings, TorchvisionSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import build
from layerlottery.networks.zoo import family_of
from layerlottery.networks.zoo.draws import WithoutDraws
from layerlottery.store.regular import require_regular

log = logging.getLogger(__name__)

State = dict[str, Tensor]
Library = TorchvisionSettings | TimmSettings
# where training scripts keep a network's state beside an optimizer's
WITHIN = ("state_dict", "model")
# what nn.DataParallel and torch.compile put in front of names
WRAPPED = ("module.", "_orig_mod.")
# counted since torch 0.4.1, and of no effect: files may lack it
COUNTER = "num_batches_tracked"


def load_pretrained(model: nn.Module, settings: Library, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the weights of a network in place by those that its settings name; returns what they are.

    The head, all tensors whose shape follows from the number of classes, stays as it was drawn where the weights are
    for another number of classes, or have none. Raises LayerLotteryError, in one line, for weights of another
    architecture (with the first name and shape that differ), a file that holds none, and a download that failed.
    """
    family, form = family_of(settings), {key: architecture[key] for key in ("channels", "image_size")}
    heads, told = _heads(model, architecture), f"networks: {settings.family}.{settings.name}: pretrained"
    path = settings.weights_file
    if path is None:
        source, state = _fetched(lambda: family.published(settings, **form), told)
    else:
        source, state = str(path), read_state(path, settings.pretrained_sha256)
    if _difference(model, state, heads) is not None:
        state = family.converted(settings, state, classes=_classes(model, state, heads), **form)
    fresh = _load(model, state, heads, f"{told}: {source}", settings)
    return {"weights": source if path is None else f"sha256:{settings.pretrained_sha256}", "new_head": fresh}


def read_state(path: Path, expected: str | None = None) -> State:
    """The tensors of a weights file by name: safetensors, or what torch.save made of a state dict.

    Nothing that a file may hold is run. Raises LayerLotteryError for anything else, and for a file whose SHA-256 is not
    the expected one.
    """
    held = require_regular(path).read_bytes()
    if expected not in (None, hashlib.sha256(held).hexdigest()):
        raise LayerLotteryError(f"{path}: was changed after the configuration was read; run the same command again")
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load(held)
        else:
            found = torch.load(BytesIO(held), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly any for bytes that mean nothing
        raise LayerLotteryError(
            f"{path}: holds more than tensors, or no tensors ({type(error).__name__}); allowed: safetensors, or a "
            "state dict of torch.save"
        ) from error
    within = [found[key] for key in WITHIN if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
    return _plain(within[0] if within else found, path)


def _plain(found: Any, path: Path) -> State:
    """The state as names and tensors, without the names of wrappers."""
    if not isinstance(found, Mapping) or not found:
        what = "nothing" if isinstance(found, Mapping) else type(found).__name__
        raise LayerLotteryError(f"{path}: found {what}; allowed: tensors by name, as of a state dict")
    if odd := [name for name, one in found.items() if not isinstance(name, str) or not isinstance(one, Tensor)]:
        raise LayerLotteryError(
            f"{path}: {odd[0]}: found {type(found[odd[0]]).__name__}; allowed: tensors by name, as of a state dict"
        )
    if odd := [name for name, one in found.items() if one.layout != torch.strided or one.is_meta or one.is_quantized]:
        raise LayerLotteryError(f"{path}: {odd[0]}: found {_kind(found[odd[0]])}; allowed: a value for each place")
    if odd := [name for name, one in found.items() if one.is_floating_point() and not _finite(one)]:
        raise LayerLotteryError(f"{path}: {odd[0]}: found values that are not finite")
    state = dict(found)
    for prefix in WRAPPED * 2:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): one for name, one in state.items()}
    return state


def _finite(tensor: Tensor) -> bool:
    # of types with 8 bits torch can't tell
    return bool((tensor if tensor.itemsize > 1 else tensor.float()).isfinite().all())


def _kind(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "no values"
    return "a sparse tensor" if tensor.layout != torch.strided else f"{tensor.dtype}"


def _fetched(fetch: Callable[[], tuple[str, State]], told: str) -> tuple[str, State]:
    """The library's own weights; it keeps what it has downloaded, and checks the hash."""
    try:
        return fetch()
    except LayerLotteryError as error:
        raise LayerLotteryError(f"{told}: {error}") from None
    except Exception as error:  # the libraries' clients have exceptions of their own
        text = " ".join(str(error).split())[:200]
        raise LayerLotteryError(
            f"{told}: can't fetch the library's weights: {type(error).__name__}: {text}; on a machine without network "
            "give the path of a file: pretrained: PATH"
        ) from error


def _heads(model: nn.Module, architecture: Mapping[str, Any]) -> dict[str, Size]:
    """The tensors whose shape follows from the number of classes, with their shape for one class more."""
    with torch.random.fork_rng(devices=[]), WithoutDraws():
        more = build({**architecture, "classes": architecture["classes"] + 1}).state_dict()
    return {name: more[name].shape for name, one in _tensors(model).items() if more[name].shape != one.shape}


def _tensors(model: nn.Module) -> State:
    return {name: one for name, one in model.state_dict().items() if isinstance(one, Tensor)}


def _is_head(given: Size, own: Size, more: Size) -> bool:
    """Whether a shape is that of a head for any number of classes."""
    return len(given) == len(own) and all(a == b or b != c for a, b, c in zip(given, own, more, strict=True))


def _classes(model: nn.Module, state: State, heads: Mapping[str, Size]) -> int | None:
    """The number of classes that a state is for; None where it has no head of the network's."""
    own = _tensors(model)
    for name, more in heads.items():
        if name in state and _is_head(state[name].shape, own[name].shape, more):
            return next(a for a, b, c in zip(state[name].shape, own[name].shape, more, strict=True) if b != c)
    return None


def _load(model: nn.Module, state: State, heads: Mapping[str, Size], told: str, settings: Library) -> list[str]:
    """Load a state that may have another head, or none; returns the names of the head's tensors that stay."""
    own = _tensors(model)
    other = any(name not in state or state[name].shape != own[name].shape for name in heads)
    fresh = [*heads] if other else []
    if (difference := _difference(model, state, heads)) is not None:
        small = (
            f"; stem small makes other first layers than {settings.name} has as_is" if settings.stem == "small" else ""
        )
        raise LayerLotteryError(f"{told}: weights of another architecture: {difference}{small}")
    taken = {name: one for name, one in state.items() if name not in fresh}
    _check_numbers(own, taken, told)
    model.load_state_dict(taken, strict=False)
    log.info("%s%s", told, f"; for other classes, a new head: {', '.join(fresh)}" if fresh else "")
    return fresh


def _check_numbers(own: State, taken: State, told: str) -> None:
    """Raise where numbers would not stay what they are, but for rounding: whole or complex ones, and too large ones."""
    for name, one in taken.items():
        wanted = own[name].dtype
        if wanted.is_floating_point and not one.is_floating_point():
            raise LayerLotteryError(f"{told}: {name}: found {one.dtype}; allowed: floating-point numbers")
        if wanted.is_floating_point and not _finite(one.to(wanted)):
            raise LayerLotteryError(f"{told}: {name}: found values that are beyond those of {wanted}")


def _difference(model: nn.Module, state: State, heads: Mapping[str, Size]) -> str | None:
    """The first name and shape in which a state differs from a network, but for a head; None where it fits."""
    own = _tensors(model)
    for name, tensor in own.items():
        given, wanted = state.get(name), tuple(tensor.shape)
        if given is None:
            if name not in heads and not name.endswith(COUNTER):
                return f"{name} is missing there, and {wanted} in the network"
        elif given.shape != tensor.shape and not (name in heads and _is_head(given.shape, tensor.shape, heads[name])):
            return f"{name} is {tuple(given.shape)} there, and {wanted} in the network"
    # a file's order may be any
    unknown = min(state.keys() - own.keys(), default=None)
    return unknown and f"{unknown} is {tuple(state[unknown].shape)} there, and missing in the network"
