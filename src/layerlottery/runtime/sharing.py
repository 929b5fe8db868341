"""Whether jobs share the results folder's file system: where they don't, a job is given the files that it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from layerlottery.errors import LayerLotteryError

Declared = TypeVar("Declared", bound=list[str] | Callable[..., Any])


def shares_files(workflow: Any) -> bool:
    """Whether all jobs of Snakemake's `workflow` see one results folder.

    False with a default storage provider, which brings each job its inputs, and where Snakemake was told
    (--shared-fs-usage) that inputs and outputs are on no shared file system: HTCondor then sends them along.
    """
    from snakemake.settings.types import SharedFSUsage

    settings = workflow.storage_settings
    return settings.default_storage_provider is None and SharedFSUsage.INPUT_OUTPUT in settings.shared_fs_usage


def check_stored(datasets: Mapping[str, Any], *, shared: bool) -> None:
    """Raise LayerLotteryError for a set that is kept encoded where jobs share no files.

    How many files hold it follows from its images, which is known too late to declare them.
    """
    for name, dataset in datasets.items():
        if not shared and getattr(dataset, "stored", "decoded") != "decoded":
            raise LayerLotteryError(
                f"datasets.{name}.stored: found {dataset.stored}; allowed without a shared file system: decoded"
            )


def beside(name: str, file: str) -> Callable[..., str]:
    """A parameter for Snakemake: the path of `file`, a pattern, where it lies in a job: beside the input `name`."""
    own = PurePath(file).name
    return lambda wildcards, input: str(PurePath(getattr(input, name)).with_name(own))
