"""The stage `initialize`: the weights θ0, random or pretrained, that a dense network and all its tickets share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.config.extensions import trust
from layerlottery.config.networks import CustomSettings, LibrarySettings, Network, StagedSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import residual_blocks, why_none
from layerlottery.networks.examples import evaluating
from layerlottery.networks.features import classifiers
from layerlottery.networks.heads import CLASSIFIER_DEVIATION
from layerlottery.networks.pretrained import load_pretrained
from layerlottery.networks.resnet import initialize
from layerlottery.networks.selection import removal_order
from layerlottery.networks.weights import build, dense_architecture, save_network
from layerlottery.networks.zoo import custom
from layerlottery.networks.zoo.draws import WithoutDraws
from layerlottery.store.hashing import derived_seed

log = logging.getLogger(__name__)


def initialize_network(
    data: Path, output: Path, settings: Network, *, seed: int, draw: int = 0, asked: tuple[str, str, int] | None = None
) -> None:
    """Write θ0 of a network that fits the channels, the size and the classes of the prepared set `data`.

    Another `draw` gives fresh weights of the same seed, always random ones: the control that shares everything but θ0.
    `asked` is a key of the configuration, what it calls the network, and how many blocks it wants to remove; raises
    LayerLotteryError where the network can't lose so many.
    """
    trust(settings)
    settings = settings.untrained if draw else settings
    prepared = PreparedSet.open(data)
    channels, classes = prepared.channels, len(prepared.classes)
    size = {"image_size": prepared.image_size}
    architecture = dense_architecture(settings, channels=channels, classes=classes, **size)
    own_seed = derived_seed("initialize", seed, *([draw] if draw else []))
    model, source = start(settings, architecture, own_seed)
    if isinstance(settings, CustomSettings):
        custom.check(settings, model, channels=channels, classes=classes, **size)
    elif not isinstance(settings, StagedSettings):
        _check_forward(settings, model, architecture)
    if asked:
        _check_blocks(settings, model, prepared, *asked)
    form = {"channels": channels, "classes": classes, **(size if settings.sized else {})}
    made_by = config_hash("initialize", settings, [], **form, seed=seed, draw=draw, **source)
    save_network(output, model, {"architecture": architecture, **source}, config_hash=made_by)


def start(settings: Network, architecture: Mapping[str, Any], seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the weights that it starts from, and a fact, `pretrained`, about weights that are not random."""
    if not isinstance(settings, LibrarySettings) or settings.pretrained is False:
        return drawn(settings, architecture, seed), {}
    model = _constructed(settings, architecture, seed)
    source = load_pretrained(model, settings, architecture)
    _warn_of_zeros(model)
    return model, {"pretrained": source}


def drawn(settings: Network, architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """The network with weights that follow from the seed; the global random state stays as it is.

    Networks of the CIFAR families follow He et al. (2015), others what their constructors do.
    """
    if isinstance(settings, StagedSettings):
        with WithoutDraws():
            model = build(architecture)
        initialize(model, seed)
        return model
    model = _constructed(settings, architecture, seed)
    _warn_of_zeros(model)
    return model


def _constructed(settings: Network, architecture: Mapping[str, Any], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(architecture)
        if not isinstance(settings, CustomSettings):
            _draw_classifiers(model, architecture)
    return model


def _check_forward(settings: Network, model: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Raise unless the network turns two images of the set's shape into logits (2, classes)."""
    name = f"{settings.family} {getattr(settings, 'name', '')}".rstrip()
    side = architecture["image_size"]
    shape = (architecture["channels"], side, side)
    try:
        with evaluating(model), torch.no_grad():
            logits = model(torch.zeros(2, *shape))
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise LayerLotteryError(f"networks: {name} can't take images of shape {shape}: {text}") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, architecture["classes"]):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LayerLotteryError(f"networks: {name} answers two images with {found}; allowed: logits of each class")


def _check_blocks(
    settings: Network, model: nn.Module, prepared: PreparedSet, key: str, name: str, removed: int
) -> None:
    """Raise unless so many blocks can be removed, as prune would once networks are trained and scored."""
    normalize = Normalizer(prepared.mean, prepared.std, device=torch.device("cpu"), channels_last=False)
    example = normalize(torch.from_numpy(prepared.split("train").images[:2]))
    blocks = residual_blocks(model, example, keep_first=settings.keep_first)
    rows = [{"name": one.name, "stage": one.stage, "removable": one.removable, "score": 0} for one in blocks]
    most = len(removal_order(rows, minimum=settings.minimum))
    if removed > most:
        why = "" if most else f" ({why_none(model, blocks, example)})"
        raise LayerLotteryError(f"{key}: found {removed}; {name} gives at most {most}{why}")


def _draw_classifiers(model: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Draw a classifier that starts at zero, as transformers' do in torchvision: no gradient would pass it."""
    if all(one.any() for name, one in model.named_parameters() if name.endswith(".weight")):
        return
    side = architecture["image_size"]
    # what the network can't take is told later; it may have none
    with suppress(Exception), evaluating(model):
        for classifier in classifiers(model, torch.zeros(2, architecture["channels"], side, side)):
            weight = classifier.weight
            if isinstance(weight, Tensor) and not weight.any():
                nn.init.trunc_normal_(weight, std=CLASSIFIER_DEVIATION)


def _warn_of_zeros(model: nn.Module) -> None:
    zero = [name for name, one in model.named_parameters() if name.endswith(".weight") and not one.any()]
    if zero:
        log.warning(
            "weights that start at zero: %s; what feeds them gets no gradient, so snip and grasp see nothing of it "
            "before training (timm's residual networks: options: {zero_init_last: false})",
            ", ".join(zero[:3]) + (f" and {len(zero) - 3} more" if len(zero) > 3 else ""),
        )
