"""Settings of the stage prepare: one model for each kind of image set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from layerlottery.settings.base import Count, Name, Settings

OfficialShift = Literal["CIFAR-10.1", "CIFAR-10.2"]
OfficialCorruptions = Literal["CIFAR-10-C", "CIFAR-100-C"]


class OfficialSettings(Settings):
    """Published test sets of CIFAR: corrupted (CIFAR-10-C, CIFAR-100-C) and collected anew (CIFAR-10.1, CIFAR-10.2)."""

    sets: list[Literal[OfficialShift, OfficialCorruptions]] = Field(
        [], description="CIFAR-10-C, CIFAR-100-C: in place of the generated corruptions; CIFAR-10.1 (v6), CIFAR-10.2"
    )
    location: str = Field(
        "downloads", description="folder that holds their files as published, or keeps what is fetched", min_length=1
    )
    download: bool = Field(
        False,
        description="fetch what is not in location; if false, corruptions that are not there are generated, and say so",
    )

    def of(self, names: Sequence[str]) -> OfficialSettings:
        """The same for the sets among these names; the defaults where there is none."""
        chosen = [name for name in self.sets if name in names]
        return self.model_copy(update={"sets": chosen}) if chosen else OfficialSettings()


class ImageSet(Settings):
    """What all image sets share."""

    train_size: Count | None = Field(None, description="training images to keep, balanced over classes; null keeps all")
    test_size: Count | None = Field(None, description="test images to keep, balanced over classes; null keeps all")
    sample_seed: int = Field(0, ge=0, lt=2**32, description="seed of the split and of the choice of kept images")
    held_out: Count | None = Field(
        None,
        description="training images, balanced over classes, that no training sees: calibration temperatures are "
        "fitted to them; null holds out none, and nothing is fitted",
    )
    official: OfficialSettings = Field(OfficialSettings(), description="published test sets that belong to this one")


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
