"""An image set of the user's own: arrays that a function returns, called as `data_set(**options)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from layerlottery.config.data import CustomImages
from layerlottery.config.extensions import Extension, load
from layerlottery.data.decode import Decoded
from layerlottery.data.prepared import Split

REQUIRED = ("train", "test", "classes")
FIELDS = (*REQUIRED, "shifted")
CHANNELS = (1, 3)


def load_own(settings: CustomImages) -> Decoded:
    """The set that the function of the settings returns.

    Raises LayerLotteryError when it can't be loaded or called, and when it returns anything but image arrays.
    """
    function = load(settings)
    given = _fields(function, function())
    splits = {name: _split(function, name, given[name]) for name in ("train", "test")}
    shifted = given.get("shifted") or {}
    if not isinstance(shifted, Mapping) or not all(isinstance(name, str) for name in shifted):
        raise function.wrong(f"returned shifted = {type(shifted).__name__}; allowed is {{name: (images, labels)}}")
    others = {name: _split(function, f"shifted.{name}", pair) for name, pair in shifted.items()}
    return Decoded(_classes(function, given["classes"]), splits["train"], splits["test"], others)


def _fields(function: Extension, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        found = type(given).__name__
        given = {name: getattr(given, name) for name in FIELDS if hasattr(given, name)}
    else:
        found = f"a mapping of {', '.join(map(str, given)) or 'nothing'}"
    if missing := [name for name in REQUIRED if name not in given]:
        allowed = f"allowed are ImageArrays, or a mapping of {', '.join(FIELDS)}"
        raise function.wrong(f"returned {found}, without {', '.join(missing)}; {allowed}")
    if unknown := [name for name in given if name not in FIELDS]:
        raise function.wrong(f"returned the unknown field {unknown[0]!r}; allowed: {', '.join(FIELDS)}")
    return dict(given)


def _classes(function: Extension, given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise function.wrong(
            f"returned classes = {str(given)[:60]}; allowed are names, each once, in the labels' order"
        )
    return names


def _split(function: Extension, name: str, pair: Any) -> Split:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise function.wrong(f"returned {name} = {type(pair).__name__}; allowed is a pair (images, labels)")
    try:
        images, labels = (np.asarray(one) for one in pair)
    except (TypeError, ValueError) as error:
        raise function.wrong(f"returned {name} = a pair that is no pair of arrays ({error})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS or len(images) == 0:
        found = f"{images.dtype} {images.shape}"
        raise function.wrong(f"returned {name} images {found}; allowed are uint8 (N, 1 or 3, size, size), N above 0")
    if images.shape[2] != images.shape[3]:
        height, width = images.shape[2:]
        raise function.wrong(f"returned {name} images of {width}x{height} pixels; allowed are square ones")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise function.wrong(
            f"returned {name} labels {labels.dtype} {labels.shape}; allowed are integers ({len(images)},)"
        )
    if int(labels.min()) < 0:
        raise function.wrong(f"returned the {name} label {labels.min()}; allowed are indices into the classes, from 0")
    return Split(images, labels.astype(np.int64))
