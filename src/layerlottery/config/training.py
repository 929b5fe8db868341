"""Settings of a training and of a fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from layerlottery.config.base import MOST, Count, Fraction, NonNegative, Positive, Settings, later

# as torch and RandAugment's paper have them
BETA2, MAGNITUDE = 0.999, 9


class TrainingSettings(Settings):
    """The recipe, the same for dense networks and tickets."""

    epochs: int = Field(200, ge=1, le=MOST, description="passes over the training set")
    batch_size: int = Field(128, ge=2, le=MOST, description="images a step")
    optimizer: Literal["sgd", "adamw"] = later("sgd", "SGD with momentum, or AdamW")
    learning_rate: Positive = Field(0.1, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="SGD's momentum; of AdamW beta1")
    nesterov: bool = Field(True, description="Nesterov's form of momentum; AdamW: false")
    beta2: Fraction = later(BETA2, "AdamW: decay of the mean squared gradient")
    weight_decay: NonNegative = Field(
        1e-4, description="SGD: L2 penalty; AdamW: decay in units of the learning rate; on what `decayed` names"
    )
    decayed: Literal["all", "convolutions", "matrices"] = later(
        "all", "parameters that decay; matrices: kernels and matrices of layers, no biases, norms, tokens, positions"
    )
    clip_norm: Positive | None = later(None, "gradient clipping: largest norm of the whole gradient; null is off")
    schedule: Literal["step", "cosine", "onecycle", "warmup_cosine"] = Field(
        "step", description="learning-rate schedule"
    )
    milestones: list[Count] = Field([100, 150], description="step schedule: epochs at which the rate falls")
    gamma: Fraction = Field(0.1, description="step schedule: factor at each milestone")
    warmup: Fraction = Field(0.25, description="onecycle and warmup_cosine: share of the steps in which the rate rises")
    label_smoothing: Fraction = later(0.0, "share of each label that is spread over all classes")
    ema_decay: Fraction = later(0.0, "EMA: decay of the averaged weights, which count in place of the last; 0 is off")
    norm_images: int | None = later(
        None, "images that share BatchNorm's statistics (ghost batches); null is the whole batch", ge=2, le=MOST
    )
    crop: int = Field(4, ge=0, le=4096, description="random crop after zero padding by this many pixels; 0 is off")
    resized_crop: Annotated[float, Field(gt=0, le=1)] | None = later(
        None, "random resized crop: smallest share of the image's area; null is off"
    )
    flip: bool = Field(True, description="random horizontal flip")
    rand_augment: int = later(0, "RandAugment: operations on each image; 0 is off", ge=0, le=14)
    rand_magnitude: int = later(MAGNITUDE, "RandAugment: strength of the operations", ge=0, le=30)
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="type of products; auto: bfloat16 on GPUs, with AMX and on AMD with AVX512-BF16; tf32 needs a GPU",
    )
    channels_last: bool = Field(True, description="memory layout of convolutions")
    compile: Literal["auto", "always", "never"] = Field(
        "auto", description="torch.compile; auto: on a GPU, where a training has steps enough to repay it"
    )

    def shortened(self, share: float) -> Self:
        """For the share of the epochs that is nearest, at least one; milestones of the step schedule move along."""
        milestones = [max(1, round(share * one)) for one in self.milestones]
        return self.model_copy(update={"epochs": max(1, round(share * self.epochs)), "milestones": milestones})

    @property
    def held_copies(self) -> int:
        """Tensors as large as the parameters that a training holds beside them and their gradients."""
        return (2 if self.optimizer == "adamw" else 1) + bool(self.ema_decay)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_others_have(cls, given: Any) -> Any:
        """Defaults that mean nothing to this optimizer or schedule are off, so that no record names them."""
        if not isinstance(given, dict):
            return given
        asked = {name: given.get(name, cls.model_fields[name].default) for name in ("optimizer", "schedule")}
        off: dict[str, Any] = {"nesterov": False} if asked["optimizer"] == "adamw" else {}
        off |= {"milestones": []} if asked["schedule"] == "warmup_cosine" else {}
        return off | given

    @model_validator(mode="after")
    def _refuse_what_cannot_go_together(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.nesterov and self.optimizer == "adamw":
            yield "nesterov: found true; AdamW has no such form: leave it out, set it to false or take optimizer: sgd"
        if self.nesterov and self.momentum == 0:
            yield "nesterov needs a momentum above 0"
        if self.optimizer == "sgd" and self.beta2 != BETA2:
            yield f"beta2: found {self.beta2}; SGD has none: leave it out or take optimizer: adamw"
        if self.schedule == "warmup_cosine" and self.milestones:
            yield f"milestones: found {self.milestones}; schedule: step has them; leave them out or set them to []"
        if self.norm_images is not None and self.norm_images > self.batch_size:
            yield f"norm_images: found {self.norm_images}; allowed: at most batch_size, {self.batch_size}"
        if self.resized_crop is not None and self.crop:
            yield f"crop: found {self.crop}; resized_crop takes its place: set crop to 0"
        if self.rand_magnitude != MAGNITUDE and not self.rand_augment:
            yield f"rand_magnitude: found {self.rand_magnitude}; it needs rand_augment, the number of operations"


class FineTuningSettings(TrainingSettings):
    """The recipe of a ticket that starts from trained weights.

    SGD with Nesterov's momentum at 0.01 in batches of 128 is how the published code of Pons et al. (2024, CKA) and of
    Mugnaini et al. (2024, consensus) fine-tunes after each round: 10 epochs as it stands, 200 with a tenth of the rate
    from epochs 100 and 150 on, as the former's README has it, for the figures in the paper. The defaults lie between:
    40 epochs, a fifth of a training, in which a cosine takes the rate down as those steps do. Milestones of a step
    schedule are at the same shares of the way as a training's.
    """

    epochs: int = Field(40, ge=1, le=MOST, description="passes over the training set")
    learning_rate: Positive = Field(0.01, description="peak learning rate")
    schedule: Literal["step", "cosine", "onecycle", "warmup_cosine"] = Field(
        "cosine", description="learning-rate schedule"
    )
    milestones: list[Count] = Field([20, 30], description="step schedule: epochs at which the rate falls")
