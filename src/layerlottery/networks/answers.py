"""The logits in what a network answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def logits_of(answer: Any, *, training: bool = False) -> Any:
    """The logits: the answer itself, its `logits`, or the one matrix in a tuple; the answer where none is found.

    In training the first tensor of a tuple is meant: those of auxiliary classifiers follow.
    """
    if isinstance(answer, Tensor):
        return answer
    named = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    if isinstance(named, Tensor):
        return named
    given = answer if isinstance(answer, tuple | list) else ()
    matrices = [one for one in given if isinstance(one, Tensor) and one.dim() == 2]
    return matrices[0] if len(matrices) == 1 or (training and matrices) else answer
