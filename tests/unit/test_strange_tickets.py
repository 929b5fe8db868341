"""A stranger's ticket file: nothing in it runs, and what fits no network is one line."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import layerlottery
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_tensors, write_tensors


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    images = torch.rand(2, 3, 32, 32)
    ticket = layerlottery.find_ticket(resnet18(num_classes=4), (images, torch.arange(2)), "l1", remove=2)
    path = tmp_path_factory.mktemp("saved") / "ticket.safetensors"
    layerlottery.save_ticket(ticket, path)
    return path


def factory():
    return resnet18(num_classes=4)


def changed(saved, path, **facts):
    arrays, held = read_tensors(saved)
    held = {name: value for name, value in held.items() if name not in ("content", "config_hash")}
    write_tensors(
        path, arrays, {name: value for name, value in (held | facts).items() if value is not None}, config_hash="0"
    )
    return path


def removal(**values):
    return {"layer1.1": {"stays": [], "stubs": {}, "extra": False} | values}


HOSTILE = [
    {"removed_blocks": ["layer9.1"]},
    {"removed_blocks": ["__class__"]},
    {"removed_blocks": [7]},
    {"removed_blocks": None},
    {"removals": None},
    {"removals": [1]},
    {"cost": {"price": 1}},
    {"scores": None},
    *({"removed_blocks": ["layer1.1"], "removals": removal(stays=[one])} for one in ("nn.Transformer", "nn.init", "x")),
    {"removed_blocks": ["layer1.1"], "removals": removal(stubs={"layer1.0": 10**12})},
    {"removed_blocks": ["layer1.1"], "removals": removal(stubs={"layer1.0.forward.__globals__": -1})},
    {"architecture": {"network": {"family": "custom", "function": "theirs.py:build"}}, "removed_blocks": []},
]


@pytest.mark.parametrize("facts", HOSTILE, ids=str)
def test_facts_that_fit_no_network_are_one_line_and_run_nothing(saved, tmp_path, monkeypatch, facts):
    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef build(**_): ...\n")
    before = set(sys.modules)
    with pytest.raises(LayerLotteryError, match=r"^[^\n]+$"):
        layerlottery.load_ticket(changed(saved, tmp_path / "x.safetensors", **facts), factory)
    assert not Path("ran").exists()
    assert not [name for name in set(sys.modules) - before if "theirs" in name]


def test_the_callers_factory_is_all_that_is_called(saved, tmp_path):
    calls = []

    def counted():
        calls.append(1)
        return factory()

    found = layerlottery.load_ticket(saved, counted)
    assert calls == [1]
    known = {type(module) for module in factory().modules()} | {nn.Identity}
    assert {type(module) for module in found.model.modules()} <= known | {nn.Sequential, nn.ReLU}


@pytest.mark.parametrize("path", [None, 3, ""])
def test_what_is_no_path_is_one_line(saved, path):
    ticket = layerlottery.load_ticket(saved, factory)
    for call in (
        lambda: layerlottery.load_ticket(path, factory),
        lambda: layerlottery.save_ticket(ticket, path),
        lambda: layerlottery.export_program(ticket, path),
        lambda: layerlottery.export_onnx(ticket, path),
    ):
        with pytest.raises(LayerLotteryError, match=r"^path: found \S+; allowed: the path of a file$"):
            call()


def test_a_network_that_is_compiled_to_torchscript_is_one_line(tmp_path):
    scripted, images = torch.jit.trace(factory().eval(), torch.rand(2, 3, 32, 32)), torch.rand(2, 3, 32, 32)
    for call in (
        lambda: layerlottery.find_ticket(scripted, (images, torch.arange(2)), "snip", remove=1),
        lambda: layerlottery.find_blocks(scripted, images),
        lambda: layerlottery.prune(scripted, ["layer1.1"]),
        lambda: layerlottery.export_program(scripted, tmp_path / "x.pt2", images),
    ):
        with pytest.raises(LayerLotteryError, match=r"^model: found a ScriptModule; allowed: the network that"):
            call()
    assert not any(tmp_path.iterdir())


def test_a_network_without_numbers_is_one_line(saved):
    with pytest.raises(LayerLotteryError, match=r"does not fit ResNet .* on the device meta, which holds no numbers$"):
        layerlottery.load_ticket(saved, lambda: factory().to("meta"))
