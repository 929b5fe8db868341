"""How jobs use the machine."""

from __future__ import annotations

import os

from pydantic import Field

from layerlottery.config.base import Settings
from layerlottery.config.choices import GPUS, MOST_GPUS


class ResourceSettings(Settings):
    """How jobs use the machine; no result depends on it."""

    training_threads: int = Field(
        1, ge=1, le=1024, description="CPU threads of one training job; of several GPUs, for each"
    )
    gpus_per_training: int = Field(
        1, ge=1, le=MOST_GPUS, description="GPUs of one machine that share each batch of a training"
    )
    evaluation_threads: int = Field(1, ge=1, le=1024, description="CPU threads of one scoring, attack or shift job")
    checkpoint_seconds: float = Field(
        60.0,
        description="training time between two checkpoints, seconds: the most that a killed job loses",
        ge=0,
        le=1e6,
    )
    warm_worker: bool = Field(True, description="on this machine, import torch once for all jobs and not in each")

    @property
    def training_cpus(self) -> int:
        """CPU threads of one training job, all its processes together."""
        return self.training_threads * self.gpus_per_training

    def announce(self) -> None:
        """Tell the trainings that this process starts how many GPUs each has, and the profiles that ask for them."""
        os.environ[GPUS] = str(self.gpus_per_training)
