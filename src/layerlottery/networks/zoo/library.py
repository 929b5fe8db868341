"""What networks from libraries have in common: options from a configuration, and errors in one line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import NoReturn

from torch import nn

from layerlottery.config.networks import LibrarySettings
from layerlottery.errors import LayerLotteryError

# set by the benchmark, or at odds with random weights
REFUSED = frozenset({"weights", "pretrained", "checkpoint_path", "num_classes", "in_chans", "features_only"})


def called(settings: LibrarySettings, library: str) -> str:
    """A network's name in messages."""
    return f"{library}.{settings.name}"


def check_options(settings: LibrarySettings) -> None:
    """Raise for options that the benchmark sets itself."""
    if found := sorted(REFUSED & settings.options.keys()):
        raise LayerLotteryError(
            f"networks: options of {settings.name}: {found[0]} is not allowed; networks start from random weights "
            "and take channels and classes from the image set"
        )


def unknown(name: str, library: str, known: Collection[str]) -> NoReturn:
    """Raise with the names that are closest."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    raise LayerLotteryError(f"networks: {library} has no network {name!r}; the closest names are {', '.join(close)}")


def constructed(make: Callable[[], nn.Module], name: str) -> nn.Module:
    """What a library's constructor makes; whatever it raises is said in one line."""
    try:
        return make()
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise LayerLotteryError(f"networks: {name} can't be made: {type(error).__name__}: {text}") from error
