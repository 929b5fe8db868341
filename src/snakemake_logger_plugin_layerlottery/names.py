"""What a job is about, of its first output; layerlottery.config.naming has the words for it."""

from __future__ import annotations

from collections.abc import Sequence

from layerlottery.paths import WILDCARDS, wildcards

KNOWN = {*WILDCARDS, "removed"}


def about(outputs: Sequence[str], results: str = "") -> dict[str, str]:
    """The key=value parts of a job's first output below the results folder, such as dataset and seed; {} for tables."""
    found = wildcards(outputs[0].removeprefix(f"{results}/")) if outputs else {}
    return {name: value for name, value in found.items() if name in KNOWN}
