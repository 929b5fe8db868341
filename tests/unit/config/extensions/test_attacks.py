"""Attacks of the user's own, beside the built-in ones."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.config.extensions.conftest import EXAMPLES, told
from torch.nn import functional as F

from layerlottery.config import extensions
from layerlottery.config.evaluation import AttackSettings, CustomAttack
from layerlottery.data.prepared import FACTS, PreparedSet, Split
from layerlottery.evaluation.attack import Victim, attack, attack_rows

CPU = torch.device("cpu")
MOMENTUM = f"{EXAMPLES / 'attack.py'}:momentum"
OWN = "import torch\ndef own(model, images, labels, *, epsilon, seed, **options):\n    "


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


def rows_of(victim):
    return [row for row in attack_rows(victim) if row.name == "mine"]


def test_the_example_is_the_published_attack(victim):
    held = victim(own(MOMENTUM, options={"steps": 4, "decay": 0.5}))
    rows = rows_of(held)
    assert [(row.kind, row.level, row.images) for row in rows] == [("attack", e, 40) for e in (0.0, 2.0, 8.0)]
    images, labels = torch.tensor(held.test.images) / 255, torch.tensor(held.test.labels)
    for row in rows:
        right = [withstands(held.model, *one, row.level / 255) for one in zip(images, labels, strict=True)]
        assert row.accuracy == pytest.approx(100 * np.mean(right))
    assert rows[2].accuracy < rows[1].accuracy < rows[0].accuracy == 100


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
    function = write(
        OWN + "length = (0.5 - images).flatten(1).norm(dim=1).view(-1, 1, 1, 1)\n"
        "    return images + options['factor'] * epsilon * (0.5 - images) / length"
    )
    found = rows_of(victim(own(function, norm="l2", options={"factor": 1.0})))
    assert [row.level for row in found] == [0.0, 64.0]
    found = told(rows_of, victim(own(function, norm="l2", options={"factor": 1.01})))
    assert re.match(r"attack mine: a perturbation of 64\.64/255 or .*; allowed: 64/255", found)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("(images - 2 * epsilon).abs()", "attack mine: a perturbation of 4/255 or values outside [0, 1]; allowed: 2"),
        ("images + epsilon", "attack mine: a perturbation of 2/255 or values outside [0, 1]; allowed: 2/255"),
        ("images * float('nan')", "values outside [0, 1]; allowed: 2/255"),
        ("images[1:]", "mine.py:own: returned images torch.float32 (39, 1, 16, 16); allowed: torch.float32 (40, 1,"),
        ("images.byte()", "mine.py:own: returned images torch.uint8 (40, 1, 16, 16); allowed: torch.float32 (40"),
        ("images.numpy()", "mine.py:own: returned ndarray; allowed: the images, a tensor (40, 1, 16, 16)"),
        ("images @ labels", "mine.py:own: raised RuntimeError: "),
    ],
)
def test_what_is_no_adversarial_example_is_said_in_one_line(write, victim, returned, expected):
    function = write(f"{OWN}return {returned}")
    assert expected in told(rows_of, victim(own(function)))


def test_an_attack_can_change_neither_network_nor_images(write, victim):
    function = write(
        OWN + "kept = images.clone()\n    images.zero_()\n    labels.zero_()\n"
        "    for one in model.train().parameters():\n        one.zero_()\n    return kept"
    )
    held = victim(own(function))
    weight = held.model[1].weight.clone()
    assert [row.accuracy for row in rows_of(held)] == [100, 100, 100]
    assert torch.equal(held.model[1].weight, weight)
    assert not held.model.training


def test_an_attack_sees_the_images_that_are_right_and_seeds_of_its_batch(write, victim):
    function = write(
        OWN + "with open('seen', 'a') as file:\n"
        "        print(len(images), seed, float(torch.rand(1)), file=file)\n    return images"
    )
    held = victim(own(function))
    held.test.labels[:5] = (held.test.labels[:5] + 1) % 4
    # all of the last batch is wrong: there is nothing to attack
    held.test.labels[35:] = (held.test.labels[35:] + 1) % 4
    held.batches = held.chosen(None, batch_size=5)
    rows_of(held)
    seen = [line.split() for line in Path("seen").read_text().splitlines()]
    assert [int(line[0]) for line in seen] == 12 * [5]
    assert seen[:6] == seen[6:]  # the same for both epsilons
    assert len({line[1] for line in seen}) == 6
    assert all(0 <= int(line[1]) < 2**31 for line in seen)


def test_an_attack_that_cant_be_loaded_fails_before_the_others_begin(write, stripes, network, tmp_path, monkeypatch):
    extensions.trust(network)
    settings = own(write("import nothing_of_this_name\ndef own(): ..."))
    monkeypatch.setattr("layerlottery.evaluation.attack.attack_rows", lambda victim: pytest.fail("it began"))
    files = stripes / "weights.safetensors", stripes / FACTS, tmp_path / "attack.parquet"
    assert told(attack, *files, settings, device=CPU).startswith("mine.py: importing it raised ModuleNotFoundError: ")
