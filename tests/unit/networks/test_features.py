"""Where the features that a classifier reads are, and where a block has its channels: what a network does tells."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import layerlottery as ll
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import residual_blocks
from layerlottery.networks.features import PENULTIMATE, captured

IMAGES = torch.rand(12, 3, 9, 9, generator=torch.Generator().manual_seed(1))
BATCH = IMAGES, torch.arange(12) % 4


class Excited(nn.Module):
    """x + a convolution whose channels are weighted by two fully connected layers."""

    def __init__(self, width=5):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.weigh = nn.Sequential(nn.Linear(width, 2), nn.ReLU(), nn.Linear(2, width), nn.Sigmoid())

    def forward(self, x):
        y = self.norm(self.conv(x))
        return x + y * self.weigh(y.mean((2, 3)))[:, :, None, None]


class Cosine(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(classes, width))

    def forward(self, x):
        return 10 * F.normalize(x) @ F.normalize(self.prototypes).T


class Headed(nn.Module):
    """Blocks, then a head of one of several kinds; `features` says what the head reads."""

    def __init__(self, kind, first=False):
        super().__init__()
        torch.manual_seed(4)
        blocks = nn.Sequential(*(Excited() for _ in range(3)))
        heads = {
            "conv": nn.Conv2d(5, 4, 1), "cosine": Cosine(5, 4), "normalized": weight_norm(nn.Linear(5, 4)),
            "two": nn.ModuleList([nn.Linear(5, 4), nn.Linear(5, 4)]),
        }  # fmt: skip
        head = heads.get(kind, nn.Linear(5, 4))
        if first:
            self.head = head
        self.stem, self.blocks, self.kind = nn.Conv2d(3, 5, 3), blocks, kind
        if not first:
            self.head = head
        # registered last, and used in training alone
        self.auxiliary = nn.Linear(5, 4)

    def features(self, x):
        y = self.blocks(self.stem(x))
        if self.kind == "conv":
            return y
        return torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1) if self.kind == "two" else y.mean((2, 3))

    def forward(self, x):
        y = self.features(x)
        if self.kind == "two":
            return (self.head[0](y[:, :5]) + self.head[1](y[:, 5:])) / 2
        answer = self.head(F.dropout(y, 0.5, self.training))
        answer = F.relu(answer).mean((2, 3)) if self.kind == "conv" else answer
        if self.training:
            return answer, self.auxiliary(y.mean((2, 3)))
        return answer.log_softmax(1) if self.kind == "plain" else answer


KINDS = ("plain", "conv", "cosine", "normalized", "two")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_penultimate_features_are_what_the_classifier_reads(kind, first):
    model = Headed(kind, first).eval()
    with captured(model, [PENULTIMATE], example=IMAGES[:2]) as held, torch.no_grad():
        model(IMAGES)
        assert torch.equal(held[PENULTIMATE], model.features(IMAGES))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("criterion", ["cka", "consensus"])
def test_the_order_of_registration_changes_no_score(criterion, kind):
    one, other = Headed(kind, True), Headed(kind, False)
    other.load_state_dict(one.state_dict())
    assert ll.score(one, BATCH, criterion) == ll.score(other, BATCH, criterion)


class Bare(Headed):
    """A classifier that is no layer."""

    def __init__(self):
        super().__init__("bare")
        self.matrix = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return self.features(x) @ self.matrix


def test_a_classifier_that_is_no_layer_is_refused():
    with pytest.raises(LayerLotteryError, match=r"Bare: computes the answer by .*matmul"):
        ll.score(Bare(), BATCH, "cka")


class Wrapped(nn.Module):
    """x + what is inside, with the channels moved to where the inner layers have them."""

    def __init__(self, inner, to_first=False):
        super().__init__()
        self.inner, self.to_first = inner, to_first

    def forward(self, x):
        if self.to_first:
            return x + self.inner(x.movedim(-1, 1)).movedim(1, -1)
        return x + self.inner(x)


class PostNorm(nn.Module):
    """Windows of tokens, as Swin V2 has them: the norm behind the branch is the first that takes all as they lie."""

    def __init__(self, width):
        super().__init__()
        self.mix, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x):
        windows = x.unflatten(1, (2, -1)).transpose(1, 2)
        return x + self.norm(self.mix(windows).transpose(1, 2).flatten(1, 2))


def conv(kind, width=6):
    return lambda: Wrapped(nn.Sequential(kind(width, width, 3, padding=1), nn.ReLU()))


# all sides are 6, so that shapes tell nothing
LAYOUTS = {
    "Conv1d": (conv(nn.Conv1d), 3, 1),
    "Conv2d": (conv(nn.Conv2d), 4, 1),
    "Conv3d": (conv(nn.Conv3d), 5, 1),
    "norm, then Conv1d": (lambda: Wrapped(nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 6, 1))), 3, 1),
    "GroupNorm": (lambda: Wrapped(nn.Sequential(nn.GroupNorm(2, 6), nn.Tanh())), 4, 1),
    "excited": (lambda: Excited(6), 4, 1),
    "over whole images": (lambda: Wrapped(nn.Sequential(nn.LayerNorm((6, 6, 6)), nn.Conv2d(6, 6, 1))), 4, 1),
    "Linear on tokens": (lambda: Wrapped(nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))), 3, -1),
    "Linear on maps": (lambda: Wrapped(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6))), 4, -1),
    "convolution of tokens": (lambda: Wrapped(nn.Sequential(nn.Conv1d(6, 6, 3, 1, 1)), to_first=True), 3, -1),
    "attention": (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 3, -1),
    "post-norm": (lambda: PostNorm(6), 3, -1),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_channels_are_where_the_layers_have_them(kind):
    make, dimensions, axis = LAYOUTS[kind]
    network = nn.Sequential(nn.Sequential(*(make() for _ in range(2))), nn.Flatten(), nn.LazyLinear(2)).eval()
    images = torch.rand(3, *[6] * (dimensions - 1))
    network(images)
    assert [block.channel_axis for block in residual_blocks(network, images)] == [axis, axis]


def test_pls_of_tokens_is_that_of_the_same_network_on_maps():
    """Fully connected layers on tokens are convolutions of 1 x 1 with the channels elsewhere."""
    torch.manual_seed(8)
    tokens = nn.Sequential(*(Wrapped(nn.Sequential(nn.Linear(4, 4), nn.Tanh())) for _ in range(3)))
    maps = nn.Sequential(*(Wrapped(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())) for _ in range(3)))
    for one, other in zip(tokens, maps, strict=True):
        other.inner[0].weight.data = one.inner[0].weight.data[:, :, None, None]
        other.inner[0].bias.data = one.inner[0].bias.data
    head = nn.Linear(4, 3)
    pool, move = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Flatten(2)

    class Last(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2)

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(1)

    images, labels = torch.rand(30, 4, 2, 2), torch.arange(30) % 3
    on_tokens = nn.Sequential(move, Last(), tokens, Mean(), head)
    on_maps = nn.Sequential(nn.Identity(), nn.Identity(), maps, pool, head)
    for criterion in ("pls", "expectabs", "cka"):
        found, expected = (ll.score(one, (images, labels), criterion) for one in (on_tokens, on_maps))
        assert found == pytest.approx(expected, rel=1e-4)


class Permuted(nn.Module):
    """x + layers on (…, channels), for values with channels first; `there` brings the channels last."""

    def __init__(self, there, back, width=5):
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.there, self.back = there, back

    def forward(self, x):
        return x + self.back(self.outer(F.gelu(self.inner(self.norm(self.there(x))))))


class Windows(nn.Module):
    """x + layers on windows of 3x3 pixels, channels last throughout."""

    def __init__(self, width=5):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        n, h, w, c = x.shape
        cut = x.view(n, h // 3, 3, w // 3, 3, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, c)
        done = self.outer(F.relu(self.inner(cut))).view(n, h // 3, w // 3, 3, 3, c)
        return x + done.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


class Around(nn.Module):
    def __init__(self, block, steps):
        super().__init__()
        self.steps, self.first = steps, nn.Conv2d(3, 5, 1)
        self.body, self.head = nn.Sequential(block(), block()), nn.Linear(5, 4)

    def forward(self, x):
        x = self.first(x)
        x = x.flatten(2) if self.steps == "steps" else x.permute(0, 2, 3, 1) if self.steps == "last" else x
        return self.head(self.body(x).mean((1, 2) if self.steps == "last" else tuple(range(2, x.dim()))))


@pytest.mark.parametrize(
    ("there", "back", "form", "axis"),
    [
        (lambda x: x.permute(0, 2, 1), lambda x: x.permute(0, 2, 1), "steps", 1),
        (lambda x: x.movedim(1, -1), lambda x: x.movedim(-1, 1), "maps", 1),
        (lambda x: x.swapaxes(1, 2), lambda x: x.mT, "steps", 1),
        (lambda x: x.flatten(2).transpose(1, 2), lambda x: x.transpose(1, 2).unflatten(2, (9, 9)), "maps", 1),
        (lambda x: x, lambda x: x, "last", -1),
    ],
)
def test_axes_are_followed_through_rearrangements(there, back, form, axis):
    net = Around(lambda: Permuted(there, back), form)
    assert {block.channel_axis for block in residual_blocks(net, IMAGES)} == {axis}


def test_axes_are_followed_through_windows():
    assert {block.channel_axis for block in residual_blocks(Around(Windows, "last"), IMAGES)} == {-1}
