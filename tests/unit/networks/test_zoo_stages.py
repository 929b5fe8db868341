"""Networks of other families on their way through the stages, on the embedded digits: one channel, 8x8 pixels."""

import pytest
import torch

from layerlottery.config import extensions
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.data import Digits
from layerlottery.config.evaluation import AttackSettings, CompareSettings
from layerlottery.config.networks import (
    CustomSettings,
    PreactResNetSettings,
    TorchvisionSettings,
    VisionTransformerSettings,
    WideResNetSettings,
)
from layerlottery.config.results import ProfileSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.profile import profile
from layerlottery.criteria.score import score
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.compare import compare
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.prune import prune
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.training.train import train

CPU = torch.device("cpu")
NETWORKS = {
    "wide_resnet": WideResNetSettings(family="wide_resnet", depth=22, widen=1),
    "preact_resnet": PreactResNetSettings(family="preact_resnet", depth=20, width=4),
    "vit": VisionTransformerSettings(family="vit", patch=2, layers=3, heads=3, hidden=24, mlp=48),
    "mobilenet_v2": TorchvisionSettings(
        family="torchvision", name="mobilenet_v2", stem="small", options={"width_mult": 0.25, "dropout": 0.0}
    ),
}
RECIPE = TrainingSettings(
    epochs=10, batch_size=40, learning_rate=0.03, schedule="onecycle", weight_decay=0.0, crop=0, flip=False
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare(Digits(source="digits", train_size=120, test_size=40, shifted=[]), folder)
    return folder / "facts.json"


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("wide_resnet", "mobilenet_v2")]


@pytest.mark.parametrize("name", ["preact_resnet", "vit", *SLOW])
def test_from_random_weights_to_the_comparison(name, data, tmp_path):
    files = {key: tmp_path / key for key in ("init", "scores", "start", "ticket.json", "attack", "compare", "profile")}
    initialize_network(data, files["init"], NETWORKS[name], seed=0)
    settings = CRITERIA["snip"].model_copy(update={"images_per_class": 4})
    score(files["init"], data, files["scores"], settings, seed=0, device=CPU)
    prune(files["init"], files["scores"], files["start"], files["ticket.json"], removed=2)
    removed_blocks = read_facts(files["ticket.json"])["removed_blocks"]
    assert len(removed_blocks) == 2

    dense, ticket = (read_tensors(files[key])[0] for key in ("init", "start"))
    assert 0 < len(ticket) < len(dense)
    assert all((dense[key] == ticket[key]).all() for key in ticket)
    assert not any(key.startswith(tuple(f"{block}." for block in removed_blocks)) for key in ticket)

    for start, folder in (("init", "dense"), ("start", "pruned")):
        train(files[start], data, tmp_path / folder, RECIPE, seed=0, device=CPU)
        losses = [row["train_loss"] for row in read_table(tmp_path / folder / "curve.parquet").to_pylist()]
        assert losses[-1] < losses[0] - 0.1
    whole, small = (tmp_path / folder / "weights.safetensors" for folder in ("dense", "pruned"))

    few = AttackSettings(attacks=["fgsm", "transfer"], epsilons=[16.0], images=20)
    attack(small, data, files["attack"], few, device=CPU, dense=whole)
    assert len(read_table(files["attack"])) > 0
    compare(small, whole, data, files["compare"], CompareSettings(images=20), device=CPU)
    rows = read_table(files["compare"]).to_pylist()
    assert rows[-1]["layer"] == "penultimate"
    assert {row["layer"] for row in rows}.isdisjoint(removed_blocks)
    assert all(-1 <= row["cka"] <= 1.001 for row in rows)
    once = ProfileSettings(rounds=1, min_seconds=0.001)
    profile(files["init"], [files["ticket.json"]], data, files["profile"], once, batch_size=20, threads=1, device=CPU)
    first, second = read_facts(files["profile"])["architectures"]
    assert all(second[key] < first[key] for key in ("params", "macs", "memory_bytes"))


def test_a_blocks_removal_leaves_the_others_places(data, tmp_path):
    initialize_network(data, tmp_path / "init", NETWORKS["vit"], seed=0)
    score(tmp_path / "init", data, tmp_path / "scores", CRITERIA["random"], seed=0, device=CPU)
    prune(tmp_path / "init", tmp_path / "scores", tmp_path / "start", tmp_path / "facts", removed=2)
    with pytest.raises(LayerLotteryError, match="this network gives 0 to 2"):
        prune(tmp_path / "init", tmp_path / "scores", tmp_path / "start", tmp_path / "facts", removed=3)
    (dense, _), (ticket, facts) = (load_network(tmp_path / name) for name in ("init", "start"))
    (left,) = {f"encoder_layer_{i}" for i in range(3)} - {
        name.rpartition(".")[2] for name in facts["architecture"]["removed_blocks"]
    }
    images, layers = torch.randn(2, 1, 8, 8), dense.encoder.layers
    kept = layers.get_submodule(left)
    dense.encoder.layers = torch.nn.Sequential(kept)
    torch.testing.assert_close(ticket.eval()(images), dense.eval()(images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (VisionTransformerSettings(family="vit", patch=16), "can't take images of 8 pixels a side"),
        (
            TorchvisionSettings(family="torchvision", name="convnext_tiny"),
            r"torchvision convnext_tiny can't take images of shape \(1, 8, 8\)",
        ),
    ],
)
def test_what_can_not_take_such_small_images_says_so(settings, message, data, tmp_path):
    with pytest.raises(LayerLotteryError, match=message) as caught:
        initialize_network(data, tmp_path / "init", settings, seed=0)
    assert "\n" not in str(caught.value)


def test_the_most_blocks_that_can_go_are_those_that_prune_removes(data, tmp_path):
    files = {key: tmp_path / key for key in ("init", "scores", "start", "ticket.json")}
    asked = "studies.one.removed", "small", 99
    with pytest.raises(LayerLotteryError, match=r"^studies.one.removed: found 99; small gives at most \d+$") as caught:
        initialize_network(data, files["init"], NETWORKS["mobilenet_v2"], seed=0, asked=asked)
    assert not files["init"].exists()
    most = int(str(caught.value).split()[-1])
    initialize_network(data, files["init"], NETWORKS["mobilenet_v2"], seed=0, asked=(*asked[:2], most))
    score(files["init"], data, files["scores"], CRITERIA["random"], seed=0, device=CPU)
    inputs = files["init"], files["scores"], files["start"], files["ticket.json"]
    with pytest.raises(LayerLotteryError, match=f"0 to {most}$"):
        prune(*inputs, removed=most + 1)
    prune(*inputs, removed=most)
    assert len(read_facts(files["ticket.json"])["removed_blocks"]) == most > 0


def test_a_network_without_blocks_says_why(data, tmp_path, monkeypatch):
    monkeypatch.setenv(extensions.TRUSTED, "")
    source = tmp_path / "flat.py"
    source.write_text(
        "from torch import nn\n\n\ndef flat(*, channels, classes, image_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, classes))\n"
    )
    settings = CustomSettings(family="custom", function=f"{source}:flat")
    with pytest.raises(LayerLotteryError, match=r"gives at most 0 \(.*found no residual block"):
        initialize_network(data, tmp_path / "init", settings, seed=0, asked=("studies.one.removed", "flat", 1))


def test_draws_are_fresh_weights_of_one_architecture(data, tmp_path):
    for draw in (0, 1):
        initialize_network(data, tmp_path / f"{draw}", NETWORKS["vit"], seed=0, draw=draw)
    (first, one), (second, other) = (read_tensors(tmp_path / f"{draw}") for draw in (0, 1))
    assert one["architecture"] == other["architecture"]
    assert one["architecture"]["image_size"] == 8
    assert any((first[key] != second[key]).any() for key in first)
