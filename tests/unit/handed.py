"""Small networks that are called in other ways than with images, for tests: as BERT, MViT and DeepLab are."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Gives a tuple: what it computes, and its weights."""

    def __init__(self, width):
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden, mask=None):
        scores = self.query(hidden) @ hidden.mT / hidden.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, :] == 0, -1e9)
        weights = scores.softmax(-1)
        return weights @ self.value(hidden), weights


class Output(nn.Module):
    """Adds what it is handed as its second argument, and normalizes: BertSelfOutput, BertOutput."""

    def __init__(self, before, width):
        super().__init__()
        self.dense, self.norm = nn.Linear(before, width), nn.LayerNorm(width)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)

    def forward(self, hidden, stream):
        return self.norm(self.dense(hidden) + stream)


class Attended(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.own, self.output = Attention(width), Output(width, width)

    def forward(self, hidden, mask=None):
        found = self.own(hidden, mask)
        return (self.output(found[0], hidden), *found[1:])


class Layer(nn.Module):
    def __init__(self, width, wrapped):
        super().__init__()
        self.attention, self.inner, self.output = Attended(width), nn.Linear(width, 3 * width), Output(3 * width, width)
        self.wrapped = wrapped

    def forward(self, hidden, mask=None):
        attended = self.attention(hidden, mask)[0]
        found = self.output(F.gelu(self.inner(attended)), attended)
        return (found,) if self.wrapped else found


class Bert(nn.Module):
    """Token ids and a mask by name; answers with an object that has logits. 3 classes, 20 words."""

    def __init__(self, layers=3, width=8, *, wrapped=True):
        super().__init__()
        self.words, self.head = nn.Embedding(20, width), nn.Linear(width, 3)
        self.layers = nn.ModuleList(Layer(width, wrapped) for _ in range(layers))

    def forward(self, input_ids, attention_mask=None):
        hidden = self.words(input_ids)
        for layer in self.layers:
            found = layer(hidden, mask=attention_mask)
            hidden = found[0] if isinstance(found, tuple) else found
        return SimpleNamespace(logits=self.head(hidden[:, 0]), hidden=hidden)


class Scaled(nn.Module):
    """x + a branch, beside the size that it is told and gives back: MViT's blocks."""

    def __init__(self, width, *, shrinks=False):
        super().__init__()
        self.branch, self.shrinks = nn.Linear(width, width), shrinks

    def forward(self, x, size):
        if self.shrinks:
            return x[:, ::2] + self.branch(x[:, ::2]).tanh(), (size[0], size[1] // 2)
        return x + self.branch(x).tanh() / size[0], size


class Sized(nn.Module):
    """Four such blocks, the second of which makes maps smaller; tokens of images (3, 4, 4)."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(3, 6), nn.Linear(6, 3)
        self.blocks = nn.ModuleList(Scaled(6, shrinks=place == 1) for place in range(4))

    def forward(self, x):
        x, size = self.stem(x.flatten(2).mT), (x.shape[2], x.shape[3])
        for block in self.blocks:
            x, size = block(x, size)
        return self.head(x.mean(1) * size[1])


class Segmenter(nn.Module):
    """A dict of maps (N, 3, H, W), `out` and `aux`, as torchvision's segmentation networks answer."""

    def __init__(self, blocks=3):
        super().__init__()
        self.stem, self.head, self.side = nn.Conv2d(3, 5, 3, 1, 1), nn.Conv2d(5, 3, 1), nn.Conv2d(5, 3, 1)
        self.blocks = nn.Sequential(*(Bump(5) for _ in range(blocks)))

    def forward(self, x):
        x = self.stem(x)
        return {"out": self.head(self.blocks(x)), "aux": self.side(x)}


class Bump(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(x).tanh()


class Regressor(nn.Module):
    """One number (N,) for each image, from an image and a time."""

    def __init__(self, blocks=3):
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(3, 4, 1), nn.Sequential(*map(Bump, [4] * blocks)), nn.Linear(5, 1)

    def forward(self, image, time):
        pooled = self.blocks(self.stem(image)).mean((2, 3))
        return self.head(torch.cat([pooled, time[:, None]], 1))[:, 0]


def seeded(kind, **options):
    torch.manual_seed(4)
    return kind(**options)


def texts(number=6, length=5):
    draw = torch.Generator().manual_seed(2)
    mask = torch.ones(number, length, dtype=torch.long)
    mask[0, 3:] = 0
    return {"input_ids": torch.randint(20, (number, length), generator=draw), "attention_mask": mask}


def maps(number=6, side=8):
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(3))
