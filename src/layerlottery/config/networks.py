"""Settings of networks, of any family; each says what its stages keep when blocks go.

A family is one model here, a builder in networks/zoo and a line in docs/networks.md.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from layerlottery.config.base import BOOLEANS, Fraction, Settings, later
from layerlottery.config.data import place
from layerlottery.config.extensible import Extensible, Options
from layerlottery.store.hashing import canonical
from layerlottery.store.regular import irregular

MINIMUM_PER_STAGE = 2
DEFAULT_FAMILY = "resnet"
STAGE_COUNT = 3

Stem = Literal["as_is", "small"]

FAMILY = "kind of network: resnet (CIFAR ResNets), wide_resnet, preact_resnet, vit, torchvision, timm, custom"
STEM = "first layers: as_is, or small for images of some 32 pixels a side (first stride 1, no max-pool)"
OPTIONS = "arguments of the network's constructor, as JSON"
PRETRAINED = (
    "start from trained weights: true for those of the library, which are downloaded, or the path of a file: "
    "safetensors, or a state dict of torch.save"
)


class ResidualSettings(Settings):
    """Settings of every network: `minimum` residual blocks stay in each stage, the first one too with `keep_first`.

    `sized` says that the weights depend on the side of the images.
    """

    minimum: ClassVar[int] = 1
    keep_first: ClassVar[bool] = False
    sized: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _only_libraries_have_weights(cls, given: Any) -> Any:
        if isinstance(given, dict) and "pretrained" in given and "pretrained" not in cls.model_fields:
            family = given.get("family", DEFAULT_FAMILY)
            own = "; a function of your own loads its weights itself" if family == "custom" else ""
            raise ValueError(f"pretrained: family {family} has none; allowed: families torchvision and timm{own}")
        return given

    @property
    def most_removable(self) -> int | None:
        """Blocks that can go at most; None where only the built network can tell."""
        return None

    @property
    def untrained(self) -> Self:
        """The same network with random weights."""
        return self


class StagedSettings(ResidualSettings):
    """Networks of three stages of equally many blocks for images of CIFAR's size.

    All keep what Jordao et al. (2023, section 3) keep in CIFAR ResNets, so that a number of removed blocks
    means the same in each.
    """

    minimum: ClassVar[int] = MINIMUM_PER_STAGE
    keep_first: ClassVar[bool] = True
    # weighted layers outside the blocks, of which each has two
    outside: ClassVar[int] = 2

    depth: int

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        if (self.depth - self.outside) % 6:
            possible = ", ".join(str(6 * n + self.outside) for n in (1, 2, 3, 4, 5, 7, 9, 18))
            raise ValueError(f"depth {self.depth} is not 6n + {self.outside} ({possible}, …)")
        return self

    @property
    def blocks_per_stage(self) -> int:
        return (self.depth - self.outside) // 6

    @property
    def most_removable(self) -> int:
        """Blocks that can go at most: two stay in each of the three stages."""
        return STAGE_COUNT * max(0, self.blocks_per_stage - self.minimum)


class CifarSettings(StagedSettings):
    """CIFAR ResNets: three stages of n blocks, depth 6n + 2."""

    depth: int = Field(
        description="weighted layers: 6n + 2 (8, 14, 20, 32, 44, 56, 110, …), or 6n + 4 in a wide_resnet", ge=8, le=2000
    )
    family: str
    shortcut: Literal["A", "B"] = Field("B", description="downsampling shortcut: A zero padding, B 1x1 projection")
    width: int = Field(16, ge=1, le=16_384, description="channels of the first stage")


class NetworkSettings(CifarSettings):
    """A CIFAR ResNet (He et al. 2016, section 4.2): three stages of n blocks, depth 6n + 2."""

    # left out of every text, as the family that came first: slices and hashes are those of before there were others
    family: Literal["resnet"] = Field("resnet", description=FAMILY, exclude=True)

    @property
    def can_lose_filters(self) -> bool:
        """Whether additions join equal widths; zero padding joins stages of different ones."""
        return self.shortcut == "B"


class PreactResNetSettings(CifarSettings):
    """A CIFAR ResNet with BatchNorm and ReLU before each convolution (He et al. 2016b): depth 6n + 2."""

    family: Literal["preact_resnet"] = Field(description=FAMILY)


class WideResNetSettings(StagedSettings):
    """A wide residual network WRN-depth-widen (Zagoruyko & Komodakis 2016): depth 6n + 4."""

    outside: ClassVar[int] = 4

    family: Literal["wide_resnet"] = Field(description=FAMILY)
    depth: int = Field(description="weighted layers: 6n + 4 (10, 16, 22, 28, 40, …)", ge=10, le=2000)
    widen: int = Field(ge=1, le=100, description="factor k of the stages' channels: 16k, 32k, 64k")
    dropout: Fraction = Field(0.0, description="dropout between the two convolutions of a block")


class VisionTransformerSettings(ResidualSettings):
    """A vision transformer (Dosovitskiy et al. 2021) for images of any size that its patches divide."""

    sized: ClassVar[bool] = True

    family: Literal["vit"] = Field(description=FAMILY)
    patch: int = Field(4, ge=1, le=1024, description="pixels a side of a patch")
    layers: int = Field(12, ge=1, le=1000, description="encoder layers, each attention and an MLP")
    heads: int = Field(3, ge=1, le=16_384, description="attention heads; they divide `hidden`")
    hidden: int = Field(192, ge=1, le=16_384, description="features of a token")
    mlp: int = Field(768, ge=1, le=65_536, description="features inside an MLP")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads: found {self.heads}; allowed: divisors of hidden, {self.hidden}")
        return self

    @property
    def most_removable(self) -> int:
        """All layers but one: they are a single stage."""
        return self.layers - self.minimum


class LibrarySettings(ResidualSettings):
    """A network by its name in a library, with random weights or trained ones.

    Of a weights file the content counts, not the place: the slice holds its hash alone.
    """

    sized: ClassVar[bool] = True

    name: str = Field(description="the library's name of the network", pattern=r"^[A-Za-z0-9_.]+$")
    stem: Stem = Field("as_is", description=STEM)
    options: Options = Field({}, description=OPTIONS)
    pretrained: bool | str = later(False, PRETRAINED)
    pretrained_sha256: str | None = later(
        None,
        "SHA-256 of the file that pretrained names; filled in, so that a change of it runs again what depends on it",
        pattern=r"^[0-9a-f]{64}$",
    )

    @field_validator("pretrained", mode="before")
    @classmethod
    def _words_are_no_paths(cls, given: Any) -> Any:
        if not isinstance(word := _truth(given), bool | str) or word == "":
            raise ValueError(f"found {word!r}; allowed: true, false, or the path of a weights file")
        return word

    @model_validator(mode="before")
    @classmethod
    def _fill_in_hash(cls, given: Any) -> Any:
        path = _truth(given.get("pretrained")) if isinstance(given, dict) else None
        if not isinstance(path, str) or not path or given.get("pretrained_sha256") is not None:
            return given
        return given | {"pretrained_sha256": fingerprint(place(path))}

    @model_validator(mode="after")
    def _hash_belongs_to_a_file(self) -> Self:
        if self.pretrained_sha256 and self.weights_file is None:
            raise ValueError(f"pretrained_sha256: found beside pretrained: {self.pretrained}; allowed: with a file")
        return self

    @property
    def weights_file(self) -> Path | None:
        """The file of the trained weights, if one is named."""
        return place(self.pretrained) if isinstance(self.pretrained, str) else None

    @property
    def untrained(self) -> Self:
        return self.model_copy(update={"pretrained": False, "pretrained_sha256": None})

    def slice(self) -> str:
        """Canonical JSON without default-valued fields, and without a path: a file may move."""
        hidden = {"pretrained"} if self.weights_file else set()
        return canonical(self.model_dump(mode="json", exclude_defaults=True, exclude=hidden))


def _truth(given: Any) -> Any:
    """Snakemake's --config and the command line give truth values as text; other text is a path."""
    return BOOLEANS.get(given.strip().lower(), given) if isinstance(given, str) else given


def fingerprint(path: Path) -> str:
    """SHA-256 of a weights file as 64 hexadecimal digits; raises ValueError, in one line, where there is none."""
    try:
        if (kind := irregular(path)) is not None:
            raise ValueError(f"pretrained: {path}: found {kind}; allowed: a regular file")
        found = path.stat()
        return _hashed(path.absolute(), found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"pretrained: {path}: {error.strerror} (working directory {Path.cwd()})") from None


@lru_cache
def _hashed(path: Path, size: int, changed: int) -> str:
    """Of a file of this size, changed at this time: a configuration is read several times in a process."""
    with path.open("rb") as held:
        return hashlib.file_digest(held, "sha256").hexdigest()


class TorchvisionSettings(LibrarySettings):
    """A network of torchvision.models."""

    family: Literal["torchvision"] = Field(description=FAMILY)


class TimmSettings(LibrarySettings):
    """A network of timm, an optional dependency."""

    family: Literal["timm"] = Field(description=FAMILY)


class CustomSettings(Extensible, ResidualSettings):
    """A network of the user's own: function(*, channels, classes, image_size, **options) -> torch.nn.Module."""

    group: ClassVar[str] = "layerlottery.networks"
    sized: ClassVar[bool] = True

    family: Literal["custom"] = Field(description=FAMILY)


def _family(given: Any) -> str:
    found = given.get("family", DEFAULT_FAMILY) if isinstance(given, dict) else getattr(given, "family", DEFAULT_FAMILY)
    return f"<{found}>"


# tags in angle brackets: messages about a bad key leave them out
Network = Annotated[
    Annotated[WideResNetSettings, Tag("<wide_resnet>")]
    | Annotated[PreactResNetSettings, Tag("<preact_resnet>")]
    | Annotated[VisionTransformerSettings, Tag("<vit>")]
    | Annotated[TorchvisionSettings, Tag("<torchvision>")]
    | Annotated[TimmSettings, Tag("<timm>")]
    | Annotated[CustomSettings, Tag("<custom>")]
    | Annotated[NetworkSettings, Tag("<resnet>")],
    Discriminator(
        _family,
        custom_error_type="unknown_family",
        custom_error_message="allowed families are resnet, wide_resnet, preact_resnet, vit, torchvision, timm, custom",
    ),
]

# Touvron et al. (2021) for the widths; patches of 4 pixels are usual for images of 32
TRANSFORMERS: dict[str, dict[str, int]] = {
    "vit_tiny": {"heads": 3, "hidden": 192, "mlp": 768},
    "vit_small": {"heads": 6, "hidden": 384, "mlp": 1536},
}
NAMES = (
    "resnet20, resnet32 and all resnet(6n+2), preresnet(6n+2), wrn-(6n+4)-WIDEN such as wrn-28-10, "
    f"{', '.join(TRANSFORMERS)}, torchvision.NAME, timm.NAME"
)


def named_network(name: str) -> Network:
    """The settings of a network that needs no entry in the configuration; KeyError when there is none."""
    if name in TRANSFORMERS:
        return VisionTransformerSettings(family="vit", **TRANSFORMERS[name])
    try:
        return _by_pattern(name)
    except ValidationError:
        raise KeyError(name) from None


def is_named(name: str) -> bool:
    """Whether a network of this name needs no entry in the configuration."""
    try:
        named_network(name)
    except KeyError:
        return False
    return True


def _by_pattern(name: str) -> Network:
    if found := re.fullmatch(r"resnet(\d+)", name):
        return NetworkSettings(depth=int(found[1]))
    if found := re.fullmatch(r"preresnet(\d+)", name):
        return PreactResNetSettings(family="preact_resnet", depth=int(found[1]))
    if found := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        return WideResNetSettings(family="wide_resnet", depth=int(found[1]), widen=int(found[2]))
    if found := re.fullmatch(r"torchvision\.(.+)", name):
        return TorchvisionSettings(family="torchvision", name=found[1])
    if found := re.fullmatch(r"timm\.(.+)", name):
        return TimmSettings(family="timm", name=found[1])
    raise KeyError(name)
