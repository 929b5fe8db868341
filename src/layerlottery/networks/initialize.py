"""The stage `initialize`: the random weights θ0 that a dense network and all its tickets share."""

from __future__ import annotations

from pathlib import Path

from layerlottery.data.prepared import PreparedSet
from layerlottery.networks.resnet import initialize
from layerlottery.networks.weights import build, save_network
from layerlottery.results.hashing import derived_seed
from layerlottery.results.provenance import config_hash
from layerlottery.settings import NetworkSettings


def initialize_network(data: Path, output: Path, settings: NetworkSettings, *, seed: int, draw: int = 0) -> None:
    """Write θ0 of a network that fits the channels and classes of the prepared set `data`.

    Another `draw` gives fresh weights of the same seed: the control that shares everything but θ0.
    """
    prepared = PreparedSet.open(data)
    architecture = {
        "network": settings.model_dump(mode="json"),
        "channels": prepared.channels,
        "classes": len(prepared.classes),
        "removed": [],
    }
    model = build(architecture)
    initialize(model, derived_seed("initialize", seed, *([draw] if draw else [])))
    made_by = config_hash(
        "initialize", settings, [], channels=prepared.channels, classes=len(prepared.classes), seed=seed, draw=draw
    )
    save_network(output, model, {"architecture": architecture}, config_hash=made_by)
