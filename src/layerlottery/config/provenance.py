"""Provenance of a result: the hash of its configuration, code revision and inputs."""

from __future__ import annotations

from collections.abc import Sequence

from layerlottery.config.base import Settings
from layerlottery.config.stages import STAGES
from layerlottery.store.hashing import digest


def config_hash(stage: str, settings: Settings | Sequence[Settings], inputs: Sequence[str], **facts: object) -> str:
    """SHA-256 over a stage's revision, its settings, its inputs' content hashes and further facts (seed, removed)."""
    slices = [settings] if isinstance(settings, Settings) else list(settings)
    made_from = {
        "stage": stage,
        "revision": STAGES[stage].revision,
        "settings": [one.slice() for one in slices],
        "inputs": list(inputs),
        "facts": facts,
    }
    return digest(made_from)
