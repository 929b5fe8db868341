"""Settings of the stage prepare: one model for each kind of image set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from layerlottery.config.base import Count, Distinct, Name, Settings, later
from layerlottery.config.extensible import Extensible

OfficialShift = Literal["CIFAR-10.1", "CIFAR-10.2"]
OfficialCorruptions = Literal["CIFAR-10-C", "CIFAR-100-C"]
Fit = Literal["stretch", "crop"]
Stored = Literal["decoded", "encoded"]
Files = str | list[str]
# where publishers of Tiny-ImageNet's layout name the class of each image
ANNOTATIONS = "val_annotations.txt"


def place(location: str, *below: str) -> Path:
    """The path of what lies below a set's location; ~ in front of any of them is a home folder."""
    # not Path.expanduser, which raises for an unknown user
    return Path(*map(os.path.expanduser, (location, *below)))


class OfficialSettings(Settings):
    """Published test sets of CIFAR: corrupted (CIFAR-10-C, CIFAR-100-C) and collected anew (CIFAR-10.1, CIFAR-10.2)."""

    sets: Distinct[Literal[OfficialShift, OfficialCorruptions]] = Field(
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
    """Settings of every image set."""

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
    shifted: Distinct[Literal["mnist"]] = Field(["mnist"], description="shifted test sets: MNIST digits reduced to 8x8")


class Located(ImageSet):
    """Image sets read from a folder on disk."""

    location: str = Field(description="folder that holds the set", min_length=1)
    image_size: int | None = Field(
        None, ge=8, le=4096, description="images are resized to this many pixels a side; null keeps"
    )
    fit: Fit = later(
        "stretch",
        "how images take image_size: stretch (both sides), or crop (the shorter side, then the square in the middle, "
        "as is usual for ImageNet)",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 (grey) or 3 (colour); null: 3 if a training image is in colour"
    )
    stored: Stored = later(
        "decoded",
        "how prepare keeps images: decoded (uint8 arrays), or encoded (their files as they are, decoded whenever an "
        "image is used: for sets that take too much room otherwise)",
    )
    strict: bool = later(False, "refuse the set when a file is left out of it or an image loses something")

    @model_validator(mode="after")
    def _crop_needs_a_size(self) -> Located:
        if self.fit == "crop" and self.image_size is None:
            raise ValueError("fit: crop needs image_size")
        return self


class ParquetImages(Located):
    """Parquet files in the Hugging Face layout: columns image {bytes, path} and label.

    A split is one file, a pattern such as train-*.parquet (its files sorted by name), or a list of both.
    """

    source: Literal["parquet"]
    train: Files = Field("train.parquet", description="training files inside location: name, pattern (*) or list")
    test: Files = Field("test.parquet", description="test files inside location: name, pattern (*) or list")
    shifted: dict[Name, Files] = Field(
        {}, description="name: files inside location (name, pattern or list), evaluated as a shifted test set"
    )
    image_column: str | None = later(None, "column of the images; null takes image, else img", min_length=1)
    label_column: str | None = later(
        None,
        "column of the labels; null takes label, else the one of labels and fine_label that is there",
        min_length=1,
    )

    @field_validator("train", "test", "shifted", mode="before")
    @classmethod
    def _files_are_named(cls, given: Any, info: ValidationInfo) -> Any:
        # says it in one line, where a union would speak of each of its members
        several = info.field_name == "shifted" and isinstance(given, dict)
        for files in given.values() if several else [given]:
            names = files if isinstance(files, list) else [files]
            if not names or not all(isinstance(name, str) and name for name in names):
                raise ValueError(f"found {files!r}; allowed: a file's name, a pattern, or a list of them")
        return given


class ImageFolder(Located):
    """An image folder, one sub-folder a class; its images lie in it at any depth."""

    source: Literal["folder"]
    train: str = Field("train", description="training folder inside location")
    test: str = Field("test", description="test folder inside location")
    shifted: dict[Name, str] = Field({}, description="name: folder inside location, evaluated as a shifted test set")
    annotations: str = later(
        ANNOTATIONS,
        "file in a test or shifted folder without class folders: a line for each image, its name, a tab, its class",
        min_length=1,
    )


class TorchvisionImages(ImageSet):
    """A set that torchvision downloads and verifies by hash."""

    source: Literal["torchvision"]
    set: Literal["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST"] = Field(description="torchvision's class name")
    location: str = Field("downloads", description="folder that keeps the downloaded files", min_length=1)
    download: bool = Field(True, description="fetch the files when they are not in location")


class CustomImages(ImageSet, Extensible):
    """A set that a function of the user's own returns, as `ImageArrays`."""

    group: ClassVar[str] = "layerlottery.datasets"

    source: Literal["custom"]


Dataset = Annotated[
    Digits | ParquetImages | ImageFolder | TorchvisionImages | CustomImages, Field(discriminator="source")
]
