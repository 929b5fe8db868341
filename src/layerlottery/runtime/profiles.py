"""The profiles that Snakemake was started with: in them, too, the last of two equal keys would win in silence."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerlottery.config.reading import read_yaml
from layerlottery.errors import LayerLotteryError

# executors whose profiles ask for one GPU a training
ONE_GPU = ("kubernetes", "lsf", "htcondor")


def check_profiles(words: Sequence[str], *, gpus: int = 1) -> None:
    """Read the profiles of a Snakemake command line; raises LayerLotteryError for a key that stands twice.

    Also where they give a training, which is to have so many `gpus`, only one.
    """
    from snakemake.cli import get_profile_dir  # type: ignore[import-untyped]

    for name in _profiles(words):
        if found := get_profile_dir(name):
            held = read_yaml(found[1])
            executor = held.get("executor") if isinstance(held, dict) else None
            if gpus > 1 and executor in ONE_GPU:
                raise LayerLotteryError(
                    f"resources.gpus_per_training: found {gpus}; allowed with the executor {executor}: 1"
                )


def _profiles(words: Sequence[str]) -> Iterator[str]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--workflow-profile", default="default")
    try:
        given, _ = parser.parse_known_args(words)
    except argparse.ArgumentError:
        return  # Snakemake has read them, or is not what was started
    yield from given.profile or filter(None, [os.environ.get("SNAKEMAKE_PROFILE")])
    places = (given.workflow_profile, f"profiles/{given.workflow_profile}")
    yield from [place for place in places if Path(place).exists()][:1]
