"""The stage compare on a small dense network and its tickets."""

import math
import weakref

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from layerlottery.config.evaluation import CompareSettings
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepared import select_images
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import compare as stage
from layerlottery.networks.blocks import remove_blocks
from layerlottery.networks.filters import cut_shapes, remove_filters
from layerlottery.networks.predictor import Predictor
from layerlottery.networks.resnet import CifarResNet, initialize
from layerlottery.networks.weights import save_network
from layerlottery.store.artifacts import read_table
from layerlottery.store.schemas import arrow_schema

ALL = [f"stage{stage}.{place}" for stage in (1, 2, 3) for place in range(3)]
GONE = ["stage1.2", "stage3.1"]


def network(depth=20, width=3, seed=0):
    model = CifarResNet(NetworkSettings(depth=depth, width=width), channels=1, classes=10)
    initialize(model, seed)
    return model


class Workbench:
    """A dense network on disk, and the stage's table for other networks beside it."""

    def __init__(self, bench, folder, device):
        self.bench, self.folder, self.device = bench, folder, device
        self.dense = self.save(network(), name="dense")

    def save(self, model, *, name, depth=20, width=3, removed_blocks=(), **changes):
        settings = {"depth": depth, "width": width}
        architecture = {
            "network": settings,
            "channels": 1,
            "classes": 10,
            "removed_blocks": list(removed_blocks),
        } | changes
        path = self.folder / f"{name}.safetensors"
        save_network(path, model, {"architecture": architecture}, config_hash="0" * 64)
        return path

    def table(self, weights, *, dense=None, **settings):
        output = self.folder / "similarity.parquet"
        chosen = CompareSettings(**settings)
        stage.compare(weights, dense or self.dense, self.bench.data, output, chosen, device=self.device)
        return read_table(output)

    def hash(self, *args, **settings):
        return self.table(*args, **settings).schema.metadata[b"config_hash"]


@pytest.fixture
def workbench(bench, tmp_path, cpu):
    return Workbench(bench, tmp_path, cpu)


def test_a_ticket_equal_to_the_dense_network_is_alike_in_every_layer(workbench):
    rows = workbench.table(workbench.save(network(), name="same")).to_pylist()
    assert [row["layer"] for row in rows] == [*ALL, "penultimate"]
    assert [row["stage"] for row in rows] == [*(name[:6] for name in ALL), None]
    assert [row["position"] for row in rows] == list(range(1, 11))
    assert {row["images"] for row in rows} == {60}
    assert [row["cka"] for row in rows] == pytest.approx([1.0] * 10, abs=1e-12)
    assert max(row["cka"] for row in rows) <= 1


def test_columns_are_those_of_the_similarity_table_without_identity(workbench):
    table = workbench.table(workbench.dense)
    assert table.column_names == ["layer", "stage", "position", "cka", "images"]
    assert all(field.type == arrow_schema("similarity").field(field.name).type for field in table.schema)


def block_outputs(model, values, names):
    """Outputs in float64, module after module."""
    found = {}
    model, values = model.double().eval(), model.stem(values)
    for part in ("stage1", "stage2", "stage3"):
        for name, block in model.get_submodule(part).named_children():
            values = block(values)
            found[f"{part}.{name}"] = values.flatten(1)
    return {name: found[name] for name in names} | {"penultimate": values.mean((2, 3))}


def textbook_cka(x, y):
    """Song et al. 2012, equation 5, with the sums written out."""

    def hsic(k, m):
        n, one = len(k), np.ones(len(k))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        terms = (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        )
        return terms / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def prepared_images(bench, count):
    test = bench.prepared.split("test")
    images = test.images[select_images(test.labels, count, seed=0)]
    return torch.from_numpy(images / 255 - bench.prepared.mean[0]) / bench.prepared.std[0]


def test_a_smaller_ticket_is_compared_in_the_blocks_that_it_kept(workbench):
    ticket = remove_blocks(network(seed=4), GONE)
    rows = workbench.table(workbench.save(ticket, name="ticket", removed_blocks=GONE), images=40).to_pylist()
    kept = [name for name in ALL if name not in GONE]
    assert [(row["layer"], row["position"]) for row in rows] == [
        *((name, ALL.index(name) + 1) for name in kept),
        ("penultimate", 10),
    ]
    images = prepared_images(workbench.bench, 40)
    with torch.no_grad():
        first, second = (block_outputs(model.double(), images, kept) for model in (network(), ticket))
    for row in rows:
        expected = textbook_cka(first[row["layer"]].numpy(), second[row["layer"]].numpy())
        assert row["cka"] == pytest.approx(expected, abs=1e-5)
        assert row["cka"] < 0.99
        assert row["images"] == 40


def predictor(model):
    return Predictor(model, [0.5], [0.25]).eval().requires_grad_(False)


def random_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


def test_networks_of_unequal_width_compare(cpu):
    names = ["stage1.1", "stage3.0", "penultimate"]
    found = stage.similarities(predictor(network()), predictor(network(width=2)), random_images(20), names, device=cpu)
    values = (torch.from_numpy(random_images(20) / 255) - 0.5) / 0.25
    with torch.no_grad():
        first, second = (block_outputs(network(width=width).double(), values, names[:2]) for width in (3, 2))
    for name in names:
        assert found[name] == pytest.approx(textbook_cka(first[name].numpy(), second[name].numpy()), abs=1e-5)


def test_filter_tickets_are_compared_in_all_blocks(workbench):
    narrow = remove_filters(network(), {"stem.0": [1], "stage3.0.conv1": [0, 2]})
    path = workbench.save(narrow, name="narrow", filters=cut_shapes(network(), narrow))
    rows = workbench.table(path).to_pylist()
    assert [row["layer"] for row in rows] == [*ALL, "penultimate"]
    assert all(row["cka"] < 0.999 for row in rows)


def test_many_images_are_averaged_over_batches_that_mix_their_order(cpu):
    # ten images of a kind in a row: only dealt out do batches hold both kinds
    images = random_images(20) // np.repeat([1, 8], 10).astype(np.uint8)[:, None, None, None]
    pair, name = (predictor(network()), predictor(network(seed=4))), "penultimate"
    found = stage.similarities(*pair, images, [name], device=cpu, batch_size=10)[name]

    def hsics(half):
        grams = [stage.grams(model, torch.from_numpy(images[half::2] / 255).float(), [name])[name] for model in pair]
        return stage.hsic(*grams).numpy()

    both, left, right = hsics(0) + hsics(1)
    assert found == pytest.approx(both / math.sqrt(left * right), abs=1e-6)
    whole = stage.similarities(*pair, images, [name], device=cpu)[name]
    assert found == pytest.approx(whole, abs=0.1)


def test_the_maps_of_a_layer_are_gone_before_those_of_the_next_are_taken(cpu, monkeypatch):
    taken, alive, gram = [], [], stage.gram

    def watched(maps):
        alive.append(sum(earlier() is not None for earlier in taken))
        taken.append(weakref.ref(maps))
        return gram(maps)

    monkeypatch.setattr(stage, "gram", watched)
    found = stage.grams(predictor(network()), torch.rand(4, 1, 8, 8), [*ALL, "penultimate"])
    assert list(found) == [*ALL, "penultimate"]
    assert alive == [0] * 10


def test_layers_that_never_change_have_no_cka(workbench):
    dead = network()
    nn.init.zeros_(dead.stage2[0].bn2.weight)
    nn.init.zeros_(dead.stage2[0].shortcut.bn.weight)
    rows = workbench.table(workbench.save(dead, name="dead")).to_pylist()
    assert [row["cka"] is None for row in rows] == [False] * 3 + [True] * 7


def test_a_diverged_ticket_has_no_cka(workbench):
    diverged = network()
    diverged.stage3[2].conv1.weight.data.fill_(math.nan)
    cka = workbench.table(workbench.save(diverged, name="diverged"))["cka"].to_pylist()
    assert cka[:8] == pytest.approx([1.0] * 8)
    assert cka[8:] == [None, None]


def test_the_hash_follows_settings_and_both_networks(workbench):
    other = workbench.save(network(seed=1), name="other")
    hashes = {
        workbench.hash(workbench.dense),
        workbench.hash(workbench.dense, images=20),
        workbench.hash(other),
        workbench.hash(workbench.dense, dense=other),
    }
    assert len(hashes) == 4
    assert workbench.hash(other) in hashes


@pytest.mark.parametrize(("depth", "width", "found"), [(14, 3, r'"depth":14'), (20, 2, r'"width":2')])
def test_a_ticket_of_another_architecture_is_refused(workbench, depth, width, found):
    other = workbench.save(network(depth, width), name="other", depth=depth, width=width)
    with pytest.raises(
        LayerLotteryError, match=rf"^\S+other.safetensors: found network .*{found}.*; a ticket of \S+ has"
    ):
        workbench.table(other)


def test_a_ticket_in_place_of_the_dense_network_is_refused(workbench):
    ticket = workbench.save(remove_blocks(network(), GONE), name="ticket", removed_blocks=GONE)
    with pytest.raises(LayerLotteryError, match=r"ticket.safetensors: found a ticket; the network to compare with"):
        workbench.table(workbench.dense, dense=ticket)


def test_too_few_images_are_refused(workbench):
    # a set that has no more; the setting itself is refused when it is read
    few, files = CompareSettings.model_construct(images=3), (workbench.dense, workbench.dense, workbench.bench.data)
    with pytest.raises(LayerLotteryError, match=r"^images: found 3; debiased CKA takes 4 test images or more$"):
        stage.compare(*files, workbench.folder / "similarity.parquet", few, device=workbench.device)
    with pytest.raises(ValidationError, match="greater than or equal to 4"):
        CompareSettings(images=3)
