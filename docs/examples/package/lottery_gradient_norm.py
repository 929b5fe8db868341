"""A criterion in a package: the norm of the loss's gradient in a block's parameters, over all batches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def score(
    model: nn.Module, blocks: list[Any], batches: Iterable[tuple[Tensor, Tensor]], *, seed: int, order: float = 2.0
) -> dict[str, float]:
    """Gradients add up over the batches; `order` is the norm's."""
    model.zero_grad()
    for images, labels in batches:
        nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
    gradients = {
        block.name: [one.grad.flatten() for one in model.get_submodule(block.name).parameters() if one.grad is not None]
        for block in blocks
    }
    return {name: torch.cat(found).norm(p=order).item() for name, found in gradients.items()}
