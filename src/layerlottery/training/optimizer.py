"""SGD with momentum, all parameters in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from layerlottery.config.training import TrainingSettings


class MomentumSGD:
    """SGD with (Nesterov) momentum and an L2 penalty: torch's own fused function.

    Not torch.optim.SGD, which imports torch's compiler when it is made: 2.4 s of a processor and 150 MiB in every
    training. `momentum` holds the velocity of each parameter by name, in its memory layout; zero before the first step.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: TrainingSettings) -> None:
        self.parameters = dict(parameters)
        self.settings = settings
        self.learning_rate = settings.learning_rate
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward pass need not add to them."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        decay = self.settings.weight_decay
        if self.settings.decayed == "all":
            return self._move(moved, decay)
        kernels = [name for name in moved if self.parameters[name].dim() == 4]
        self._move(kernels, decay)
        return self._move([name for name in moved if name not in kernels], 0.0)

    def _move(self, names: Sequence[str], decay: float) -> None:
        moved = [(one, one.grad) for one in map(self.parameters.__getitem__, names) if one.grad is not None]
        velocities: list[Tensor | None] = [self.momentum[name] for name in names]
        sgd(
            [parameter for parameter, _ in moved],
            [gradient for _, gradient in moved],
            velocities if self.settings.momentum else [None] * len(names),
            fused=True,
            weight_decay=decay,
            momentum=self.settings.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=self.settings.nesterov,
            maximize=False,
        )
