"""A criterion: how much a block turns what passes through it (block influence, Men et al. 2024, arXiv 2403.03853)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from layerlottery.networks.blocks import Block


@torch.no_grad()
def influence(
    model: nn.Module, blocks: list[Block], batches: Iterable[tuple[Tensor, Tensor]], *, seed: int, centred: bool = False
) -> dict[str, float]:
    """One minus the cosine similarity of a block's input and output, mean over the images."""
    turned: dict[str, list[Tensor]] = {block.name: [] for block in blocks}

    def watch(name: str):  # noqa: ANN202
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            before, after = given[0].flatten(1), output.flatten(1)
            if centred:
                before, after = before - before.mean(1, keepdim=True), after - after.mean(1, keepdim=True)
            turned[name].append(1 - nn.functional.cosine_similarity(before, after))

        return hook

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in turned]
    for images, _labels in batches:
        model(images)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(values).mean().item() for name, values in turned.items()}
