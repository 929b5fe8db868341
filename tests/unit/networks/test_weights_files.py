"""Weights files and the prune stage, which works on files alone, against removal in memory."""

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
