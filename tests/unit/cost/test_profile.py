"""The profile stage: one row per architecture, found by its digest, whatever was removed."""

import pytest
import torch

from layerlottery.config.data import Digits
from layerlottery.config.results import ProfileSettings
from layerlottery.cost.network import macs, parameters, training_memory
from layerlottery.cost.profile import profile
from layerlottery.data.prepare import prepare
from layerlottery.networks.blocks import remove_blocks
from layerlottery.networks.filters import cut_shapes, remove_filters
from layerlottery.networks.weights import build, save_network
from layerlottery.store.artifacts import read_facts, write_facts
from layerlottery.store.hashing import digest

DENSE = {"network": {"depth": 20, "width": 2}, "channels": 1, "classes": 10, "removed_blocks": []}
QUICK = ProfileSettings(rounds=1, min_seconds=0.001)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    prepare(Digits(source="digits", train_size=20, test_size=20, shifted=[]), folder)
    save_network(folder / "dense.safetensors", build(DENSE), {"architecture": DENSE}, config_hash="a")
    return folder


def profiled(folder, architectures, **options):
    tickets = []
    for number, architecture in enumerate(architectures):
        tickets.append(folder / f"{number}.json")
        write_facts(tickets[-1], {"architecture": architecture}, config_hash="t")
    files = (folder / "dense.safetensors", tickets, folder / "facts.json", folder / "profile.json")
    profile(*files, QUICK, batch_size=4, threads=1, device=torch.device("cpu"), **options)
    return read_facts(folder / "profile.json")


def test_rows_of_all_structures(folder):
    dense = build(DENSE)
    layers = remove_blocks(dense, ["stage2.1"])
    filters = remove_filters(dense, {"stage3.0.conv1": [1, 5]})
    architectures = {
        "layers": DENSE | {"removed_blocks": ["stage2.1"]},
        "filters": DENSE | {"filters": cut_shapes(dense, filters)},
        "weights": DENSE | {"masked": {"stem.0": 3, "stage1.1.conv1": 10}},
    }
    facts = profiled(folder, architectures.values())
    rows = {row["architecture"]: row for row in facts["architectures"]}
    found = {name: rows[digest(architecture)] for name, architecture in architectures.items()}
    found["dense"] = rows[facts["dense"]]
    assert len(rows) == 4
    # six convolutions a stage and the stem or a projection
    total = 7 * (2 + 4 + 8)
    assert {name: row["filters"] for name, row in found.items()} == {
        "dense": total,
        "layers": total - 2 * 4,
        "filters": total - 2,
        "weights": total,
    }
    for name, model in {"dense": dense, "layers": layers, "filters": filters}.items():
        assert found[name]["params"] == parameters(model)
        assert found[name]["macs"] == macs(model, SHAPE)
        assert found[name]["memory_bytes"] == training_memory(model, SHAPE, batch_size=4).total
        assert found[name]["latency_ms"] > 0
    # masks skip no work: only the parameters are fewer
    assert found["weights"]["params"] == found["dense"]["params"] - (18 - 3) - (36 - 10)
    for column in ("macs", "memory_bytes", "latency_ms"):
        assert found["weights"][column] == found["dense"][column]


def test_equal_layers_are_measured_once_and_equal_architectures_listed_once(folder, monkeypatch):
    measured = []

    def counting(models, *_, **__):
        measured.append(len(models))
        return dict.fromkeys(models, 1.0)

    monkeypatch.setattr("layerlottery.cost.profile.latency", counting)
    blocks = [DENSE | {"removed_blocks": [name]} for name in ("stage1.1", "stage1.2", "stage2.1", "stage1.1")]
    facts = profiled(folder, [*blocks, DENSE, DENSE | {"masked": {"stem.0": 2}}])
    assert measured == [3]
    assert len(facts["architectures"]) == 5


def test_memory_is_that_of_the_recipe_s_optimizer(folder):
    dense = build(DENSE)
    facts = profiled(folder, [], copies=3)
    found = facts["architectures"][0]["memory_bytes"]
    assert found == training_memory(dense, SHAPE, batch_size=4, copies=3).total
    assert found == training_memory(dense, SHAPE, batch_size=4).total + 2 * 4 * parameters(dense)
