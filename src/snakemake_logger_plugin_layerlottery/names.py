"""What a job is about, of its first output; layerlottery.config.naming has the words for it."""

from __future__ import annotations

from collections.abc import Sequence

from layerlottery.paths import WILDCARDS


def about(outputs: Sequence[str], results: str = "") -> dict[str, str]:
    """The key=value parts of a job's first output below the results folder, such as dataset and seed; {} for tables."""
    path = outputs[0].removeprefix(f"{results}/").removesuffix(".safetensors") if outputs else ""
    pairs = (part.partition("=") for part in path.split("/"))
    return {name: value for name, equals, value in pairs if equals and name in WILDCARDS}
