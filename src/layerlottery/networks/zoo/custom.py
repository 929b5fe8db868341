"""Networks of the user's own: called as `network(*, channels, classes, image_size, **options)`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlottery.config.extensions import load_trusted
from layerlottery.config.networks import CustomSettings
from layerlottery.networks.answers import logits_of
from layerlottery.networks.examples import evaluating


def build(settings: CustomSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """The network that the function of the settings returns; torch's random state is left as it was.

    Raises LayerLotteryError when the function can't be loaded or called, or returns anything but a network, and when
    neither the configuration nor this process's caller named its code: see `layerlottery.config.extensions.trust`.
    """
    function = load_trusted(settings)
    with torch.random.fork_rng(devices=[]):
        model = function(channels=channels, classes=classes, image_size=image_size)
    if not isinstance(model, nn.Module):
        raise function.wrong(f"returned {type(model).__name__}; allowed: a torch.nn.Module")
    return model


def check(settings: CustomSettings, model: nn.Module, *, channels: int, classes: int, image_size: int) -> None:
    """Raise LayerLotteryError unless the network turns two black images into finite logits (2, classes).

    In training too, where auxiliary answers may stand beside them. Buffers and random states stay as they were.
    """
    function = load_trusted(settings)
    shape, images = (2, classes), torch.zeros(2, channels, image_size, image_size)
    before = {name: one.clone() for name, one in model.named_buffers()}
    with function.running(), evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = model(images)
        trained = logits_of(model.train()(images), training=True)
        for name, one in model.named_buffers():
            one.copy_(before[name])
    for answer, when in ((logits, ""), (trained, " in training")):
        if not isinstance(answer, Tensor) or answer.shape != shape:
            found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise function.wrong(f"its network answers two images with {found}{when}; allowed: logits {shape}")
    if not logits.isfinite().all():
        raise function.wrong("its network answers two black images with logits that are not finite")
