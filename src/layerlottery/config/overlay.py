"""A configuration that says only what differs from another one: its key `extends` names that file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layerlottery.config.reading import read_yaml
from layerlottery.errors import LayerLotteryError

KEY = "extends"


def completed(config: Mapping[str, Any], folder: Path, *seen: Path) -> dict[str, Any]:
    """The configuration laid over the one that it extends, if any; `folder` is that of its own file.

    Mappings are merged key by key; anything else, lists among them, takes the place of what the other file has. Raises
    LayerLotteryError where there is no such file, it is no mapping, or files extend each other.
    """
    changes = {key: value for key, value in config.items() if key != KEY}
    if config.get(KEY) is None:
        return changes
    # a name with control characters would break the one line of its message
    if not isinstance(name := config[KEY], str) or not name.isprintable() or not 0 < len(name) < 500:
        raise LayerLotteryError(
            f"configuration: {KEY}: found {repr(config[KEY])[:60]}; allowed: the name of a YAML file"
        )
    path = (folder / os.path.expanduser(config[KEY])).resolve()  # noqa: PTH111 - Path raises for ~nobody
    if path in seen:
        raise LayerLotteryError(f"configuration: {KEY}: {path} extends itself")
    return _merged(completed(_read(path), path.parent, *seen, path), changes)


def _read(path: Path) -> Mapping[str, Any]:
    held = read_yaml(path, key=KEY)
    if not isinstance(held, dict):
        raise LayerLotteryError(f"configuration: {KEY}: {path}: found {type(held).__name__}; allowed: a mapping")
    return held


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    def one(key: str, value: Any) -> Any:
        return _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value

    return {**base, **{key: one(key, value) for key, value in changes.items()}}
