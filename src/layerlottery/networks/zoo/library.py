"""Networks from libraries: names and options from a configuration, errors in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping

from torch import nn

from layerlottery.config.networks import LibrarySettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.zoo.stems import SmallStem, make_small

Make = Callable[[], nn.Module]

# set by the benchmark, or by the key pretrained
REFUSED = re.compile("(weights|pretrained|checkpoint|cache_dir|hf_).*|num_classes|in_chans|features_only|(model_)?name")


def constructed(
    settings: LibrarySettings, library: str, *, known: Collection[str], stems: Mapping[str, SmallStem], make: Make
) -> nn.Module:
    """A network of a library's `known` ones, which `make` constructs, with the stem of its settings.

    Raises LayerLotteryError, in one line, for another name, options that the benchmark sets itself, a stem that
    `stems` do not know, and whatever the constructor raises.
    """
    name = settings.name
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
        raise LayerLotteryError(f"networks: {library} has no network {name!r}; the closest names are {close}")
    if refused := sorted(filter(REFUSED.fullmatch, settings.options)):
        raise LayerLotteryError(
            f"networks: options of {name}: {refused[0]} is not allowed; channels and classes come from the "
            "image set, and trained weights with the key pretrained"
        )
    try:
        model = make()
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise LayerLotteryError(f"networks: {library}.{name} can't be made: {type(error).__name__}: {text}") from error
    if settings.stem == "small":
        make_small(model, stems, called=f"{library}.{name}")
    return model
