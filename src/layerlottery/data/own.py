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
    train, test = (_split(function, name, given[name]) for name in ("train", "test"))
    shifted = given.get("shifted") or {}
    named = isinstance(shifted, Mapping) and all(isinstance(name, str) for name in shifted)
    function.check(named, f"shifted = {type(shifted).__name__}", "allowed: {name: (images, labels)}")
    others = {name: _split(function, f"shifted.{name}", pair) for name, pair in shifted.items()}
    return Decoded(_classes(function, given["classes"]), train, test, others)


def _fields(function: Extension, given: Any) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        found, fields = f"a mapping of {', '.join(map(str, given)) or 'nothing'}", dict(given)
    else:
        found, fields = type(given).__name__, {name: getattr(given, name) for name in FIELDS if hasattr(given, name)}
    missing = [name for name in REQUIRED if name not in fields]
    allowed = f"allowed: ImageArrays, or a mapping of {', '.join(FIELDS)}"
    function.check(not missing, f"{found}, without {', '.join(missing)}", allowed)
    for name in fields:
        function.check(name in FIELDS, f"the unknown field {name!r}", f"allowed: {', '.join(FIELDS)}")
    return fields


def _classes(function: Extension, given: Any) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    fits = names and all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    function.check(fits, f"classes = {str(given)[:60]}", "allowed: names, each once, in the labels' order")
    return names


def _split(function: Extension, name: str, pair: Any) -> Split:
    paired = isinstance(pair, tuple | list) and len(pair) == 2
    function.check(paired, f"{name} = {type(pair).__name__}", "allowed: a pair (images, labels)")
    try:
        images, labels = (np.asarray(one) for one in pair)
    except (TypeError, ValueError) as error:
        raise function.wrong(f"returned {name} = a pair that is no pair of arrays ({error})") from None
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in CHANNELS and len(images)
    allowed = "allowed: uint8 (N, 1 or 3, size, size), N above 0"
    function.check(fits, f"{name} images {images.dtype} {images.shape}", allowed)
    height, width = images.shape[2:]
    function.check(height == width, f"{name} images of {width}x{height} pixels", "allowed: square ones")
    fits = labels.shape == images.shape[:1] and np.issubdtype(labels.dtype, np.integer)
    function.check(fits, f"{name} labels {labels.dtype} {labels.shape}", f"allowed: integers ({len(images)},)")
    lowest = int(labels.min())
    function.check(lowest >= 0, f"the {name} label {lowest}", "allowed: indices into the classes, from 0")
    return Split(images, labels.astype(np.int64))
