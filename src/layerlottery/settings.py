"""The settings of every stage, one strict model each: the only source of defaults, units and limits.

The configuration file, the command line's options, the JSON schema and the hashes of results are all
derived from these models. This module imports no torch: the Snakefile parses it in every job.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from layerlottery.results.hashing import canonical

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]


def _holds_text(annotation: Any) -> bool:
    return annotation is str or any(_holds_text(part) for part in get_args(annotation))


def _read_text(value: Any) -> Any:
    """Numbers, true, false and null that arrive as text, alone or in a list."""
    if isinstance(value, list):
        return [_read_text(one) for one in value]
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


class Settings(BaseModel):
    """Base of all settings: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for key in given:
            # says more than pydantic's own message: what is allowed
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; allowed: {', '.join(cls.model_fields)}")
        # Snakemake's --config gives every nested value as text, and YAML 1.1 takes 1e-4 for text
        texts = {key for key, field in cls.model_fields.items() if _holds_text(field.annotation)}
        return {key: value if key in texts else _read_text(value) for key, value in given.items()}

    def slice(self) -> str:
        """Canonical JSON without default-valued fields: what Snakemake compares between two runs."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))


class ImageSet(Settings):
    """What all image sets share."""

    train_size: Count | None = Field(None, description="training images to keep, balanced over classes; null keeps all")
    test_size: Count | None = Field(None, description="test images to keep, balanced over classes; null keeps all")
    sample_seed: int = Field(0, ge=0, lt=2**32, description="seed of the split and of the choice of kept images")


class Digits(ImageSet):
    """scikit-learn's 1,797 scanned digits (8x8), installed with the package."""

    source: Literal["digits"]
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the images held out as test set, stratified")
    shifted: list[Literal["mnist"]] = Field(["mnist"], description="shifted test sets: MNIST digits reduced to 8x8")


class Located(ImageSet):
    """Image sets read from a folder on disk."""

    location: str = Field(description="folder that holds the set", min_length=1)
    image_size: int | None = Field(None, ge=8, description="images are resized to this many pixels a side; null keeps")
    channels: Literal[1, 3] | None = Field(None, description="1 (grey) or 3 (colour); null follows the first image")


class ParquetImages(Located):
    """Parquet files in the Hugging Face layout: columns image {bytes, path} and label."""

    source: Literal["parquet"]
    train: str = Field("train.parquet", description="training file inside location")
    test: str = Field("test.parquet", description="test file inside location")
    shifted: dict[Name, str] = Field({}, description="name: file inside location, evaluated as a shifted test set")


class ImageFolder(Located):
    """An image folder, one sub-folder a class."""

    source: Literal["folder"]
    train: str = Field("train", description="training folder inside location")
    test: str = Field("test", description="test folder inside location")
    shifted: dict[Name, str] = Field({}, description="name: folder inside location, evaluated as a shifted test set")


class TorchvisionImages(ImageSet):
    """A set that torchvision downloads and verifies by hash."""

    source: Literal["torchvision"]
    set: Literal["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST"] = Field(description="torchvision's class name")
    location: str = Field("downloads", description="folder that keeps the downloaded files", min_length=1)
    download: bool = Field(True, description="fetch the files when they are not in location")


Dataset = Annotated[Digits | ParquetImages | ImageFolder | TorchvisionImages, Field(discriminator="source")]


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


class AttackSettings(Settings):
    """Adversarial examples by foolbox, L-infinity, on test images with values in [0, 1]."""

    attacks: list[Literal["fgsm", "pgd"]] = Field(
        ["fgsm", "pgd"], description="FGSM: one step; PGD: random start", min_length=1
    )
    epsilons: list[Positive] = Field(
        [0.5, 1.0, 2.0, 4.0, 8.0], description="perturbation bounds in 1/255", min_length=1
    )
    pgd_steps: Count = Field(20, description="steps of PGD")
    relative_step: Positive = Field(0.25, description="PGD step as a share of epsilon (2/255 at 8/255)")
    images: Count | None = Field(1000, description="test images attacked, balanced over classes; null takes all")
    seed: int = Field(0, ge=0, description="seed of PGD's random start")


CorruptionName = Literal["gaussian_noise", "gaussian_blur", "brightness", "contrast", "jpeg", "pixelate"]


class CorruptionSettings(Settings):
    """Common corruptions with the constants of CIFAR-10-C (Hendrycks & Dietterich 2019)."""

    names: list[CorruptionName] = Field(list(get_args(CorruptionName)), description="which corruptions")
    severities: list[Literal[1, 2, 3, 4, 5]] = Field(
        [1, 2, 3, 4, 5], description="1 (mild) to 5 (strong)", min_length=1
    )
    images: Count | None = Field(None, description="test images corrupted, balanced over classes; null takes all")
    seed: int = Field(0, ge=0, description="seed of the random corruptions")


class ShiftSettings(Settings):
    """Accuracy and calibration on the clean, the shifted and the corrupted test sets."""

    calibration_bins: Count = Field(15, description="equal-width confidence bins of the expected calibration error")


class ProfileSettings(Settings):
    """What a network costs, measured on the machine that runs the profile stage."""

    latency_batch: Count = Field(1, description="images a forward pass while timing latency")
    rounds: Count = Field(5, description="timing rounds; all architectures take turns, the median of means counts")
    min_seconds: Positive = Field(0.05, description="least time of one architecture's timing in one round, s")


class CompareSettings(Settings):
    """Similarity of a trained ticket and its dense network: debiased linear CKA of their features."""

    images: Count | None = Field(500, description="test images compared, balanced over classes; null takes all")


class EnergySettings(Settings):
    """How measured energy becomes CO2; changing it never trains again."""

    country: str = Field("USA", pattern=r"^[A-Z]{3}$", description="ISO 3166 code whose energy mix codecarbon knows")
    carbon_intensity: NonNegative | None = Field(None, description="kg CO2 a kWh; null takes the country's mix")
    lacoste_intensity: NonNegative = Field(0.432, description="kg CO2 a kWh of the Lacoste et al. (2019) column")


class StatisticsSettings(Settings):
    """What counts as a winning ticket."""

    xi: list[NonNegative | Literal["sd"]] = Field(
        [0.0, 1.0, "sd"],
        description="allowed loss in percentage points; sd is the dense networks' standard deviation",
        min_length=1,
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="level of the intervals over seeds")
    resamples: int = Field(9999, ge=99, description="resamples of the bootstrap intervals")


class MarginSettings(Settings):
    """How far a measured figure may lie from the printed one and still agree with it."""

    accuracy: Positive = Field(0.5, description="differences in accuracy, percentage points")
    robustness: Positive = Field(1.0, description="differences in accuracy on corrupted and shifted sets, pp")
    flops: Positive = Field(0.02, description="FLOPs saved, percentage points")
    memory: Positive = Field(2.0, description="memory saved, percentage points")
    co2: Positive = Field(5.0, description="CO2 saved, percentage points")
    speedup: Positive = Field(0.1, description="training speed-up, as a factor")


class ReportSettings(Settings):
    """The page."""

    title: str = Field("layerlottery", description="heading of the report", min_length=1)
    xi: NonNegative | Literal["sd"] = Field(
        1.0, description="the tolerance that the verdict quotes, one of statistics.xi"
    )
