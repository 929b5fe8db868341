"""SGD with momentum and AdamW, all parameters in one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from layerlottery.config.training import TrainingSettings

# which parameters `decayed` names. Kernels and matrices have 4 and 2 dimensions; biases and norms 1, class tokens,
# positions and the scales of layers (timm's and torchvision's transformers, ConvNeXt) 3, and those go without in timm
DECAYED: dict[str, Callable[[Tensor], bool]] = {
    "all": lambda parameter: True,
    "convolutions": lambda parameter: parameter.dim() == 4,
    "matrices": lambda parameter: parameter.dim() in (2, 4),
}
# the denominator's smallest, as in torch and in Kingma & Ba (2015)
EPSILON = 1e-8


class Optimizer(ABC):
    """Moves named parameters by their gradients at `learning_rate`, which the loop sets before each step.

    Not one of torch.optim's classes, which import torch's compiler when they are made: 2.4 s of a processor and 150 MiB
    in every training; its fused functions do the work. `state` holds by name what a resumed training needs.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: TrainingSettings) -> None:
        self.parameters = dict(parameters)
        self.settings = settings
        self.learning_rate = settings.learning_rate
        self.momentum = self._zeros()

    def _zeros(self) -> dict[str, Tensor]:
        return {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @property
    def state(self) -> dict[str, Tensor]:
        """What it keeps from step to step, in place: a copy into these tensors resumes."""
        return {f"momentum.{name}": tensor for name, tensor in self.momentum.items()}

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward pass need not add to them."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for names, decay in self._groups():
            gradients = [self.parameters[name].grad for name in names]
            self._move(names, [one for one in gradients if one is not None], decay)

    def _groups(self) -> Iterator[tuple[list[str], float]]:
        """Names of parameters with a gradient, and their decay."""
        moved = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        decays = DECAYED[self.settings.decayed]
        if first := [name for name in moved if decays(self.parameters[name])]:
            yield first, self.settings.weight_decay
        if rest := [name for name in moved if not decays(self.parameters[name])]:
            yield rest, 0.0

    @abstractmethod
    def _move(self, names: Sequence[str], gradients: list[Tensor], decay: float) -> None:
        """Move these parameters."""


class MomentumSGD(Optimizer):
    """SGD with (Nesterov) momentum and an L2 penalty.

    `momentum` holds the velocity of each parameter by name, in its memory layout; zero before the first step.
    """

    def _move(self, names: Sequence[str], gradients: list[Tensor], decay: float) -> None:
        velocities: list[Tensor | None] = [self.momentum[name] for name in names]
        sgd(
            [self.parameters[name] for name in names],
            gradients,
            velocities if self.settings.momentum else [None] * len(names),
            fused=True,
            weight_decay=decay,
            momentum=self.settings.momentum,
            lr=self.learning_rate,
            dampening=0.0,
            nesterov=self.settings.nesterov,
            maximize=False,
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): θ ← θ(1 - ηλ) before Adam's step, η the rate.

    `momentum` and `variance` hold the running means of gradients and of their squares, `steps` how often each
    parameter moved; all are zero before the first step.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], settings: TrainingSettings) -> None:
        super().__init__(parameters, settings)
        self.variance = self._zeros()
        # where the parameters are: the fused step counts there
        self.steps = {
            name: torch.zeros((), dtype=torch.float32, device=one.device) for name, one in self.parameters.items()
        }

    @property
    def state(self) -> dict[str, Tensor]:
        """What it keeps from step to step, in place."""
        kept = {f"variance.{name}": tensor for name, tensor in self.variance.items()}
        return super().state | kept | {f"steps.{name}": tensor for name, tensor in self.steps.items()}

    def _move(self, names: Sequence[str], gradients: list[Tensor], decay: float) -> None:
        adamw(
            [self.parameters[name] for name in names],
            gradients,
            [self.momentum[name] for name in names],
            [self.variance[name] for name in names],
            [],
            [self.steps[name] for name in names],
            fused=True,
            amsgrad=False,
            beta1=self.settings.momentum,
            beta2=self.settings.beta2,
            lr=self.learning_rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )
