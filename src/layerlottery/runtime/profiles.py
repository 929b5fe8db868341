"""The profiles that Snakemake was started with: in them, too, the last of two equal keys would win in silence."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from layerlottery.config.reading import read_yaml
from layerlottery.errors import LayerLotteryError

# executors whose profiles ask for one GPU a training
ONE_GPU = ("kubernetes", "lsf", "htcondor")


def check_profiles(words: Sequence[str], *, gpus: int = 1) -> None:
    """Read the profiles of a Snakemake command line; raises LayerLotteryError for a key that stands twice.

    Also where they give a training, which is to have so many `gpus`, only one.
    """
    for held in _read(words):
        executor = held.get("executor")
        if gpus > 1 and executor in ONE_GPU:
            raise LayerLotteryError(
                f"resources.gpus_per_training: found {gpus}; allowed with the executor {executor}: 1"
            )


def storage_of(words: Sequence[str]) -> str | None:
    """The storage where a Snakemake command line, or a profile of it, keeps results, such as s3; None for a disk."""
    given = _typed(words)
    profiles = (held.get("default-storage-provider") for held in _read(words))
    return (given and given.default_storage_provider) or next(filter(None, profiles), None)


def _read(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    from snakemake.cli import get_profile_dir

    for name in _profiles(words):
        if found := get_profile_dir(name):
            held = read_yaml(found[1])
            if isinstance(held, dict):
                yield held


def _typed(words: Sequence[str]) -> argparse.Namespace | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--workflow-profile", default="default")
    parser.add_argument("--default-storage-provider")
    try:
        return parser.parse_known_args(words)[0]
    except argparse.ArgumentError:
        return None  # Snakemake has read them, or is not what was started


def _profiles(words: Sequence[str]) -> Iterator[str]:
    if (given := _typed(words)) is None:
        return
    yield from given.profile or filter(None, [os.environ.get("SNAKEMAKE_PROFILE")])
    places = (given.workflow_profile, f"profiles/{given.workflow_profile}")
    yield from [place for place in places if Path(place).exists()][:1]
