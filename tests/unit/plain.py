"""A plain residual network of three blocks, for tests of what people's own networks bring along."""

import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.outer = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.outer(self.inner(x))


class Plain(nn.Module):
    """Three blocks of 4 channels, 3 classes, for images (3, 6, 6)."""

    def __init__(self):
        super().__init__()
        self.first, self.units, self.last = nn.Conv2d(3, 4, 1), nn.Sequential(Unit(), Unit(), Unit()), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.units(self.first(self.before(x))).mean((2, 3)))

    def before(self, x):
        return x


# multiply-accumulates of Plain, by hand: first 3·4, three units 4·4·9 + 4·4, each at 36 places; last 4·3
UNIT = 36 * (4 * 4 * 9 + 4 * 4)
WHOLE = 36 * 12 + 3 * UNIT + 12


def made(kind=Plain):
    torch.manual_seed(11)
    return kind()
