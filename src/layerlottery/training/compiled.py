"""torch.compile, where a training is long enough for it to pay off."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerlottery.config.training import TrainingSettings

# compiling a ResNet32 takes about a minute; a step on a GPU saves some milliseconds: not measured, no GPU was at hand
LEAST_STEPS = 20_000


def repays(settings: TrainingSettings, device: torch.device, *, steps: int) -> bool:
    """Whether to compile a training of so many steps, from its first epoch to its last.

    All steps count, also in a training that is resumed or rewound: a resumed one must compute as the undisturbed
    one did. Never by itself on a processor: there the compiled step is slower (docs/performance.md).
    """
    if settings.compile != "auto":
        return settings.compile == "always"
    return device.type == "cuda" and steps >= LEAST_STEPS


def compiled(model: nn.Module, device: torch.device, *, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
    """The forward pass of `model`, compiled at its first call; on a GPU recorded into CUDA graphs."""
    if backend != "inductor" or device.type != "cuda":
        return torch.compile(model, backend=backend, dynamic=False)
    graphed = torch.compile(model, mode="reduce-overhead", dynamic=False)

    def forward(images: Tensor) -> Tensor:
        # what the graph of the last step put out is used up
        torch.compiler.cudagraph_mark_step_begin()
        logits: Tensor = graphed(images)
        return logits

    return forward
