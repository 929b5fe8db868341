"""The controls at a layer ticket's cost: filters until as many MACs are saved, and a shorter training of dense."""

from functools import partial

import pytest
import torch
from tests.unit.networks.test_prune import Family
from torch import nn

from layerlottery.cost.network import macs
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks
from layerlottery.networks.selection import closest, removal_order_of_filters
from layerlottery.store.artifacts import read_tensors

SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return Family(tmp_path_factory.mktemp("equal"), depth=20, width=4)


def pruned(family, structure, removed):
    files = [family.folder / name for name in ("dense.safetensors", "filters.json", "t.safetensors", "t.json")]
    files[1] = family.folder / ("filters.json" if structure == "filters_at_macs" else "layers.json")
    budget = family.folder / "layers.json"
    counting = partial(macs, image_shape=SHAPE)
    return prune_(*files, removed=removed, structure=structure, budget=budget, macs=counting)


def prune_(*files, **given):
    from layerlottery.networks.prune import prune

    return prune(*files, **given)


def counted(model):
    """Multiply-accumulates by the sizes of every layer's output, seen in a forward pass."""
    total = []

    def add(module, _, output):
        weight = module.weight
        each = weight[0].numel()
        total.append(each * output[0].numel())

    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    # single kernels, as the fast form computes some of them as matrix products
    model.eval()(torch.zeros(1, *SHAPE))
    for hook in hooks:
        hook.remove()
    return sum(total)


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_filters_save_as_many_macs_as_the_layer_ticket(family, removed):
    facts = pruned(family, "filters_at_macs", removed)
    from layerlottery.networks.weights import load_network

    small, _ = load_network(family.folder / "t.safetensors")
    target = counted(remove_blocks(family.model, ["stage1.2", "stage1.1", "stage2.1"][:removed]))
    assert facts["budget"] == target
    found, whole = counted(small), counted(family.model)
    # one filter group more or less: the widest step is a filter of the first stage, which three blocks share
    order = removal_order_of_filters(family.groups)
    steps = [abs(counted(_without(family, order[:size])) - target) for size in range(0, len(order), 1)]
    assert abs(found - target) == min(steps)
    assert found < whole


def _without(family, gone):
    from layerlottery.networks.filters import remove_filters

    indices = {}
    for group in gone:
        indices.setdefault(group["layer"], []).append(group["index"])
    return remove_filters(family.model, indices)


@pytest.mark.parametrize("removed", [1, 3])
def test_the_dense_network_keeps_all_and_is_told_its_share(family, removed):
    facts = pruned(family, "dense_at_cost", removed)
    ticket = remove_blocks(family.model, ["stage1.2", "stage1.1", "stage2.1"][:removed])
    assert facts["training_share"] == pytest.approx(counted(ticket) / counted(family.model))
    tensors, held = read_tensors(family.folder / "t.safetensors")
    assert held["training_share"] == facts["training_share"]
    assert facts["architecture"] == family.architecture
    assert all((tensors[name] == array.numpy()).all() for name, array in family.model.state_dict().items())


def test_costs_need_images_and_scores_of_blocks(family):
    files = [family.folder / name for name in ("dense.safetensors", "layers.json", "t.safetensors", "t.json")]
    with pytest.raises(LayerLotteryError, match="budget, data: found none"):
        prune_(*files, removed=1, structure="dense_at_cost", budget=family.folder / "layers.json")


def test_the_closest_cost_is_found_among_falling_ones():
    costs = [100, 90, 90, 70, 55, 20]
    for target in range(0, 120):
        found = closest(target, len(costs) - 1, lambda size: costs[size])
        assert abs(costs[found] - target) == min(abs(one - target) for one in costs)


def test_filters_go_lowest_first_and_one_of_each_layer_stays():
    scores = [("a", 0, 0.5), ("a", 1, 0.1), ("b", 0, 0.2), ("b", 1, 0.3), ("b", 2, 0.2)]
    groups = [{"layer": layer, "index": index, "filters": 1, "score": score} for layer, index, score in scores]
    order = [(group["layer"], group["index"]) for group in removal_order_of_filters(groups)]
    assert order == [("a", 1), ("b", 0), ("b", 2)]
