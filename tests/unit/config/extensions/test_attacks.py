"""Attacks of the user's own, beside the built-in ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from layerlottery.config import extensions
from layerlottery.config.evaluation import AttackSettings, CustomAttack
from layerlottery.data.prepared import FACTS, PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.attack import Victim, attack, attack_rows
from layerlottery.networks.predictor import load_predictor
from layerlottery.store.artifacts import read_table

CPU = torch.device("cpu")


@pytest.fixture
def victim(stripes):
    """A linear classifier, and images whose labels are its own predictions: all of them may be attacked."""

    def make(settings):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4)).eval().requires_grad_(False)
        images = PreparedSet.open(stripes / FACTS).split("test").images
        labels = model(torch.tensor(images) / 255).argmax(1).numpy()
        return Victim(model, model, Split(images, labels), settings, CPU)

    return make


def own(function, **others):
    values = {"attacks": ["fgsm"], "epsilons": [2.0, 8.0], "l2_epsilons": [64.0], "images": None}
    return AttackSettings(**values, custom={"mine": CustomAttack(function=function, **others)})


def of_mine(rows):
    return [row for row in rows if row.name == "mine"]


def test_the_example_is_the_published_attack(victim, examples):
    held = victim(own(f"{examples / 'attack.py'}:momentum", options={"steps": 4, "decay": 0.5}))
    rows = of_mine(attack_rows(held))
    assert [(row.kind, row.level, row.images) for row in rows] == [("attack", e, 40) for e in (0.0, 2.0, 8.0)]
    assert rows[0].accuracy == 100
    images, labels = torch.tensor(held.test.images) / 255, torch.tensor(held.test.labels)
    for row in rows[1:]:
        right = [withstands(held.model, *one, row.level / 255) for one in zip(images, labels, strict=True)]
        assert row.accuracy == pytest.approx(100 * np.mean(right))
    assert rows[2].accuracy < rows[1].accuracy < 100


def withstands(model, image, label, epsilon):
    """Dong et al. (2018), algorithm 1, for one image and a linear model; 4 steps, decay 0.5."""
    weight, bias = model[1].weight.double(), model[1].bias.double()
    start = image.flatten().double()
    x, velocity = start.clone(), torch.zeros(256, dtype=torch.double)
    for _ in range(4):
        gradient = weight.T @ (torch.softmax(weight @ x + bias, dim=0) - F.one_hot(label, 4))
        velocity = 0.5 * velocity + gradient / gradient.abs().mean()
        x = start + (x + epsilon / 4 * velocity.sign() - start).clamp(-epsilon, epsilon)
        x = x.clamp(0, 1)
    return bool((weight @ x + bias).argmax() == label)


def test_an_attack_in_l2_has_the_epsilons_and_the_bound_of_that_norm(write, victim):
    code = (
        "def own(model, images, labels, *, epsilon, seed, factor):\n"
        "    direction = 0.5 - images\n"
        "    length = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)\n"
        "    return images + factor * epsilon * direction / length"
    )
    found = attack_rows(victim(own(write(code), norm="l2", options={"factor": 1.0})))
    assert [row.level for row in of_mine(found)] == [0.0, 64.0]
    with pytest.raises(LayerLotteryError, match=r"attack mine: a perturbation of 64\.64/255 or .*; allowed is 64/255"):
        attack_rows(victim(own(write(code), norm="l2", options={"factor": 1.01})))


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("(images - 2 * epsilon).abs()", "attack mine: a perturbation of 4/255 or values outside [0, 1]; allowed is 2"),
        ("images + epsilon", "attack mine: a perturbation of 2/255 or values outside [0, 1]; allowed is 2/255"),
        ("images * float('nan')", "values outside [0, 1]; allowed is 2/255"),
        ("images[1:]", "mine.py:own: returned images torch.float32 (39, 1, 16, 16); allowed are torch.float32 (40, 1,"),
        (
            "(255 * images).byte()",
            "mine.py:own: returned images torch.uint8 (40, 1, 16, 16); allowed are torch.float32",
        ),
        ("images.numpy()", "mine.py:own: returned ndarray; allowed are the images, a tensor (40, 1, 16, 16)"),
        ("images @ labels", "mine.py:own: raised RuntimeError: "),
    ],
)
def test_what_is_no_adversarial_example_is_said_in_one_line(write, victim, returned, expected):
    function = write(f"def own(model, images, labels, *, epsilon, seed):\n    return {returned}")
    with pytest.raises(LayerLotteryError) as caught:
        attack_rows(victim(own(function)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_attack_can_change_neither_network_nor_images(write, victim):
    function = write(
        "def own(model, images, labels, *, epsilon, seed):\n"
        "    kept = images.clone()\n    images.zero_()\n    labels.zero_()\n"
        "    for one in model.train().parameters():\n        one.zero_()\n    return kept"
    )
    held = victim(own(function))
    weight = held.model[1].weight.clone()
    assert [row.accuracy for row in of_mine(attack_rows(held))] == [100, 100, 100]
    assert torch.equal(held.model[1].weight, weight)
    assert not held.model.training


def test_an_attack_sees_the_images_that_are_right_and_seeds_of_its_batch(write, victim):
    function = write(
        "import torch\n"
        "def own(model, images, labels, *, epsilon, seed):\n"
        "    with open('seen', 'a') as file:\n"
        "        print(len(images), seed, float(torch.rand(1)), file=file)\n"
        "    return images"
    )
    held = victim(own(function))
    held.test.labels[:5] = (held.test.labels[:5] + 1) % 4
    held.batches = held.chosen(None, batch_size=20)
    attack_rows(held)
    seen = [line.split() for line in Path("seen").read_text().splitlines()]
    assert [int(line[0]) for line in seen] == [15, 20, 15, 20]
    assert seen[:2] == seen[2:]  # the same for both epsilons
    assert seen[0][1] != seen[1][1]
    assert all(0 <= int(line[1]) < 2**31 for line in seen)


def test_the_stage_writes_the_rows_beside_the_others(stripes, network, examples, tmp_path):
    extensions.trust(network())
    settings = own(f"{examples / 'attack.py'}:momentum", options={"steps": 2})
    attack(stripes / "weights.safetensors", stripes / FACTS, tmp_path / "attack.parquet", settings, device=CPU)
    rows = read_table(tmp_path / "attack.parquet").to_pylist()
    assert [(row["kind"], row["name"], row["level"]) for row in rows] == [
        ("attack", name, level) for name in ("fgsm", "mine") for level in (0.0, 2.0, 8.0)
    ]
    model, _ = load_predictor(stripes / "weights.safetensors", PreparedSet.open(stripes / FACTS), CPU)
    test = PreparedSet.open(stripes / FACTS).split("test")
    clean = model(torch.tensor(test.images) / 255).argmax(1).numpy() == test.labels
    assert rows[3]["accuracy"] == pytest.approx(100 * clean.mean())


def test_an_attack_that_cant_be_loaded_fails_before_the_others_begin(write, stripes, network, tmp_path, monkeypatch):
    extensions.trust(network())
    settings = own(write("import nothing_of_this_name\ndef own(): ..."))
    monkeypatch.setattr("layerlottery.evaluation.attack.attack_rows", lambda victim: pytest.fail("it began"))
    with pytest.raises(LayerLotteryError, match=r"^mine\.py: importing it raised ModuleNotFoundError: .* \(line 1\)$"):
        attack(stripes / "weights.safetensors", stripes / FACTS, tmp_path / "attack.parquet", settings, device=CPU)
