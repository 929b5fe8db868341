"""Networks as one Python file that needs torch alone."""

import ast
import re

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0, mobilenet_v2

from layerlottery.export.plain import plain
from layerlottery.export.source import NoSourceError, constructor, flat, load_source, source


def written(model):
    recorded = flat(plain(model))
    return source(recorded, title="A title.", about="About."), recorded.state_dict()


@pytest.mark.parametrize("kind", ["ticket", "transformer"])
def test_the_file_gives_what_the_ticket_gives_in_another_process(kind, request, alone, images, tmp_path):
    model = request.getfixturevalue(kind).model
    text, state = written(model)
    (tmp_path / "network.py").write_text(text)
    torch.manual_seed(0)
    # numbers only, so that no pickle is needed to hand them over
    numbers = {name: (tensor.flatten().tolist(), list(tensor.shape)) for name, tensor in state.items()}
    code = f"""
import sys, torch
sys.path.insert(0, ".")
from network import Network
network = Network()
state = network.state_dict()
given = {numbers!r}
assert given.keys() == state.keys()
for name, (one, shape) in given.items():
    state[name].copy_(torch.tensor(one).view(shape))
logits = network.eval()(torch.from_numpy(images)).detach().numpy()
"""
    with torch.no_grad():
        expected = model.eval()(images)
    torch.testing.assert_close(alone(code, images), expected, atol=1e-5, rtol=1e-5)


def test_the_state_has_the_names_and_shapes_of_the_network(ticket):
    text, state = written(ticket.model)
    expected = ticket.model.state_dict()
    network = load_source(text)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in expected.items()}
    assert state.keys() == expected.keys()


def test_the_file_imports_torch_alone(transformer):
    tree = ast.parse(written(transformer.model)[0])
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or alias.name for node in imports for alias in node.names}
    assert names == {"torch"}


def test_it_can_be_trained(ticket, images):
    text, state = written(ticket.model)
    network = load_source(text)
    network.load_state_dict(state)
    before = network.blocks.get_submodule("0").norm.running_mean.clone() if hasattr(network.blocks, "0") else None
    network.train()(images).sum().backward()
    assert all(one.grad is not None for one in network.parameters())
    assert before is None or not torch.equal(network.blocks.get_submodule("0").norm.running_mean, before)


@pytest.mark.slow
@pytest.mark.parametrize("build", [mobilenet_v2, efficientnet_b0])
def test_networks_of_torchvision(build):
    model = build(num_classes=4).eval()
    text, state = written(model)
    network = load_source(text)
    network.load_state_dict(state)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images))
    assert state.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, (3, 5), stride=2, dilation=2, groups=2, padding_mode="reflect"),
        nn.BatchNorm2d(3, eps=1e-3, momentum=None, affine=False),
        nn.GELU(approximate="tanh"),
        nn.Linear(3, 4, bias=False),
        nn.LayerNorm([4, 2], eps=1e-6),
        nn.MultiheadAttention(4, 2, dropout=0.5, bias=False, batch_first=True),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.AdaptiveAvgPool2d((1, None)),
        nn.Hardswish(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_modules_of_torch_say_how_they_were_made(module):
    made = eval(constructor(module), {"nn": nn})  # noqa: S307
    assert repr(made) == repr(module)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    assert {name: tensor.shape for name, tensor in made.state_dict().items()} == shapes


class Hostile(nn.ReLU):
    """Says that it was made by something else."""

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.__class__.__name__, self.__class__.__module__ = "ReLU", "torch.nn.modules.activation"

    def __repr__(self):
        return self.text


@pytest.mark.parametrize(
    "text", ["ReLU(print())", "ReLU(); print()", "ReLU(*[1])", "ReLU((a): b)", "ReLU(inplace=print())"]
)
def test_what_a_module_says_is_no_code(text, monkeypatch):
    module = Hostile(text)
    monkeypatch.setattr(nn, "ReLU", Hostile)
    with pytest.raises(NoSourceError):
        constructor(module)


class Turns(nn.Module):
    """Depends on the values in a batch."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Own(nn.Module):
    """Calls a function that is no part of torch."""

    def forward(self, x):
        return mine(x)


@torch.fx.wrap
def mine(x):
    return x + 1


@pytest.mark.parametrize(
    "model", [Turns(), Own(), nn.TransformerEncoderLayer(4, 1, 8)], ids=lambda one: type(one).__name__
)
def test_what_has_no_source_is_said(model):
    with pytest.raises(NoSourceError) as caught:
        written(model)
    assert not re.search("\n", str(caught.value))
