"""Additions within a block's branch: gates are no blocks, and nothing counts twice."""

import pytest
import torch
from torch import nn

import layerlottery as ll
from layerlottery.networks.blocks import residual_blocks

IMAGES = torch.rand(6, 3, 10, 10, generator=torch.Generator().manual_seed(3))


class Attend(nn.Module):
    """x + x · a(x), or what `form` makes of it."""

    def __init__(self, form, width):
        super().__init__()
        self.form, self.weigh = form, nn.Conv2d(width, width, 1)
        self.scale, self.shift = nn.Parameter(torch.rand(1, width, 1, 1)), nn.Parameter(torch.rand(1, width, 1, 1))

    def forward(self, x):
        pooled = self.weigh(x.mean((2, 3), keepdim=True)).sigmoid()
        size = x.norm(dim=(2, 3), keepdim=True)
        match self.form:
            case "excite":
                return x + pooled * x
            case "spatial":
                return x.mul(self.weigh(x).sigmoid()).add(x)
            case "response":  # global response normalization (Woo et al. 2023)
                return self.scale * (x * size / size.mean(1, keepdim=True)) + self.shift + x
            case "addcmul":
                return x + torch.addcmul(self.shift, self.scale, x * size)
            case "scaled":
                return x + self.scale * x
            case "added":  # no gate: a block's form, in a place where none is
                return x + self.weigh(x).tanh()


class Holder(nn.Module):
    """A block with a gate within its branch; with a stride, its shortcut is a projection."""

    def __init__(self, form, before, after, count=1):
        super().__init__()
        self.first, self.second = nn.Conv2d(before, 2 * after, 3, 1, 1), nn.Conv2d(2 * after, after, 3, 1, 1)
        self.gates = nn.Sequential(*(Attend(form, 2 * after) for _ in range(count)))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.second(self.gates(torch.relu(self.first(x)))))


def network(form, count=1):
    torch.manual_seed(5)
    blocks = [Holder(form, 3, 4, count), *(Holder(form, 4, 4, count) for _ in range(3)), Holder(form, 4, 6, count)]
    return nn.Sequential(nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("form", ["excite", "spatial", "response", "addcmul", "scaled", "added"])
def test_a_gate_in_a_branch_is_no_block(form, count):
    blocks = residual_blocks(network(form, count), IMAGES)
    assert [block.name for block in blocks] == [f"0.{number}" for number in range(5)]
    assert [block.removable for block in blocks] == [False, True, True, True, False]
    # the stage is whole: three of its four blocks may go
    assert {block.stage for block in blocks[:4]} == {blocks[0].stage}
    ticket = ll.find_ticket(network(form, count), (IMAGES, torch.arange(6) % 3), "random", remove=3)
    assert ticket.removed_blocks == ["0.1", "0.2", "0.3"]


class Group(nn.Module):
    """Residual blocks with a shortcut around all of them (Zhang et al. 2018)."""

    def __init__(self, blocks, width=4):
        super().__init__()
        self.blocks, self.last = nn.Sequential(*blocks), nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x + self.last(self.blocks(x))


def test_of_groups_the_blocks_are_found_not_the_shortcut_around_them():
    groups = [Group([Holder("excite", 4, 4) for _ in range(2)]) for _ in range(2)]
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(*groups), nn.Flatten(), nn.LazyLinear(2)).eval()
    model(IMAGES)
    assert list(ll.find_blocks(model, IMAGES)) == ["1.0.blocks.0", "1.0.blocks.1", "1.1.blocks.0", "1.1.blocks.1"]


def test_a_gate_on_the_stream_itself_is_a_block():
    model = nn.Sequential(*(Attend("excite", 3) for _ in range(2)), nn.Flatten(), nn.LazyLinear(2)).eval()
    model(IMAGES)
    assert list(ll.find_blocks(model, IMAGES)) == ["0", "1"]


def test_convnext_v2_gives_most_of_its_blocks():
    timm = pytest.importorskip("timm")
    model = timm.create_model("convnextv2_atto", num_classes=3)
    blocks = ll.find_blocks(model, torch.rand(2, 3, 64, 64))
    assert len(blocks) == 12
    assert not [name for name in blocks if "grn" in name]
    assert {(block.shape[0], block.channel_axis) for block in blocks.values()} == {(n, 1) for n in (40, 80, 160, 320)}


class Sides(nn.Module):
    """The sum of two different paths, each with a block; what it adds is no branch beside a stream."""

    def __init__(self):
        super().__init__()
        paths = [nn.Sequential(nn.Conv2d(3, 4, size, padding="same"), Holder("excite", 4, 4)) for size in (1, 3)]
        self.left, self.right = paths

    def forward(self, x):
        return self.left(x) + self.right(x)


def test_blocks_on_both_sides_of_a_sum_stay_blocks():
    model = nn.Sequential(Sides(), nn.Flatten(), nn.LazyLinear(2)).eval()
    model(IMAGES)
    assert list(ll.find_blocks(model, IMAGES)) == ["0.left.1", "0.right.1"]


class Twofold(nn.Module):
    """A block on the stream of another, as positions in a transformer, before a branch of its own."""

    def __init__(self):
        super().__init__()
        self.before, self.branch = Attend("added", 4), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.before(x)
        return x + self.branch(x)


def test_a_block_on_the_stream_of_another_stays_one():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Twofold(), Twofold(), nn.Flatten(), nn.LazyLinear(2)).eval()
    model(IMAGES)
    assert list(ll.find_blocks(model, IMAGES)) == ["1.before", "2.before"]


class Doubled(nn.Module):
    """x + x + f(x), or x and a copy of it: a factor of two on the stream."""

    def __init__(self, copied):
        super().__init__()
        self.layer, self.copied = nn.Conv2d(4, 4, 3, padding=1), copied

    def forward(self, x):
        return x + (x.clone() if self.copied else x) + self.layer(x)


@pytest.mark.parametrize("copied", [False, True])
def test_a_stream_that_is_added_to_itself_is_no_branch(copied):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Doubled(copied), Attend("added", 4))
    found = {block.name: block for block in residual_blocks(network, IMAGES)}
    # without it all that follows would be given half of what it was given with the layer at zero
    assert (found["1"].removable, found["1"].reason) == (False, "its shortcut is no identity")
    assert list(ll.find_blocks(network, IMAGES)) == ["2"]
