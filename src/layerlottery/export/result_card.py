"""The model card of a network of a benchmark: what its files say, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from layerlottery import paths
from layerlottery.data.prepared import PreparedSet
from layerlottery.export.making import making
from layerlottery.export.markdown import render
from layerlottery.export.measured import robustness
from layerlottery.upkeep.show import StoredNetwork
from layerlottery.version import __version__

Facts = Mapping[str, Any]


class Exported(NamedTuple):
    """A file that was written: bytes, SHA-256, largest difference from the network as a share of its outputs."""

    size: int
    content: str
    difference: float


def result_card(
    description: Facts, network: StoredNetwork, prepared: PreparedSet, exported: Mapping[str, Exported]
) -> str:
    """The card of a network that `describe` described; `exported` are the files beside it, by name."""
    settings = _settings(network, prepared)
    return render(
        "result.md.j2",
        **description,
        prepared=prepared,
        robustness=robustness(description, network),
        exported=exported,
        settings=json.dumps(settings, indent=1),
        commands="\n".join(making(network, settings)),
        version=__version__,
    )


def _settings(network: StoredNetwork, prepared: PreparedSet) -> dict[str, Any]:
    """The settings of the stages that made it, by kind."""
    held, training = (network.read(name) or {} for name in (paths.trained_weights, paths.training_facts))
    ticket = network.read(paths.ticket_facts) or {} if network.run.removed else {}
    found = {
        "dataset": prepared.facts["settings"],
        "network": held.get("architecture", {}).get("network"),
        "criterion": ticket.get("criterion_settings"),
        "training": training.get("training_settings"),
    }
    return {name: value for name, value in found.items() if value}
