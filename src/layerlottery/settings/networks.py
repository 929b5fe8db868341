"""Settings of networks, criteria and training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from layerlottery.settings.base import Count, Fraction, Name, NonNegative, Positive, Settings


class NetworkSettings(Settings):
    """A CIFAR ResNet (He et al. 2016, section 4.2): three stages of n blocks, depth 6n + 2."""

    depth: int = Field(description="6n + 2 weighted layers: 8, 14, 20, 32, 44, 56, 110, …", ge=8)
    shortcut: Literal["A", "B"] = Field("B", description="downsampling shortcut: A zero padding, B 1x1 projection")
    width: Count = Field(16, description="channels of the first stage")

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        if (self.depth - 2) % 6:
            raise ValueError(f"depth {self.depth} is not 6n + 2 (8, 14, 20, 26, 32, 44, 56, 110, …)")
        return self

    @property
    def blocks_per_stage(self) -> int:
        return (self.depth - 2) // 6

    @property
    def most_removable(self) -> int:
        """Blocks that can go at most: two stay in each of the three stages."""
        return 3 * max(0, self.blocks_per_stage - MINIMUM_PER_STAGE)


MINIMUM_PER_STAGE = 2


Structure = Literal["layers", "filters", "weights"]
Share = Literal["parameters", "macs", "memory"]
Function = Literal[
    "random",
    "random_spread",
    "l1",
    "snip",
    "grasp",
    "synflow",
    "hrank",
    "expectabs",
    "pls",
    "kl",
    "cka",
    "consensus",
    "complexity",
]
LAYERS_ONLY = frozenset({"random_spread", "hrank", "expectabs", "pls", "kl", "cka", "consensus"})
FILTERS_ONLY = frozenset({"complexity"})
# what these compute needs no training image
DATA_FREE = frozenset({"random", "random_spread", "l1", "synflow", "complexity"})


class CriterionSettings(Settings):
    """How a criterion turns a network into one score per removable block, filter or weight."""

    function: Function = Field(description="which formula")
    keep: Literal["high", "low"] = Field("high", description="the end of the score that survives")
    products: Literal["absolute", "signed"] = Field(
        "absolute", description="each weight's product: its size, or signed"
    )
    batchnorm: Literal["train", "eval"] = Field(
        "train", description="BatchNorm statistics while scoring: batch, running"
    )
    reduction: Literal["sum", "mean"] = Field("sum", description="over a block's parameters")
    parameters: Literal["convolutions", "all"] = Field("convolutions", description="parameters that are scored")
    images_per_class: Count = Field(10, description="training images of each class in the scoring batch")
    temperature: Positive = Field(1.0, description="logits are divided by this before the loss (GraSP: 200)")
    iterative: bool = Field(False, description="remove one block at a time and score the smaller network again")
    components: Count = Field(2, description="PLS: latent components of the fit")
    share: Share = Field("parameters", description="complexity: the share of a layer that is its weight in the draw")
    budget: Name | None = Field(
        None, description="filters, weights: criterion whose layer ticket sets the budget; null takes this one"
    )

    def fits(self, structure: str) -> bool:
        """Whether the formula scores this kind of structure."""
        if structure == "layers":
            return self.function not in FILTERS_ONLY
        return self.function not in LAYERS_ONLY and (structure == "filters" or self.function not in FILTERS_ONLY)


def _complexity(share: Share) -> CriterionSettings:
    # the formula has no layer ticket of its own
    return CriterionSettings(function="complexity", share=share, budget="snip")


CRITERIA: dict[str, CriterionSettings] = {
    "random": CriterionSettings(function="random"),
    "random_spread": CriterionSettings(function="random_spread"),
    "l1": CriterionSettings(function="l1"),
    "magnitude": CriterionSettings(function="l1"),
    "snip": CriterionSettings(function="snip"),
    "grasp": CriterionSettings(function="grasp", products="signed", keep="low", temperature=200.0),
    "snip_signed": CriterionSettings(function="snip", products="signed"),
    "synflow": CriterionSettings(function="synflow", batchnorm="eval"),
    "hrank": CriterionSettings(function="hrank", batchnorm="eval"),
    "expectabs": CriterionSettings(function="expectabs", batchnorm="eval"),
    "pls": CriterionSettings(function="pls", batchnorm="eval"),
    "kl": CriterionSettings(function="kl", batchnorm="eval"),
    "cka": CriterionSettings(function="cka", batchnorm="eval"),
    "cka_iterative": CriterionSettings(function="cka", batchnorm="eval", iterative=True),
    "consensus": CriterionSettings(function="consensus", batchnorm="eval"),
    "complexity_parameters": _complexity("parameters"),
    "complexity_macs": _complexity("macs"),
    "complexity_memory": _complexity("memory"),
}


class TrainingSettings(Settings):
    """The recipe, the same for dense networks and tickets."""

    epochs: Count = Field(200, description="passes over the training set")
    batch_size: int = Field(128, ge=2, description="images a step")
    learning_rate: Positive = Field(0.1, description="peak learning rate")
    momentum: Fraction = Field(0.9, description="SGD momentum")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    weight_decay: NonNegative = Field(1e-4, description="L2 penalty on all parameters")
    schedule: Literal["step", "cosine", "onecycle"] = Field("step", description="learning-rate schedule")
    milestones: list[Count] = Field([100, 150], description="step schedule: epochs at which the rate falls")
    gamma: Fraction = Field(0.1, description="step schedule: factor at each milestone")
    warmup: Fraction = Field(0.25, description="one-cycle schedule: share of the steps that rise")
    crop: int = Field(4, ge=0, description="random crop after zero padding by this many pixels; 0 is off")
    flip: bool = Field(True, description="random horizontal flip")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="autocast type; auto takes bfloat16 where the processor computes in it"
    )
    channels_last: bool = Field(True, description="memory layout of convolutions")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self
