"""An attack: the momentum iterative fast gradient sign method (MI-FGSM, Dong et al. 2018, equations 6 and 7)."""

import torch
from torch import Tensor, nn


def momentum(
    model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, seed: int, steps: int = 10, decay: float = 1.0
) -> Tensor:
    """Steps of epsilon / steps along the sign of a decaying sum of normalised gradients; no random start."""
    changed, velocity = images, torch.zeros_like(images)
    for _ in range(steps):
        changed = changed.detach().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(changed), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, changed)
        velocity = decay * velocity + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        moved = changed + epsilon / steps * velocity.sign()
        changed = moved.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    return changed
