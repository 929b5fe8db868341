"""Networks, batches and calls drawn at random: the library answers or says in one line why not, and changes nothing."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader, TensorDataset

import layerlottery as ll

NORMS = {
    "batch": nn.BatchNorm2d,
    "group": lambda width: nn.GroupNorm(1, width),
    "instance": nn.InstanceNorm2d,
    "none": lambda width: nn.Identity(),
    "untracked": lambda width: nn.BatchNorm2d(width, track_running_stats=False),
}
REPARAMETRIZED = {
    "none": lambda layer: layer,
    "weight norm": parametrizations.weight_norm,
    "old weight norm": nn.utils.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
    "frozen": lambda layer: layer.requires_grad_(False),
}
FORMS = ("plain", "after", "scaled", "gated", "detached", "nested", "tuple", "shrinking", "dropped", "inplace")
HEADS = ("linear", "convolution", "tuple", "dict", "object", "auxiliary", "maps", "zero", "number")
BEFORE = ("nothing", "plain tensor", "value", "numpy", "stores", "counts", "draws", "fails", "casts")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Block(nn.Module):
    def __init__(self, width, norm, form, reparametrized):
        super().__init__()
        self.form, stride = form, 2 if form == "shrinking" else 1
        self.layer = REPARAMETRIZED[reparametrized](nn.Conv2d(width, width, 3, stride, 1))
        self.norm, self.scale = NORMS[norm](width), nn.Parameter(torch.full((width, 1, 1), 0.5))
        self.inner = Block(width, norm, "plain", "none") if form == "nested" else nn.Dropout(0.2)
        self.short = nn.Conv2d(width, width, 1, stride) if form == "shrinking" else nn.Identity()

    def forward(self, x):
        out = self.inner(self.norm(self.layer(x)))
        if self.form == "scaled":
            out = self.scale * out
        if self.form == "gated":
            out = out * (1 + torch.sigmoid(out))
        if self.form == "detached":
            out = out.detach()
        if self.form == "inplace":
            return torch.relu(out).add_(x)
        if self.form == "dropped" and self.training and torch.rand(()) < 0.5:
            return x
        out = self.short(x) + out
        return (out, None) if self.form == "tuple" else torch.relu(out) if self.form == "after" else out


class Drawn(nn.Module):
    def __init__(self, channels, width, blocks, norm, reparametrized, head, before):
        super().__init__()
        self.channels, self.kind, self.before, self.seen = channels, head, before, []
        self.shift = torch.full((1, channels, 1, 1), 0.1)
        self.stem = nn.Conv2d(channels, width, 3, 1, 1)
        self.blocks = nn.ModuleList(Block(width, norm, form, reparametrized) for form in blocks)
        self.head = nn.Conv2d(width, 3, 1) if head in ("convolution", "maps") else nn.Linear(width, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        if head == "zero":
            nn.init.zeros_(self.head.weight)

    def prepared(self, x):
        kinds = {
            "nothing": lambda: x,
            "plain tensor": lambda: x - self.shift,
            "value": lambda: x * 2 if x.mean() > 0 else x,
            "numpy": lambda: x * (1 + float(np.tanh(x.detach().numpy()).max())),
            "draws": lambda: x + 0.1 * torch.randn_like(x),
            "fails": lambda: {}["a line\nand another"],
            "casts": lambda: x.to(self.stem.weight.dtype) / 255,
        }
        return kinds.get(self.before, kinds["nothing"])()

    def forward(self, x):
        x = self.stem(self.prepared(x))
        for block in self.blocks:
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
        if self.before == "stores":
            self.seen.append(x)
        if self.before == "counts":
            self.calls += 1
        out = self.head(x) if self.kind == "maps" else self.answer(x)
        answers = {"tuple": (out, out), "dict": {"logits": out}, "object": type("Answer", (), {"logits": out})}
        answers |= {"number": out.sum(), "auxiliary": (out, out) if self.training else out}
        return answers.get(self.kind, out)

    def answer(self, x):
        return self.head(x).mean((2, 3)) if self.kind == "convolution" else self.head(x.mean((2, 3)))


def mostly(usual, *others):
    """A usual value three times out of four: an input that is odd in all ways at once shows only the first."""
    return st.sampled_from([usual] * 3 * len(others) + [*others])


networks = st.fixed_dictionaries(
    {
        "channels": mostly(3, 1),
        "width": st.integers(1, 4),
        "blocks": st.integers(1, 4).flatmap(lambda count: st.lists(mostly(*FORMS), min_size=count, max_size=5)),
        "norm": st.sampled_from(list(NORMS)),
        "reparametrized": mostly(*REPARAMETRIZED),
        "head": mostly(*HEADS),
        "before": mostly(*BEFORE),
    }
)
batches = st.fixed_dictionaries(
    {
        "count": mostly(8, 5, 2, 1, 0),
        "channels": mostly(None, 1, 3),
        "side": mostly(6, 4, 1),
        "pixels": mostly("as the network", "uint8", "float32", "float64", "NaN", "infinite"),
        "labels": mostly("right", "too high", "negative", "float", "int32", "columns"),
        "given": mostly(
            "pair", "list", "batches", "loader", "shuffled", "generator", "dicts", "tensor", "text", "none", "empty"
        ),
    }
)
LAYER_CRITERIA = [name for name, one in ll.CRITERIA.items() if one.fits("layers")]
calls = st.fixed_dictionaries(
    {
        "function": st.sampled_from(["find_blocks", "score", "find_ticket", "prune", "files", "card", "random"]),
        "criterion": st.sampled_from([*LAYER_CRITERIA, "unknown"]),
        "target": mostly({"remove": 1}, {"remove": 0}, {"remove": 99}, {"remove_flops": 0.2}, {"remove": 0.5}),
        "branches": st.booleans(),
        "dtype": mostly(*DTYPES),
        "default": mostly(torch.float32, torch.float64),
        "training": st.booleans(),
    }
)


def images_and_labels(form, channels, dtype):
    draw = torch.Generator().manual_seed(4)
    shape = (form["count"], form["channels"] or channels, form["side"], form["side"])
    images = torch.rand(shape, generator=draw, dtype=torch.float32)
    kinds = {"uint8": (images * 255).byte(), "float64": images.double(), "float32": images}
    kinds |= {"NaN": images.to(dtype) * torch.nan, "infinite": images.to(dtype) / 0}
    images, right = kinds.get(form["pixels"], images.to(dtype)), torch.arange(form["count"]) % 3
    labels = {"too high": right + 2, "negative": right - 1, "float": right.float(), "int32": right.int()}
    return images, (labels | {"columns": right[:, None]}).get(form["labels"], right)


def handed_over(form, images, labels):
    def loader(**options):
        return DataLoader(TensorDataset(images, labels), batch_size=4, **options)

    pairs = list(zip(images.split(4), labels.split(4), strict=True)) if len(images) else []
    kinds = {
        "pair": lambda: (images, labels),
        "list": lambda: [images, labels],
        "batches": lambda: pairs,
        "loader": loader,
        "shuffled": lambda: loader(shuffle=len(labels) > 0),
        "generator": lambda: iter(pairs),
        "dicts": lambda: [{"images": images, "labels": labels}],
        "tensor": lambda: images,
        "text": lambda: "images",
        "none": lambda: None,
        "empty": lambda: [],
    }
    return kinds[form["given"]]()


def answered(call, model, make, images, batch):
    """Call one of the functions, and check what it gives."""
    function, criterion, options = call["function"], call["criterion"], {"branches": call["branches"]}
    if function == "find_blocks":
        assert all(one.removable for one in ll.find_blocks(model, images, **options).values())
    elif function == "score":
        assert all(np.isfinite(list(ll.score(model, batch, criterion, **options).values())))
    elif function == "prune":
        ll.prune(model, ["blocks.0"], example=images)
    elif function == "random":
        ll.score(model, criterion="random", example=images)
    else:
        ticket = ll.find_ticket(model, batch, criterion, **call["target"], **options)
        assert ticket.cost.params <= ticket.cost.params_before
        assert ticket.cost.macs <= ticket.cost.macs_before
        if function == "files":
            with tempfile.TemporaryDirectory() as folder:
                ll.save_ticket(ticket, Path(folder, "t"))
                back = ll.load_ticket(Path(folder, "t"), make).model.state_dict()
                assert all(torch.equal(back[name], one) for name, one in ticket.model.state_dict().items())
        elif function == "card":
            assert "drawn" in ll.model_card(ticket, name="drawn")


def state_of(model):
    modes = [module.training for module in model.modules()]
    return [one.detach().clone() for one in model.state_dict().values()], modes


def check(network, form, call):
    def make():
        torch.manual_seed(1)
        return Drawn(**network).to(call["dtype"]).train(call["training"])

    torch.set_default_dtype(call["default"])
    try:
        model = make()
        images, labels = images_and_labels(form, network["channels"], call["dtype"])
        batch = handed_over(form, images, labels)
        (before, modes), random = state_of(model), torch.get_rng_state()
        try:
            answered(call, model, make, images, batch)
        except ll.LayerLotteryError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
        after, same_modes = state_of(model)
        assert modes == same_modes
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert torch.equal(random, torch.get_rng_state())
    finally:
        torch.set_default_dtype(torch.float32)


def drawn(examples):
    """So many inputs, the same in every run."""
    unhurried = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda function: unhurried(given(networks, batches, calls)(function))


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@drawn(60)
def test_drawn_inputs(network, form, call):
    check(network, form, call)


@pytest.mark.slow
@drawn(5000)
def test_many_drawn_inputs(network, form, call):
    check(network, form, call)
