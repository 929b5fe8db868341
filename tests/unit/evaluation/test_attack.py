from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import attack as stage
from layerlottery.evaluation.attack import ATTACKS, attack, attack_accuracies, perturb
from layerlottery.evaluation.forward import evaluate_logits
from layerlottery.evaluation.selection import select_images
from layerlottery.networks.predictor import load_predictor
from layerlottery.results.artifacts import read_table
from layerlottery.results.schemas import arrow_schema
from layerlottery.settings import AttackSettings


def plain_pgd(model, images, labels, epsilon, *, steps, step, seed):
    """Projected gradient ascent as Madry et al. (2018) write it."""
    generator = torch.Generator().manual_seed(seed)
    offset = (2 * torch.rand(images.shape, generator=generator) - 1) * epsilon
    changed = (images + offset).clamp(0, 1)
    for _ in range(steps):
        changed.requires_grad_(True)
        loss = F.cross_entropy(model(changed), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, changed)
        changed = changed.detach() + step * gradient.sign()
        changed = torch.minimum(torch.maximum(changed, images - epsilon), images + epsilon).clamp(0, 1)
    return changed


def frozen(model):
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def digits():
    held = load_digits()
    images = np.minimum(held.images * 16, 255).astype(np.uint8)[:, None]
    return Split(images, held.target.astype(np.int64))


@pytest.fixture(scope="module")
def trained(digits):
    """A convolution and a linear layer after a second of training on all but the last 200 digits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    images, labels = torch.tensor(digits.images[:-200]) / 255, torch.tensor(digits.labels[:-200])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return frozen(model)


@pytest.fixture(scope="module")
def held_out(digits):
    return Split(digits.images[-200:], digits.labels[-200:])


@pytest.fixture(scope="module")
def two_classes():
    """A linear model of two classes, and mid-grey images that no bound of [0, 1] cuts."""
    generator = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(generator.normal(0, 0.3, (2, 64))))
        model[1].bias.copy_(-0.5 * model[1].weight.sum(dim=1))  # both classes occur
    images = generator.integers(64, 192, (150, 1, 8, 8), dtype=np.uint8)
    return frozen(model), images


def floats(split):
    return torch.tensor(split.images) / 255, torch.tensor(split.labels)


def survivors(rows, count):
    return [round(row.accuracy * count / 100) for row in rows]


def test_settings_name_every_attack():
    (allowed,) = get_args(AttackSettings.model_fields["attacks"].annotation)
    assert tuple(ATTACKS) == get_args(allowed)


@pytest.mark.parametrize("level", [8.0, 16.0, 32.0])
def test_pgd_agrees_with_a_plain_one(trained, held_out, cpu, level):
    settings = AttackSettings(attacks=["pgd"], epsilons=[level])
    found = survivors(attack_accuracies(trained, held_out, settings, device=cpu), 200)[1]
    images, labels = floats(held_out)
    epsilon = level / 255
    changed = plain_pgd(trained, images, labels, epsilon, steps=20, step=0.25 * epsilon, seed=9)
    right = (trained(images).argmax(1) == labels) & (trained(changed).argmax(1) == labels)
    assert abs(found - int(right.sum())) <= 1
    assert 2 < found < 198  # else any attack would agree


def test_fgsm_flips_a_linear_model_exactly_beyond_its_margin(two_classes, cpu):
    model, images = two_classes
    weight, bias = (value.numpy().astype(float) for value in model[1].parameters())
    labels = evaluate_logits(model, images, cpu).argmax(axis=1)
    scores = images.reshape(150, 64) / 255 @ weight.T + bias
    margins = np.abs(scores[:, 0] - scores[:, 1])
    levels = [0.5, 1.0, 2.0, 4.0, 8.0]
    reach = np.abs(weight[0] - weight[1]).sum()
    expected = [int((margins > level / 255 * reach).sum()) for level in levels]
    settings = AttackSettings(attacks=["fgsm"], epsilons=levels)
    found = survivors(attack_accuracies(model, Split(images, labels), settings, device=cpu), 150)
    assert found == [150, *expected]  # epsilon 0 comes first
    assert 150 > expected[0] > expected[1] > expected[2] > expected[3] > expected[4] > 0
    assert len(set(labels)) == 2


def test_pgd_reaches_the_same_margin_on_a_linear_model(two_classes, cpu):
    model, images = two_classes
    labels = evaluate_logits(model, images, cpu).argmax(axis=1)
    both = AttackSettings(attacks=["fgsm", "pgd"], epsilons=[2.0, 8.0])
    rows = attack_accuracies(model, Split(images, labels), both, device=cpu)
    assert [row.accuracy for row in rows[:3]] == [row.accuracy for row in rows[3:]]


@pytest.mark.parametrize("name", ATTACKS)
def test_every_value_stays_in_reach_and_in_range(trained, held_out, name):
    images, labels = floats(held_out)
    epsilon = 8 / 255
    changed = perturb(name, trained, (images, labels), epsilon, AttackSettings())
    moved = (changed - images).abs()
    assert moved.max() == pytest.approx(epsilon, rel=1e-5)
    assert changed.min() == 0
    assert changed.max() == 1
    assert F.cross_entropy(trained(changed), labels) > F.cross_entropy(trained(images), labels)


@pytest.mark.parametrize("name", ATTACKS)
def test_images_out_of_range_are_refused(trained, held_out, name):
    images, labels = floats(held_out)
    with pytest.raises(LayerLotteryError, match=rf"^attack {name}: images .* outside \[0, 1\]$"):
        perturb(name, trained, (images * 255, labels), 0.1, AttackSettings())


class Cheat:
    def __init__(self, offset):
        self.offset = offset

    def run(self, model, images, labels, *, epsilon):
        return images + self.offset


@pytest.mark.parametrize("offset", [0.02, -0.6, float("nan")])
def test_an_attack_that_breaks_its_bound_is_named(trained, monkeypatch, offset):
    monkeypatch.setitem(ATTACKS, "fgsm", lambda settings: Cheat(offset))
    batch = torch.full((3, 1, 8, 8), 0.5), torch.tensor([0, 1, 2])
    with pytest.raises(LayerLotteryError, match=r"^attack fgsm: .* allowed is 4/255$"):
        perturb("fgsm", trained, batch, 4 / 255, AttackSettings())


class Valley(nn.Module):
    """Class 0 wins where the mean is more than 0.1 away from 0.5."""

    def forward(self, images):
        distance = (images.mean(dim=(1, 2, 3)) - 0.5).abs()
        return torch.stack([distance - 0.1, torch.zeros_like(distance)], dim=1)


def test_an_image_that_is_wrong_already_stays_wrong(cpu):
    # the sign step leaps across the valley, where the model would be right by accident
    images, labels = np.full((1, 1, 8, 8), 115, dtype=np.uint8), np.array([0])
    settings = AttackSettings(attacks=["fgsm"], epsilons=[51.0])
    changed = perturb("fgsm", Valley().eval(), floats(Split(images, labels)), 0.2, settings)
    assert Valley()(changed).argmax() == 0
    assert attack_accuracies(Valley().eval(), Split(images, labels), settings, device=cpu)[0].accuracy == 0


def test_a_diverged_network_has_no_accuracy(held_out, cpu):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(model[1].weight, float("nan"))
    zeros = Split(held_out.images, np.zeros(200, dtype=np.int64))
    assert {row.accuracy for row in attack_accuracies(frozen(model), zeros, AttackSettings(), device=cpu)} == {0}


@pytest.fixture
def recorded(monkeypatch):
    """Every perturbed batch, by attack and epsilon."""
    seen = {}

    def record(name, model, batch, epsilon, settings):
        seen[name, round(epsilon * 255, 3)] = changed = perturb(name, model, batch, epsilon, settings)
        return changed

    monkeypatch.setattr(stage, "perturb", record)
    return seen


def test_a_row_depends_on_its_own_attack_and_epsilon_only(trained, held_out, cpu, recorded):
    attack_accuracies(trained, held_out, AttackSettings(), device=cpu)
    first = recorded["pgd", 4.0]
    attack_accuracies(trained, held_out, AttackSettings(attacks=["pgd"], epsilons=[4.0]), device=cpu)
    assert recorded["pgd", 4.0] is not first
    assert torch.equal(recorded["pgd", 4.0], first)


def test_the_seed_moves_the_random_start_and_no_other_random_numbers(trained, held_out, cpu, recorded):
    state = torch.random.get_rng_state()
    chosen = {"attacks": ["fgsm", "pgd"], "epsilons": [8.0], "pgd_steps": 1}
    attack_accuracies(trained, held_out, AttackSettings(**chosen), device=cpu)
    first = dict(recorded)
    attack_accuracies(trained, held_out, AttackSettings(**chosen, seed=1), device=cpu)
    assert torch.equal(first["fgsm", 8.0], recorded["fgsm", 8.0])
    assert not torch.equal(first["pgd", 8.0], recorded["pgd", 8.0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_steps_and_step_size_reach_pgd(trained, held_out):
    images, labels = floats(held_out)

    def distance(**settings):
        torch.manual_seed(0)
        changed = perturb("pgd", trained, (images, labels), 0.1, AttackSettings(**settings))
        return F.cross_entropy(trained(changed), labels)

    assert distance(pgd_steps=1) < distance(pgd_steps=20)
    assert distance(relative_step=0.001) < distance(relative_step=0.25)


@pytest.mark.parametrize(("images", "count"), [(20, 20), (None, 60), (1000, 60)])
def test_the_stage_writes_a_row_per_attack_and_epsilon(bench, tmp_path, cpu, images, count):
    settings = AttackSettings(epsilons=[1.0, 8.0], images=images, pgd_steps=2)
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
    table = read_table(tmp_path / "attack.parquet")
    rows = table.to_pylist()
    assert [(row["name"], row["level"]) for row in rows] == [(name, e) for name in ("fgsm", "pgd") for e in (0, 1, 8)]
    assert {row["kind"] for row in rows} == {"attack"}
    assert {row["images"] for row in rows} == {count}
    assert all(row[name] is None for row in rows for name in ("nll", "brier", "ece"))
    assert all(field.type == arrow_schema("robustness").field(field.name).type for field in table.schema)


def test_the_stage_attacks_the_chosen_images_of_the_saved_network(bench, tmp_path, cpu):
    settings = AttackSettings(images=30, epsilons=[4.0], attacks=["fgsm"], seed=5)
    attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
    model, _ = load_predictor(bench.weights, bench.prepared, cpu)
    test = bench.prepared.split("test")
    chosen = test.take(select_images(test.labels, 30, seed=5))
    assert np.bincount(chosen.labels, minlength=10).tolist() == [3] * 10
    images, labels = floats(chosen)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), labels, reduction="sum"), images)
    changed = (images + 4 / 255 * gradient.sign()).clamp(0, 1)
    right = (model(images).argmax(1) == labels) & (model(changed).argmax(1) == labels)
    found = read_table(tmp_path / "attack.parquet")["accuracy"][1].as_py()
    assert found == pytest.approx(100 * float(right.float().mean()))


def test_the_hash_follows_settings_and_weights(bench, tmp_path, cpu):
    hashes = set()
    for seed in (0, 1):
        settings = AttackSettings(images=10, epsilons=[1.0], attacks=["fgsm"], seed=seed)
        attack(bench.weights, bench.data, tmp_path / "attack.parquet", settings, device=cpu)
        hashes.add(read_table(tmp_path / "attack.parquet").schema.metadata[b"config_hash"])
    assert len(hashes) == 2
