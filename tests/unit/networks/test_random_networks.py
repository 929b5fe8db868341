"""Random residual networks: what is found is what was built in, and a removal is a branch of gain zero."""

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import layerlottery as ll
from layerlottery.networks.blocks import residual_blocks

FORMS = ("post", "pre", "bottleneck", "scaled", "normed", "wrapped", "argument")


class Toy(nn.Module):
    """A block of one of several forms; its branch is multiplied by `gain`."""

    def __init__(self, form, before, after, stride, convolution=None):
        super().__init__()
        self.form = form
        self.first = convolution or nn.Conv2d(before, after, 3, stride, 1)
        self.norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 1)
        self.after = nn.GroupNorm(1, after)
        self.act = nn.ReLU(inplace=True)
        self.gain = 1.0
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride)

    def branch(self, x):
        if self.form == "pre":
            x = F.relu(x)
        return self.gain * self.second(F.relu(self.norm(self.first(x))))

    def forward(self, x, scale=1.0):
        y = self.branch(x)
        if self.form == "post":
            y += self.shortcut(x)
            return self.act(y)
        if self.form == "bottleneck":
            return F.relu(torch.add(self.shortcut(x), y))
        if self.form == "scaled":
            return self.shortcut(x) + 0.5 * y
        if self.form == "normed":
            return F.gelu(self.after(y + self.shortcut(x)))
        return self.shortcut(x) + scale * y


class Residual(nn.Module):
    """What wraps a branch and adds its input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + x


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body, self.gain = nn.Conv2d(width, width, 3, 1, 1), 1.0

    def forward(self, x):
        return self.gain * self.body(x).tanh()


class Network(nn.Module):
    """Stem, stages of blocks, classifier; some blocks run twice, some share a convolution with another."""

    def __init__(self, plan, width):
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, 1, 1)
        self.stages = nn.ModuleList()
        self.plan, before, lent = plan, width, {}
        for growth, stride, forms in plan:
            after, blocks = before * growth, nn.ModuleList()
            for place, (form, _, shares) in enumerate(forms):
                given, stride = (before, stride) if not place else (after, 1)
                own = lent.get(after) if shares and given == after and stride == 1 else None
                if form == "wrapped" and given == after and stride == 1:
                    blocks.append(Residual(Branch(after)))
                else:
                    blocks.append(Toy(form, given, after, stride, own))
                    if given == after and stride == 1:
                        lent[after] = blocks[-1].first
            self.stages.append(blocks)
            before = after
        self.classifier = nn.Linear(before, 3)

    def forward(self, x):
        x = self.stem(x)
        for blocks, (_, _, forms) in zip(self.stages, self.plan, strict=True):
            for block, (form, twice, _) in zip(blocks, forms, strict=True):
                x = block(x, 0.5) if form == "argument" and isinstance(block, Toy) else block(x)
                if twice and isinstance(getattr(block, "shortcut", nn.Identity()), nn.Identity):
                    x = block(x)
        return self.classifier(x.mean((2, 3)))


def expected(plan):
    """Names of the blocks that may go: identity shortcut, used once."""
    names = []
    for stage, (growth, stride, forms) in enumerate(plan):
        for place, (_, twice, _) in enumerate(forms):
            if (place or (growth == 1 and stride == 1)) and not twice:
                names.append(f"stages.{stage}.{place}")
    return names


BLOCK = st.tuples(st.sampled_from(FORMS), st.booleans(), st.booleans())
STAGE = st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.lists(BLOCK, min_size=1, max_size=3))
IMAGES = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(plan=st.lists(STAGE, min_size=1, max_size=3), width=st.sampled_from([2, 3]), pick=st.randoms())
def test_what_is_found_is_what_was_built_in(plan, width, pick):
    torch.manual_seed(0)
    model = Network(plan, width).eval()
    names = expected(plan)
    found = residual_blocks(model, IMAGES)
    assert [block.name for block in found if block.removable] == names
    for block in found:
        assert block.removable or "times" in block.reason or "shape" in block.reason or "identity" in block.reason
    if not names:
        return
    gone = pick.sample(names, pick.randint(1, len(names)))
    silent = copy.deepcopy(model)
    for name in gone:
        block = silent.get_submodule(name)
        (block.inner if isinstance(block, Residual) else block).gain = 0.0
    with torch.no_grad():
        small = ll.prune(model, gone, example=IMAGES).model
        torch.testing.assert_close(small(IMAGES), silent(IMAGES), rtol=1e-4, atol=1e-5)
    kept = set(small.state_dict())
    assert kept <= set(model.state_dict())
    assert not any(key.startswith(f"{name}.first") for key in kept for name in gone)
