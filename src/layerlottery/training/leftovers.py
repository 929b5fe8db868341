"""Files that earlier processes left of a training; they count only if they are whole and of this training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from layerlottery.errors import LayerLotteryError, what

log = logging.getLogger(__name__)

Content = TypeVar("Content")


def of_this_training(
    path: Path, fingerprint: str, read: Callable[[Path], tuple[Content, dict[str, Any]]], *, otherwise: str
) -> tuple[Content, dict[str, Any]] | None:
    """Content and facts that `read` finds in a file; None where it is missing, damaged or another training's.

    `otherwise` is what the log says then, followed by the reason; a missing file is not worth a line.
    """
    if not path.exists():
        return None
    try:
        content, facts = read(path)
    except LayerLotteryError as error:
        log.info("%s: %s", otherwise, what(error))
        return None
    if facts.pop("config_hash") != fingerprint:
        log.info("%s: %s belongs to another configuration", otherwise, path)
        return None
    return content, facts
