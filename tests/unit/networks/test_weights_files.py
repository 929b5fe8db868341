"""Weights files and the prune stage, which works on files alone, against removal in memory."""

import hashlib
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.prune import prune
from layerlottery.networks.resnet import initialize
from layerlottery.networks.weights import build, load_network, save_network
from layerlottery.store.artifacts import read_facts, read_tensors, write_facts, write_tensors

DENSE = {"network": {"depth": 20, "width": 4}, "channels": 1, "classes": 10, "removed_blocks": []}


@pytest.fixture
def dense(tmp_path):
    model = build(DENSE)
    initialize(model, 5)
    save_network(tmp_path / "dense.safetensors", model, {"architecture": DENSE}, config_hash="made")
    scores = {name: float(number) for number, name in enumerate(["stage3.2", "stage3.1", "stage1.1", "stage2.2"])}
    rows = [
        {"name": b.name, "stage": b.stage, "removable": b.removable, "raw": None, "score": scores.get(b.name, 9.0)}
        for b in residual_blocks(model, keep_first=True)
    ]
    write_facts(tmp_path / "scores.json", {"blocks": rows, "settings": {"function": "l1"}}, config_hash="scored")
    return model


def test_file_round_trip(dense, tmp_path):
    model, facts = load_network(tmp_path / "dense.safetensors")
    assert facts["architecture"] == DENSE
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in dense.state_dict().items())


@pytest.mark.parametrize(
    ("removed", "removed_blocks"),
    [
        (0, []),
        (1, ["stage3.2"]),
        # stage 3 is down to two blocks after the first removal, so its other block is passed over
        (2, ["stage1.1", "stage3.2"]),
        (3, ["stage1.1", "stage2.2", "stage3.2"]),
    ],
)
def test_pruning_files_equals_removal_in_memory(dense, tmp_path, removed, removed_blocks):
    files = [tmp_path / name for name in ("dense.safetensors", "scores.json", "ticket.safetensors", "ticket.json")]
    prune(*files, removed=removed)
    ticket, facts = load_network(files[2])
    assert facts["architecture"]["removed_blocks"] == removed_blocks == read_facts(files[3])["removed_blocks"]
    expected = remove_blocks(dense, removed_blocks)
    assert str(ticket) == str(expected)
    assert all(torch.equal(ticket.state_dict()[name], value) for name, value in expected.state_dict().items())


def test_too_many_removed_names_the_most(dense, tmp_path):
    files = [tmp_path / name for name in ("dense.safetensors", "scores.json", "ticket.safetensors", "ticket.json")]
    with pytest.raises(LayerLotteryError, match="removed: 4 blocks can't be removed; this network gives 0 to 3"):
        prune(*files, removed=4)
    assert not files[2].exists()


def test_scores_of_another_network_are_refused(dense, tmp_path):
    held = read_facts(tmp_path / "scores.json")
    for row in held["blocks"]:
        row["name"] = row["name"].replace("stage", "layer")
    write_facts(tmp_path / "scores.json", {"blocks": held["blocks"], "settings": {}}, config_hash="scored")
    files = [tmp_path / name for name in ("dense.safetensors", "scores.json", "ticket.safetensors", "ticket.json")]
    with pytest.raises(LayerLotteryError, match=r"scores\.json: its block layer3\.2 is not in"):
        prune(*files, removed=1)


def test_ties_follow_network_order_and_are_recorded(dense, tmp_path):
    held = read_facts(tmp_path / "scores.json")
    for row in held["blocks"]:
        row["score"] = 1.0
    write_facts(tmp_path / "scores.json", {"blocks": held["blocks"], "settings": {}}, config_hash="scored")
    files = [tmp_path / name for name in ("dense.safetensors", "scores.json", "ticket.safetensors", "ticket.json")]
    facts = prune(*files, removed=2)
    assert facts["removed_blocks"] == ["stage1.1", "stage2.1"]
    assert facts["ties"] == ["stage1.2", "stage2.2", "stage3.1", "stage3.2"]


def test_weights_that_do_not_fit_their_network_are_refused(dense, tmp_path):
    tensors, _ = read_tensors(tmp_path / "dense.safetensors")
    tensors["stem.0.weight"] = tensors["stem.0.weight"][:2]
    write_tensors(tmp_path / "odd.safetensors", tensors, {"architecture": DENSE}, config_hash="made")
    with pytest.raises(LayerLotteryError, match=r"odd\.safetensors: its weights do not fit"):
        load_network(tmp_path / "odd.safetensors")


# files from anywhere

TORCHVISION = {"family": "torchvision", "name": "resnet18"}
OUT_OF_PROPORTION = [
    {"depth": 6 * 10**8 + 2},
    {"depth": 20, "width": 10**6},
    {"family": "wide_resnet", "depth": 10, "widen": 10**5},
    {"family": "vit", "layers": 10**9, "heads": 1, "hidden": 64},
    {"family": "vit", "heads": 1, "hidden": 10**6},
    TORCHVISION | {"options": {"width_per_group": 10**6}},
]


def named(path, network, **facts):
    """A file of one weight that names a network."""
    form = {"channels": 1, "classes": 2, "image_size": 32, "removed_blocks": []}
    held = {"w": np.zeros(1, np.float32)}
    write_tensors(path, held, {"architecture": form | {"network": network} | facts}, config_hash="0")
    return path


@pytest.mark.parametrize("network", OUT_OF_PROPORTION, ids=str)
def test_a_network_out_of_proportion_to_its_file_is_not_built(tmp_path, network):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LayerLotteryError, match=r"^\S+x\.safetensors: [^\n]+$"):
        load_network(named(tmp_path / "x.safetensors", network))
    # kilobytes: less than a tenth of what the smallest of them would take
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


@pytest.mark.parametrize(
    "option", ["weights", "weights_backbone", "pretrained", "pretrained_backbone", "pretrained_cfg", "checkpoint_path"]
)
def test_a_file_s_options_fetch_nothing(tmp_path, option, monkeypatch):
    for name in ("load_state_dict_from_url", "download_url_to_file"):
        monkeypatch.setattr(torch.hub, name, lambda *_, **__: pytest.fail("fetched"))
    options = {"options": {option: "DEFAULT"}}
    with pytest.raises(LayerLotteryError, match=rf"x\.safetensors: networks: options of \w+: {option} is not allowed"):
        load_network(named(tmp_path / "x.safetensors", TORCHVISION | options))


@pytest.mark.parametrize("name", ["../x", "hf-hub:x/y", "os.system", "__init__", "load"])
@pytest.mark.parametrize("family", ["torchvision", "timm"])
def test_only_constructors_of_the_library_are_called(tmp_path, family, name):
    if family == "timm":
        pytest.importorskip("timm")
    with pytest.raises(LayerLotteryError, match=r"^\S+x\.safetensors: [^\n]+$"):
        load_network(named(tmp_path / "x.safetensors", {"family": family, "name": name}))


def left_out(*stays, **stubs):
    """The facts of a block that leaves so."""
    removal = {"stays": list(stays), "stubs": stubs, "extra": False}
    return {"removed_blocks": ["stage1.1"], "removals": {"stage1.1": removal}}


@pytest.mark.parametrize(
    "facts",
    [
        {"network": {"family": "os"}},
        {"removed_blocks": ["nowhere.1"]},
        {"filters": {"stem.0": [9, 9, 9, 9, 9]}},
        {"filters": {"": [1]}},
        {"masked": {"stage1": 5}},
        {
            "removed_blocks": ["stage1.1"],
            "removals": {"stage1.1": {"stays": ["nn.Transformer"], "stubs": {}, "extra": 0}},
        },
        {"removed_blocks": ["stage1.1"], "removals": {"stage1.1": {"stays": ["relu.x"], "stubs": {}, "extra": 0}}},
        {"removed_blocks": ["stage1.1"], "removals": {"stage1.1": {"stays": [], "stubs": {"stem": 10**9}, "extra": 0}}},
        {"removed_blocks": ["stage1.1"], "removals": []},
        {"classes": "many"},
        {"channels": -1},
    ],
    ids=str,
)
def test_facts_that_fit_no_network_are_one_line(tmp_path, facts):
    with pytest.raises(LayerLotteryError, match=r"^\S+x\.safetensors: [^\n]+$"):
        load_network(named(tmp_path / "x.safetensors", facts.pop("network", {"depth": 20, "width": 4}), **facts))


def test_scores_that_name_code_run_none(dense, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("theirs.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef f(*a, **b): Path('ran').touch()\n")
    settings = {
        "function": "theirs.py:f",
        "code": f"sha256:{hashlib.sha256(Path('theirs.py').read_bytes()).hexdigest()}",
    }
    held = read_facts(tmp_path / "scores.json")
    write_facts(tmp_path / "scores.json", {"blocks": held["blocks"], "settings": settings}, config_hash="scored")
    prune(*[tmp_path / name for name in ("dense.safetensors", "scores.json", "t.safetensors", "t.json")], removed=1)
    assert read_facts(tmp_path / "t.json")["criterion_settings"]["function"] == "theirs.py:f"
    assert not Path("ran").exists()
