"""Settings of the stages that test trained networks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from layerlottery.config.base import Count, Distinct, Name, Positive, Seed, Settings, later
from layerlottery.config.data import OfficialSettings
from layerlottery.config.declared import declared
from layerlottery.config.extensible import Extensible


@dataclass(frozen=True)
class AttackTraits:
    """The declaration `@attack(…)` beside an attack's function; text names the setting that holds a number."""

    kind: Literal["bounded", "transfer", "minimum", "ensemble", "own"]
    norm: Literal["linf", "l2"]
    passes: int | str  # forward and backward passes of an image that is not fooled on the way, at one bound and start
    starts: str | None = None  # random starts, of which the worst counts; None: one at most
    of: str | None = None  # the attack that it starts several times, or transfers
    epsilons: str | None = None  # None: those of the norm
    images: str = "images"


ATTACKS = {name: AttackTraits(**traits) for name, traits in declared("evaluation", "attack").items()}


class CustomAttack(Extensible):
    """An attack of the user's own: function(model, images, labels, *, epsilon, seed, **options) -> images."""

    group: ClassVar[str] = "layerlottery.attacks"

    norm: Literal["linf", "l2"] = Field("linf", description="what epsilon bounds: each value, or an image's L2 norm")


class AttackSettings(Settings):
    """Adversarial examples on test images in [0, 1]: FMN and DeepFool by foolbox, AutoAttack by pyautoattack."""

    # a Literal of names that are stated once, which pydantic reads and mypy does not
    attacks: Distinct[Literal[tuple(ATTACKS)]] = Field(  # type: ignore[valid-type]
        ["fgsm", "pgd", "pgd_restarts", "transfer", "pgd_l2", "fmn", "fmn_l2"],
        description="fgsm: one step, L-infinity; pgd: random start; pgd_restarts: the worst of several; transfer: "
        "PGD against the dense network; fgsm_l2, pgd_l2: L2; fmn, fmn_l2, deepfool (L2): the least norm that suffices; "
        "autoattack: L-infinity, needs the extra autoattack",
        min_length=1,
    )
    epsilons: Distinct[Positive] = Field(
        [0.5, 1.0, 2.0, 4.0, 8.0], description="L-infinity bounds in 1/255", min_length=1
    )
    l2_epsilons: Distinct[Positive] = Field(
        [0.5, 1.0, 2.0, 4.0, 8.0, 32.0, 128.0],
        description="L2 bounds in 1/255 of the norm over all values of an image (128 is the customary 0.5)",
        min_length=1,
    )
    pgd_steps: int = Field(20, ge=1, le=100_000, description="steps of PGD")
    relative_step: Positive = Field(0.25, description="PGD step as a share of epsilon (2/255 at 8/255)")
    restarts: int = Field(5, ge=2, le=1000, description="random starts of pgd_restarts; the first is that of pgd")
    norm_steps: int = Field(100, ge=1, le=100_000, description="steps of fmn; most steps of deepfool")
    images: Count | None = Field(1000, description="test images attacked, balanced over classes; null takes all")
    autoattack_images: Count | None = Field(200, description="the same of autoattack, which takes minutes")
    autoattack_epsilons: Distinct[Positive] = Field(
        [8.0], description="L-infinity bounds of autoattack in 1/255", min_length=1
    )
    seed: Seed = Field(0, description="seed of random starts")
    custom: dict[Name, CustomAttack] = later({}, "attacks of your own by name, beside those in attacks")

    @model_validator(mode="after")
    def _own_attacks_have_own_names(self) -> Self:
        if taken := [name for name in self.custom if name in ATTACKS]:
            raise ValueError(f"custom.{taken[0]}: is the name of a built-in attack; yours needs one of its own")
        return self

    def traits(self, name: str) -> AttackTraits:
        """Those of an attack by its name; one of the user's own is taken to need as many passes as PGD."""
        return ATTACKS[name] if name in ATTACKS else AttackTraits("own", self.custom[name].norm, "pgd_steps")

    def levels(self, name: str) -> list[float]:
        """The bounds of an attack, in 1/255; none where it looks for the least norm."""
        traits = self.traits(name)
        by_norm = {"linf": "epsilons", "l2": "l2_epsilons"}[traits.norm]
        return [] if traits.kind == "minimum" else list(getattr(self, traits.epsilons or by_norm))

    def starts(self, name: str) -> int:
        """Random starts of an attack."""
        starts = self.traits(name).starts
        return 1 if starts is None else int(getattr(self, starts))

    def passes(self, name: str) -> int:
        """Forward and backward passes that an attack takes for an image that it does not fool on the way, in all.

        A first start that is another attack's, of these settings, is not counted twice.
        """
        traits = self.traits(name)
        once = traits.passes if isinstance(traits.passes, int) else int(getattr(self, traits.passes))
        starts = self.starts(name) - (traits.starts is not None and traits.of in self.attacks)
        return once * starts * max(1, len(self.levels(name)))


MAIN_CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")


class CorruptionSettings(Settings):
    """Common corruptions with the constants of CIFAR-10-C (Hendrycks & Dietterich 2019)."""

    # as above
    names: Distinct[Literal[(*MAIN_CORRUPTIONS, *EXTRA_CORRUPTIONS)]] = Field(  # type: ignore[valid-type]
        [*MAIN_CORRUPTIONS, *EXTRA_CORRUPTIONS],
        description="which corruptions, by the names of the official files; the 4 extras stay out of means",
    )
    severities: Distinct[Literal[1, 2, 3, 4, 5]] = Field(
        [1, 2, 3, 4, 5], description="1 (mild) to 5 (strong)", min_length=1
    )
    images: Count | None = Field(None, description="test images corrupted, balanced over classes; null takes all")
    seed: Seed = Field(0, description="seed of the random corruptions, and of the choice of images")


Outliers = Literal["shuffled", "photographs", "CIFAR10", "CIFAR100", "SVHN", "FashionMNIST"]


class OutlierSettings(Settings):
    """Images of no class of the set, which a network should be less sure of."""

    near: list[Outliers] = Field(
        ["shuffled"],
        description="sets that resemble the test images; shuffled: their pixels in random order; the others by "
        "torchvision's names",
    )
    far: list[Outliers] = Field(
        ["photographs"],
        description="sets that do not; photographs: patches of those that scikit-learn and scikit-image ship",
    )
    images: Count = Field(1000, description="images of each set, at most; all test images are told from them")
    seed: Seed = Field(0, description="seed of the choice of images, patches and orders")
    location: str = Field("downloads", description="folder that keeps the files of torchvision's sets", min_length=1)
    download: bool = Field(False, description="fetch torchvision's sets when they are not in location")

    @model_validator(mode="after")
    def _each_set_once(self) -> Self:
        named = [*self.near, *self.far]
        if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
            raise ValueError(f"near, far: {twice[0]} is listed twice; allowed: once in one of them")
        return self


class ShiftSettings(Settings):
    """Accuracy and calibration on the clean, the shifted and the corrupted test sets."""

    calibration_bins: int = Field(
        15, ge=1, le=1000, description="equal-width confidence bins of the expected calibration error"
    )


# the unbiased estimator of debiased CKA divides by N - 3
FEWEST_COMPARED = 4


class CompareSettings(Settings):
    """Similarity of a trained ticket and its dense network: debiased linear CKA of their features."""

    images: Annotated[int, Field(ge=FEWEST_COMPARED, le=10**9)] | None = Field(
        500, description="test images compared, balanced over classes, at least 4: debiasing needs them; null takes all"
    )


class EvaluationSettings(Settings):
    """All tests of one network: sections of the configuration."""

    attack: AttackSettings = Field(AttackSettings(), description="adversarial examples")
    corruptions: CorruptionSettings = Field(CorruptionSettings(), description="corrupted test sets")
    official: OfficialSettings = Field(OfficialSettings(), description="published test sets in place of generated ones")
    outliers: OutlierSettings = Field(OutlierSettings(), description="images of no class, to be told from test images")
    shift: ShiftSettings = Field(ShiftSettings(), description="evaluation on clean, shifted and corrupted sets")
