"""Copies of anyone's network, and calls that leave no trace and end in no foreign exception."""

from __future__ import annotations

import copy
import inspect
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from layerlottery.errors import Interrupted, LayerLotteryError

Model = TypeVar("Model")
Given = ParamSpec("Given")
Result = TypeVar("Result")
TORCH = Path(torch.__file__).parent


def copied(model: Model) -> Model:
    """A deep copy that shares nothing with the model.

    Tensors that belong to a graph, such as a stored activation or what torch.nn.utils.prune leaves in the place of a
    weight, can't be copied with it: their values are.
    """
    with _Detaching():
        return copy.deepcopy(model)


def cloned(values: Any) -> Any:
    """Arguments of a call whose tensors, and what a network keeps notes in, are copies: a transformer's cache, say."""
    return tree_map(_cloned, values)


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if value is None or callable(value) or isinstance(value, bool | int | float | str):
        return value
    # what can't be copied is left to the network
    with suppress(Exception):
        return copied(value)
    return value


class _Detaching(TorchFunctionMode):
    """While it is active in a thread, deep copies of tensors with a graph are their values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__ or args[0].is_leaf:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        memo[id(tensor)] = held = tensor.detach().clone()
        return held


def public(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function of the library: random states stay as they are, and whatever fails is a LayerLotteryError of one line.

    The network, the criterion and the loader are the user's code and may raise anything; the exception itself is the
    error's cause.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        given = signature.bind(*args, **kwargs).arguments.values()
        try:
            with _random_states(given), _plainly():
                return function(*args, **kwargs)
        except Interrupted:
            raise
        except LayerLotteryError as error:
            line = " ".join(str(error).split())
            if line == str(error):
                raise
            raise LayerLotteryError(line) from error
        except OSError as error:
            where, why = error.filename or function.__name__, error.strerror or error
            raise LayerLotteryError(f"{where}: {why}") from error
        except Exception as error:
            raise LayerLotteryError(f"{function.__name__}: {_said(error)}") from error

    return run


def _said(error: Exception) -> str:
    """An error in one line: its kind, what it says, and the line of code outside torch that it came from."""
    line = ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split())[:300])))
    places = [one for one in traceback.extract_tb(error.__traceback__) if TORCH not in Path(one.filename).parents]
    return f"{line} ({Path(places[-1].filename).name}, line {places[-1].lineno}, in {places[-1].name})"


def _samplers(loader: torch.utils.data.DataLoader[Any]) -> list[Any]:
    """The loader, and all that chooses images for it."""
    return [loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]


@contextmanager
def _plainly() -> Iterator[None]:
    """Gradients are computed, and in the network's own types, whatever the caller is in the middle of."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def _random_states(given: Any) -> Iterator[None]:
    """All global random states, and those of generators that DataLoaders among the arguments own, as they were."""
    loaders = [one for one in given if isinstance(one, torch.utils.data.DataLoader)]
    owned = [getattr(part, "generator", None) for one in loaders for part in _samplers(one)]
    generators = {id(one): (one, one.get_state()) for one in owned if isinstance(one, torch.Generator)}
    python, numpy = random.getstate(), np.random.get_state()
    # a GPU's state is read where there is one that was used: reading it would start it
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in generators.values():
            generator.set_state(state)
