"""The logits in what a network answers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# what classifiers and torchvision's segmentation networks call them
NAMES = ("logits", "out")


def logits_of(answer: Any, *, training: bool = False) -> Any:
    """The logits: the answer itself, its `logits`, or the one matrix in a tuple; the answer where none is found.

    A mapping may call them `out`, as torchvision's segmentation networks do. In training the first tensor of a tuple is
    meant: those of auxiliary classifiers follow.
    """
    if isinstance(answer, Tensor):
        return answer
    found = [answer.get(name) for name in NAMES] if isinstance(answer, Mapping) else [getattr(answer, "logits", None)]
    for one in found:
        if isinstance(one, Tensor):
            return one
    given = answer if isinstance(answer, tuple | list) else ()
    matrices = [one for one in given if isinstance(one, Tensor) and one.dim() == 2]
    return matrices[0] if len(matrices) == 1 or (training and matrices) else answer
