"""How jobs use the machine."""

from __future__ import annotations

from pydantic import Field

from layerlottery.config.base import Settings


class ResourceSettings(Settings):
    """How jobs use the machine; no result depends on it."""

    training_threads: int = Field(1, ge=1, le=1024, description="CPU threads of one training job")
    evaluation_threads: int = Field(1, ge=1, le=1024, description="CPU threads of one scoring, attack or shift job")
    checkpoint_seconds: float = Field(
        60.0,
        description="training time between two checkpoints, seconds: the most that a killed job loses",
        ge=0,
        le=1e6,
    )
    warm_worker: bool = Field(True, description="on this machine, import torch once for all jobs and not in each")
