"""What the tests of attacks share: a plain PGD, small models, and images for them."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from layerlottery.config.evaluation import ATTACKS
from layerlottery.data.prepared import Split
from layerlottery.evaluation.adversaries import Attacked
from layerlottery.evaluation.attack import Victim, attack_rows

BOUNDED = [name for name, traits in ATTACKS.items() if traits.kind in ("bounded", "transfer")]
MINIMUM = [name for name, traits in ATTACKS.items() if traits.kind == "minimum"]
L2 = {name for name, traits in ATTACKS.items() if traits.norm == "l2"}


def frozen(model):
    return model.eval().requires_grad_(False)


def digits():
    held = load_digits()
    images = np.minimum(held.images * 16, 255).astype(np.uint8)[:, None]
    return Split(images, held.target.astype(np.int64))


def train(seed=0):
    """A convolution and a linear layer after a second of training on all but the last 200 digits."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    images, labels = floats(digits().take(np.arange(len(digits()) - 200)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return frozen(model)


def plain_pgd(model, images, labels, epsilon, *, steps, step, seed, norm="linf"):
    """Projected gradient ascent as Madry et al. (2018) write it, in either norm."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randn(images.shape, generator=generator)
    if norm == "linf":
        offset = (2 * torch.rand(images.shape, generator=generator) - 1) * epsilon
    else:
        radius = torch.rand(len(images), generator=generator) ** (1 / images[0].numel())
        offset = offset / lengths(offset) * (epsilon * radius).view(-1, 1, 1, 1)
    changed = (images + offset).clamp(0, 1)
    for _ in range(steps):
        changed.requires_grad_(True)
        loss = F.cross_entropy(model(changed), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, changed)
        if norm == "linf":
            moved = changed.detach() + step * gradient.sign() - images
            moved = moved.clamp(-epsilon, epsilon)
        else:
            moved = changed.detach() + step * gradient / lengths(gradient).clamp(min=1e-12) - images
            moved = moved * (epsilon / lengths(moved).clamp(min=1e-12)).clamp(max=1)
        changed = (images + moved).clamp(0, 1)
    return changed


def lengths(images):
    return images.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def floats(split):
    return torch.tensor(split.images) / 255, torch.tensor(split.labels)


def whole(images, labels):
    """A batch all of whose images are attacked."""
    return Attacked(images, labels, torch.ones(len(labels), dtype=torch.bool))


def rows(model, split, settings, *, source=None, **others):
    cpu = torch.device("cpu")
    return attack_rows(Victim(model, model if source is None else source, split, settings, cpu, **others))


def counts(found):
    return [round(row.accuracy * row.images / 100) for row in found]
