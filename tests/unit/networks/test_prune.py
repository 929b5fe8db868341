"""Structures at the budget of a layer ticket: counts, choices and files against plain references."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from layerlottery.config.criteria import CRITERIA
from layerlottery.cost.network import filters, parameters
from layerlottery.criteria.score import group_scores, weight_scores
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.prune import prune
from layerlottery.networks.resnet import initialize
from layerlottery.networks.selection import choose_filters, choose_weights, tied_filters
from layerlottery.networks.weights import build, load_network, save_network
from layerlottery.store.artifacts import read_facts, read_tensors, read_weights, write_facts, write_tensors

ORDER = ["stage1.2", "stage1.1", "stage2.1", "stage3.2"]


class Family:
    """A dense network's files in a folder, and tickets of it."""

    def __init__(self, folder, **network):
        self.folder = folder
        self.architecture = {"network": network, "channels": 1, "classes": 10, "removed_blocks": []}
        self.model = build(self.architecture)
        initialize(self.model, 5)
        save_network(folder / "dense.safetensors", self.model, {"architecture": self.architecture}, config_hash="a")
        scores = {name: float(place) for place, name in enumerate(ORDER)}
        rows = [
            {"name": b.name, "stage": b.stage, "removable": b.removable, "raw": None, "score": scores.get(b.name, 9.0)}
            for b in residual_blocks(self.model, keep_first=True)
        ]
        write_facts(folder / "layers.json", {"blocks": rows, "settings": {}}, config_hash="b")
        batch = (torch.zeros(0, 1, 8, 8), torch.zeros(0))
        self.groups = group_scores(self.model, batch, CRITERIA["random"])
        write_facts(folder / "filters.json", {"groups": self.groups, "settings": {"f": 1}}, config_hash="c")
        self.scores = weight_scores(self.model, batch, CRITERIA["magnitude"])
        held = {"layers": list(self.scores), "settings": {"w": 1}}
        write_tensors(folder / "weights.safetensors", self.scores, held, config_hash="d")

    def prune(self, structure, removed, **changes):
        scores = {"layers": "layers.json", "filters": "filters.json", "weights": "weights.safetensors"}[structure]
        files = [self.folder / name for name in ("dense.safetensors", scores, "ticket.safetensors", "ticket.json")]
        budget = None if structure == "layers" else self.folder / "layers.json"
        return prune(*files, **{"removed": removed, "structure": structure, "budget": budget} | changes)

    def ticket(self):
        return load_network(self.folder / "ticket.safetensors")


@pytest.fixture
def family(tmp_path):
    return Family(tmp_path, depth=20, width=4)


@pytest.mark.parametrize(("removed", "left"), [(1, 1200), (2, 1168), (3, 1104), (4, 976)])
def test_filters_of_resnet32_at_the_papers_budgets(tmp_path, removed, left):
    # table 3 of Jordao et al.: 1200 and 1168 filters stay when one and two blocks of stage 1 go
    family = Family(tmp_path, depth=32)
    facts = family.prune("filters", removed)
    ticket, held = family.ticket()
    assert facts["budget"] == facts["filters"] == filters(ticket) == left
    assert facts["layers"] == {
        name: module.out_channels for name, module in ticket.named_modules() if isinstance(module, torch.nn.Conv2d)
    }
    assert min(facts["layers"].values()) >= 1
    assert facts["architecture"] == held["architecture"] == read_facts(tmp_path / "ticket.json")["architecture"]
    assert (facts["removed_blocks"], facts["structure"], facts["criterion_settings"]) == ([], "filters", {"f": 1})
    assert len(facts["kept"]) == 15


def test_the_filters_that_stay_are_the_highest_scored(family):
    facts = family.prune("filters", 2)
    ticket, _ = family.ticket()
    gone = filters(family.model) - facts["budget"]
    taken, expected = 0, {}
    for group in sorted(family.groups, key=lambda group: group["score"]):
        if taken + group["filters"] <= gone:
            taken += group["filters"]
            expected[group["layer"]] = expected.get(group["layer"], 0) + 1
    widths = {group["layer"]: group["index"] + 1 for group in family.groups}
    assert taken == gone
    for layer, width in widths.items():
        assert facts["layers"][layer] == width - expected.get(layer, 0) == ticket.get_submodule(layer).out_channels


def test_masks_are_the_lowest_magnitudes_of_all_layers(family):
    facts = family.prune("weights", 3)
    ticket, held = family.ticket()
    names = list(family.scores)
    flat = np.concatenate([family.model.get_parameter(name).detach().numpy().ravel() for name in names])
    layer_ticket = remove_blocks(family.model, ["stage1.2", "stage2.1", "stage3.2"])
    gone = parameters(family.model) - parameters(layer_ticket)
    expected = flat.copy()
    expected[np.argsort(np.abs(flat), kind="stable")[:gone]] = 0
    found = np.concatenate([ticket.get_submodule(name[:-7]).weight.detach().numpy().ravel() for name in names])
    assert np.array_equal(found, expected)
    assert facts["budget"] == parameters(layer_ticket) == parameters(ticket)
    assert held["architecture"]["masked"] == facts["architecture"]["masked"]
    assert sum(facts["architecture"]["masked"].values()) == flat.size - gone
    assert facts["filters"] == filters(family.model)


@pytest.mark.parametrize("structure", ["layers", "filters", "weights"])
def test_removing_nothing_is_the_dense_network(family, structure):
    facts = family.prune(structure, 0)
    before, _ = read_weights(family.folder / "dense.safetensors")
    after, held = read_weights(family.folder / "ticket.safetensors")
    assert held["architecture"] == family.architecture == facts["architecture"]
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert facts["tied"] == 0


def test_what_the_facts_say_of_layers(family):
    facts = family.prune("layers", 2)
    # stage 1 is down to two blocks after the first
    assert facts["removed_blocks"] == ["stage1.2", "stage2.1"]
    assert (facts["budget"], facts["ties"], facts["tied"]) == (None, [], 0)
    assert facts["filters"] == filters(family.model) - 2 * 4 - 2 * 8
    assert "layers" not in facts


def groups(*rows):
    return [
        {"layer": layer, "index": index, "filters": count, "score": float(score)}
        for layer, count, scores in rows
        for index, score in enumerate(scores)
    ]


def chosen(rows, excess):
    total = sum(row["filters"] for row in rows)
    return [(row["layer"], row["index"]) for row in choose_filters(rows, total=total, budget=total - excess)]


def test_coupled_groups_that_would_take_too_many_are_passed_over():
    rows = groups(("stem", 3, [0, 1, 9]), ("inner", 1, [4, 2, 5, 6]))
    assert chosen(rows, 3) == [("stem", 0)]
    assert chosen(rows, 4) == [("stem", 0), ("inner", 1)]
    assert chosen(rows, 2) == [("inner", 1), ("inner", 0)]
    assert chosen(rows, 9) == [("stem", 0), ("stem", 1), ("inner", 1), ("inner", 0), ("inner", 2)]


def test_the_closest_count_where_none_is_exact():
    rows = groups(("stem", 3, [0, 1, 2, 3]))
    assert chosen(rows, 1) == []
    assert chosen(rows, 2) == [("stem", 0)]
    assert chosen(rows, 4) == [("stem", 0)]
    assert chosen(rows, 5) == [("stem", 0), ("stem", 1)]


def test_ties_follow_network_order_and_are_counted():
    rows = groups(("a", 1, [1, 1, 5]), ("b", 1, [1, 0, 1]))
    assert chosen(rows, 2) == [("b", 1), ("a", 0)]
    assert tied_filters(rows, [rows[4], rows[0]]) == 3
    scores = {"z": np.array([[2.0, 1.0]]), "a": np.array([1.0, 0.0, 1.0])}
    masks, tied = choose_weights(scores, total=10, budget=8)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"z": [[True, False]], "a": [True, False, True]}
    assert tied == 2


def test_budgets_out_of_reach_name_what_is_possible():
    rows = groups(("stem", 3, [0, 1]), ("inner", 1, [0, 1]))
    with pytest.raises(LayerLotteryError, match="budget: found 3 filters; this network allows 4 to 8"):
        choose_filters(rows, total=8, budget=3)
    with pytest.raises(LayerLotteryError, match="budget: found 5 parameters; this network allows 6 to 10"):
        choose_weights({"a": np.zeros(4)}, total=10, budget=5)


def test_files_that_do_not_belong_together_are_refused(family):
    with pytest.raises(LayerLotteryError, match="budget: found none; filters and weights need the block scores"):
        family.prune("filters", 1, budget=None)
    with pytest.raises(LayerLotteryError, match=r"filters\.json: holds no scores of blocks"):
        family.prune("filters", 1, budget=family.folder / "filters.json")
    scores, facts = read_tensors(family.folder / "weights.safetensors")
    write_tensors(family.folder / "weights.safetensors", {}, {"settings": {}}, config_hash="d")
    with pytest.raises(LayerLotteryError, match=r"weights\.safetensors: holds no scores of weights"):
        family.prune("weights", 1)
    scores["stem.0.weight"] = scores["stem.0.weight"][:2]
    write_tensors(family.folder / "weights.safetensors", scores, {"layers": facts["layers"]}, config_hash="d")
    with pytest.raises(LayerLotteryError, match=r"weights\.safetensors: its layer stem\.0 does not fit .*dense\.safet"):
        family.prune("weights", 1)
    write_facts(family.folder / "filters.json", {"groups": family.groups[1:], "settings": {}}, config_hash="c")
    with pytest.raises(LayerLotteryError, match=r"filters\.json: scores 192 filters, .*dense\.safetensors has 196"):
        family.prune("filters", 1)


def test_layers_and_weights_are_pruned_without_torch(family):
    calls = [["layers.json", "layers", None], ["weights.safetensors", "weights", str(family.folder / "layers.json")]]
    program = """
import json, sys
from pathlib import Path
from layerlottery.networks.prune import prune
folder = Path(sys.argv[1])
for scores, structure, budget in json.loads(sys.argv[2]):
    files = [folder / name for name in ("dense.safetensors", scores, "t.safetensors", "t.json")]
    prune(*files, removed=1, structure=structure, budget=budget and Path(budget))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(family.folder), json.dumps(calls)], check=True)
