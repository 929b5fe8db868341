"""Exported files give what the network gives, in processes that know nothing of it."""

import io
import pickle
import sys
import zipfile
from pathlib import Path

import onnxruntime
import pytest
import torch
from tests.unit.export.conftest import stirred
from torch import nn

import layerlottery
from layerlottery.config.networks import (
    PreactResNetSettings,
    TimmSettings,
    TorchvisionSettings,
    VisionTransformerSettings,
    WideResNetSettings,
)
from layerlottery.errors import LayerLotteryError
from layerlottery.export.plain import check_answers
from layerlottery.export.program import program_bytes
from layerlottery.networks.zoo import construct

PROGRAM = """
import torch
network = torch.export.load("network.pt2").module()
one = network(torch.from_numpy(images[:1]))
logits = network(torch.from_numpy(images)).detach().numpy()
assert numpy.allclose(one.detach().numpy(), logits[:1], atol=1e-5)
"""
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession("network.onnx")
(logits,) = session.run(["logits"], {"images": images})
(one,) = session.run(["logits"], {"images": images[:1]})
assert numpy.allclose(one, logits[:1], atol=1e-5)
"""


def new_images(count=7):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(9))


def torchs(model, images):
    with torch.no_grad():
        return model.eval()(images)


def test_a_program_needs_torch_alone_and_loads_no_pickle(ticket, alone, tmp_path):
    assert layerlottery.export_program(ticket, tmp_path / "network.pt2") < 1e-5
    found = alone(PROGRAM, new_images())
    torch.testing.assert_close(found, torchs(ticket.model, new_images()), atol=1e-5, rtol=1e-5)


def test_an_onnx_file_needs_no_torch(ticket, alone, tmp_path):
    assert layerlottery.export_onnx(ticket, tmp_path / "network.onnx") < 1e-5
    found = alone(ONNX, new_images(), without=("layerlottery", "torch"))
    torch.testing.assert_close(found, torchs(ticket.model, new_images()), atol=1e-5, rtol=1e-5)


def test_single_branches_of_a_transformer_stay_out(transformer, tmp_path):
    expected = torchs(transformer.model, new_images())
    layerlottery.export_program(transformer, tmp_path / "network.pt2")
    found = torch.export.load(tmp_path / "network.pt2").module()(new_images())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    layerlottery.export_onnx(transformer, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (found,) = session.run(["logits"], {"images": new_images().numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)


def test_a_program_holds_the_networks_state_under_its_names(ticket, tmp_path):
    layerlottery.export_program(ticket, tmp_path / "network.pt2")
    state = torch.export.load(tmp_path / "network.pt2").module().state_dict()
    expected = ticket.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def holds_a_pickle(content):
    """Whether some file in a zip is one: torch.save writes zips of them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [archive.read(name) for name in archive.namelist()]
    return any(b"data.pkl" in one or one.startswith(pickle.PROTO) for one in members)


def test_nothing_in_a_program_is_pickled(ticket, images, tmp_path):
    layerlottery.export_program(ticket, tmp_path / "ours.pt2", images)
    torch.export.save(torch.export.export(ticket.model.eval(), (images,)), tmp_path / "torchs.pt2")
    assert holds_a_pickle((tmp_path / "torchs.pt2").read_bytes())
    assert not holds_a_pickle((tmp_path / "ours.pt2").read_bytes())


class Special(torch.Tensor):
    """A type of tensor of somebody's own, which torch.export.save pickles."""


def test_a_program_that_would_be_pickled_is_refused(ticket, images):
    program = torch.export.export(ticket.model.eval(), (images,))
    program_bytes(program)
    weight = program.state_dict["head.weight"].detach()
    program.state_dict["head.weight"] = nn.Parameter(weight.as_subclass(Special))
    with pytest.raises(LayerLotteryError, match="would be pickled"):
        program_bytes(program)


def test_no_file_tells_where_it_was_made(ticket, tmp_path):
    layerlottery.export_program(ticket, tmp_path / "network.pt2")
    layerlottery.export_onnx(ticket, tmp_path / "network.onnx")
    with zipfile.ZipFile(tmp_path / "network.pt2") as archive:
        held = b"".join(archive.read(name) for name in archive.namelist())
    held += (tmp_path / "network.onnx").read_bytes()
    for place in (Path(layerlottery.__file__).parents[2], Path(__file__).parent, Path(torch.__file__).parents[1]):
        assert str(place).encode() not in held
    assert b".py" not in held


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_a_wrapped_network_is_the_one_inside(wrap, ticket, images, tmp_path):
    layerlottery.export_program(wrap(ticket.model), tmp_path / "network.pt2", images)
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    assert loaded.state_dict().keys() == ticket.model.state_dict().keys()
    torch.testing.assert_close(loaded(images), torchs(ticket.model, images))


def test_the_network_stays_as_it_is(ticket, images, tmp_path):
    model = ticket.model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    layerlottery.export_program(ticket, tmp_path / "network.pt2", images)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(one.requires_grad for one in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() == fast


class Odd(nn.Module):
    """Does what no file can hold: adds how often it was called, asks for two images, or says more than logits."""

    def __init__(self, how):
        super().__init__()
        self.how, self.called, self.head = how, 0, nn.Linear(12, 3)

    def forward(self, x):
        self.called += 1
        logits = self.head(x.flatten(1))
        if self.how == "state":
            logits = logits + self.called
        if self.how == "batch":
            logits = logits[:2] + logits.view(2, 3)
        if self.how == "values" and x.sum() > 0:
            logits = -logits
        if self.how == "infinite":
            logits = logits / 0
        return (logits, x) if self.how == "tuple" else logits


@pytest.mark.parametrize("export", [layerlottery.export_program, layerlottery.export_onnx])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("state", "differ from torch's by .* of the largest; allowed: 0.0001"),
        ("batch", "torch.export can't trace it"),
        ("values", "torch.export can't trace it"),
        ("tuple", "answers with a tuple; allowed: a tensor|ONNX can't express it"),
        ("infinite", "not finite"),
    ],
)
def test_what_can_not_be_exported_is_said_in_one_line_and_not_written(export, how, message, tmp_path):
    with pytest.raises(LayerLotteryError, match=message) as caught:
        export(Odd(how), tmp_path / "network", torch.rand(4, 3, 2, 2))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_measured_against_the_largest_output():
    model = nn.Linear(4, 2).requires_grad_(False)
    found = check_answers(model, lambda x: model(x) * 1.00001, torch.rand(3, 4), "file")
    assert found == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(LayerLotteryError, match="file: its outputs differ"):
        check_answers(model, lambda x: model(x) * 1.00001, torch.rand(3, 4), "file", tolerance=1e-6)
    with pytest.raises(LayerLotteryError, match="file: its outputs differ"):
        check_answers(model, lambda x: model(x) * float("nan"), torch.rand(3, 4), "file")


def test_the_first_images_of_a_batch_do_not_vouch_for_the_others():
    model = nn.Linear(4, 2).requires_grad_(False)

    def forgetful(x):
        return torch.cat([model(x[:1]), torch.zeros(len(x) - 1, 2)])

    with pytest.raises(LayerLotteryError, match="differ"):
        check_answers(model, forgetful, torch.rand(3, 4), "file")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_one_line_names_it(package, ticket, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LayerLotteryError, match=rf"{package} is not installed: pip install 'layerlottery\[export\]'"):
        layerlottery.export_onnx(ticket, tmp_path / "network.onnx")


FAMILIES = {
    "wide_resnet": WideResNetSettings(family="wide_resnet", depth=16, widen=1),
    "preact_resnet": PreactResNetSettings(family="preact_resnet", depth=20, width=8),
    "vit": VisionTransformerSettings(family="vit", patch=8, layers=3, heads=3, hidden=24, mlp=48),
    "mobilenet_v2": TorchvisionSettings(family="torchvision", name="mobilenet_v2", stem="small"),
    "swin": TorchvisionSettings(family="torchvision", name="swin_t"),
    "timm": TimmSettings(family="timm", name="convnext_atto", options={"depths": [2, 2, 2, 2], "dims": [8, 8, 8, 8]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_every_family(name, tmp_path):
    model = stirred(construct(FAMILIES[name], channels=3, classes=5, image_size=32))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ticket = layerlottery.find_ticket(model, (images, torch.arange(4)), "random", remove=1)
    expected = torchs(ticket.model, images)
    allowed = {"atol": 1e-4 * float(expected.abs().max()), "rtol": 0.0}
    layerlottery.export_program(ticket, tmp_path / "network.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "network.pt2").module()(images), expected, **allowed)
    layerlottery.export_onnx(ticket, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (found,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, **allowed)
