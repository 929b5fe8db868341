"""Settings of a training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from layerlottery.config.base import MOST, Count, Fraction, NonNegative, Positive, Settings, later


class TrainingSettings(Settings):
    """The recipe, the same for dense networks and tickets."""

    epochs: int = Field(200, ge=1, le=MOST, description="passes over the training set")
    batch_size: int = Field(128, ge=2, le=MOST, description="images a step")
    learning_rate: Positive = Field(0.1, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="SGD momentum")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    weight_decay: NonNegative = Field(1e-4, description="L2 penalty, on what `decayed` names")
    decayed: Literal["all", "convolutions"] = later("all", "parameters that the L2 penalty is on")
    schedule: Literal["step", "cosine", "onecycle"] = Field("step", description="learning-rate schedule")
    milestones: list[Count] = Field([100, 150], description="step schedule: epochs at which the rate falls")
    gamma: Fraction = Field(0.1, description="step schedule: factor at each milestone")
    warmup: Fraction = Field(0.25, description="one-cycle schedule: share of the steps that rise")
    crop: int = Field(4, ge=0, le=4096, description="random crop after zero padding by this many pixels; 0 is off")
    flip: bool = Field(True, description="random horizontal flip")
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="type of products; auto takes bfloat16 on GPUs and AMX processors; tf32 needs a GPU",
    )
    channels_last: bool = Field(True, description="memory layout of convolutions")
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="torch.compile; auto: on a GPU, where a training has steps enough to repay it"
    )

    def shortened(self, share: float) -> Self:
        """For the share of the epochs that is nearest, at least one; milestones of the step schedule move along."""
        milestones = [max(1, round(share * one)) for one in self.milestones]
        return self.model_copy(update={"epochs": max(1, round(share * self.epochs)), "milestones": milestones})

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class FineTuningSettings(TrainingSettings):
    """The recipe of tickets that start from the dense network's trained weights."""

    epochs: int = Field(40, ge=1, le=MOST, description="passes over the training set")
    learning_rate: Positive = Field(0.01, description="peak learning rate")
    schedule: Literal["step", "cosine", "onecycle"] = Field("cosine", description="learning-rate schedule")
