"""Loading a benchmark: a configuration as it was read, validated; whatever is wrong with it in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.overlay import completed
from layerlottery.config.reading import check_size, read_yaml
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import canonical
from layerlottery.words import terminal

# which member of a union it was: in angle brackets, or as pydantic calls it; that does not stand in the configuration
MEMBER = re.compile(r"<|constrained-\w+$|literal\[")


def load_benchmark(config: Mapping[str, Any], *files: str | Path) -> Benchmark:
    """Validate a configuration; raises one line that names the key, what was found and what is allowed.

    `files` are where it was read: the name of the file that it `extends` is relative to the only one of them. They
    are looked at once more, for their reader keeps the last of two equal keys.
    """
    if len(files) > 1 and config.get("extends") is not None:
        names = " and ".join(map(str, files))
        raise LayerLotteryError(f"configuration: extends: found in {names} together; allowed: one configuration file")
    for file in files:
        read_yaml(Path(file))
    try:
        check_size(config)
    except ValueError as error:
        raise LayerLotteryError(f"configuration: {error}") from None
    whole = completed(config, Path(files[0] if files else "config.yaml").parent)
    try:
        return Benchmark.model_validate(whole)
    except ValidationError as error:
        raise LayerLotteryError(f"configuration: {first_line(error)}") from None


def first_line(error: ValidationError) -> str:
    """The first problem of a validation error, and how many more there are."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"] if not MEMBER.match(str(part)))
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        text = "missing; this key is needed"
    elif problem["type"] != "value_error":
        text = f"found {canonical_or_repr(problem['input'])}; {text[0].lower()}{text[1:]}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    # a name from a file may hold what moves a terminal's cursor
    return terminal(" ".join(f"{key[:100]}: {text[:400]}{more}".removeprefix(": ").split()))


def canonical_or_repr(value: Any) -> str:
    """A short text of whatever stood in the configuration."""
    try:
        text = canonical(value)
    except (TypeError, ValueError):
        text = repr(value)
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
