"""Attacks within a bound against a plain loop and closed forms."""

from importlib import import_module

import numpy as np
import pytest
import torch
from tests.unit.evaluation.attacked import (
    BOUNDED,
    L2,
    MINIMUM,
    counts,
    digits,
    floats,
    frozen,
    lengths,
    plain_pgd,
    rows,
    train,
    whole,
)
from torch import nn
from torch.nn import functional as F

from layerlottery.config.evaluation import ATTACKS, AttackSettings, AttackTraits
from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import attack as stage
from layerlottery.evaluation.adversaries import FUNCTIONS, Attacked, perturb
from layerlottery.evaluation.forward import evaluate_logits


@pytest.fixture(scope="module")
def trained():
    return train()


@pytest.fixture(scope="module")
def held_out():
    return digits().take(np.arange(len(digits()) - 200, len(digits())))


@pytest.fixture(scope="module")
def two_classes():
    """A linear model of two classes, and mid-grey images that no bound of [0, 1] cuts."""
    generator = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(generator.normal(0, 0.3, (2, 64))))
        model[1].bias.copy_(-0.5 * model[1].weight.sum(dim=1))  # both classes occur
    images = generator.integers(64, 192, (150, 1, 8, 8), dtype=np.uint8)
    labels = evaluate_logits(frozen(model), images, torch.device("cpu")).argmax(axis=1)
    assert len(set(labels)) == 2
    return model, Split(images, labels)


def margins(model, split):
    """Differences of the logits, and of the weights, by numpy."""
    weight, bias = (value.numpy().astype(float) for value in model[1].parameters())
    scores = split.images.reshape(len(split), 64) / 255 @ weight.T + bias
    return np.abs(scores[:, 0] - scores[:, 1]), weight[0] - weight[1]


def test_settings_know_every_attack_in_order():
    schema = AttackSettings.model_json_schema()["properties"]["attacks"]["items"]
    assert schema["enum"] == list(FUNCTIONS) == list(ATTACKS)
    assert {traits.kind for traits in ATTACKS.values()} | {"own"} == set(stage.ROWS)
    with pytest.raises(ValueError, match=r"attacks\.0\n.*'fgsm', 'pgd', .* or 'autoattack'"):
        AttackSettings(attacks=["fgms"])


@pytest.mark.parametrize("name", ATTACKS)
def test_settings_that_an_attack_names_exist(name):
    settings = AttackSettings()
    assert settings.passes(name) > 0
    assert settings.starts(name) > 0
    assert bool(settings.levels(name)) is (ATTACKS[name].kind != "minimum")
    assert getattr(settings, ATTACKS[name].images) > 0
    assert ATTACKS[name].of in (None, *ATTACKS)


def test_passes_follow_the_settings():
    given = {"epsilons": [1.0, 2.0], "l2_epsilons": [8.0], "pgd_steps": 7, "restarts": 3, "norm_steps": 9}
    expected = {"fgsm": 2, "pgd": 14, "pgd_restarts": 42, "transfer": 14, "fgsm_l2": 1, "pgd_l2": 7, "fmn": 9}
    assert {name: AttackSettings(attacks=[name], **given).passes(name) for name in expected} == expected
    # the first of the restarts is PGD's own
    assert AttackSettings(attacks=["pgd_restarts", "pgd"], **given).passes("pgd_restarts") == 28
    mine = {"mine": {"function": "mine.py:own", "code": f"sha256:{64 * '0'}", "norm": "l2"}}
    assert AttackSettings(l2_epsilons=[1.0, 2.0], custom=mine).passes("mine") == 40


def test_a_declaration_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind\n.*'bounded', 'transfer', 'minimum', 'ensemble' or 'own'"):
        AttackTraits(kind="boundless", norm="linf", passes=1)


STEPS = {"rel_stepsize": 0.25, "steps": 20}
ORACLES = {
    "fgsm": ("fast_gradient_method", "LinfFastGradientAttack", {}, 24.0),
    "fgsm_l2": ("fast_gradient_method", "L2FastGradientAttack", {}, 96.0),
    "transfer": ("projected_gradient_descent", "LinfProjectedGradientDescentAttack", STEPS, 24.0),
    # too little to fool any, for our PGD stops there
    "pgd": ("projected_gradient_descent", "LinfProjectedGradientDescentAttack", STEPS, 0.1),
    "pgd_l2": ("projected_gradient_descent", "L2ProjectedGradientDescentAttack", STEPS, 1.0),
}


@pytest.mark.parametrize("name", ORACLES)
def test_examples_are_foolboxs_to_the_last_bit(trained, held_out, name):
    module, attack, options, level = ORACLES[name]
    images, labels = floats(held_out)
    right = trained(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    torch.manual_seed(3)
    target = import_module("foolbox.models.pytorch").PyTorchModel(trained, bounds=(0, 1))
    foolbox = getattr(import_module(f"foolbox.attacks.{module}"), attack)(**options)
    expected = foolbox.run(target, images, labels, epsilon=level / 255)
    torch.manual_seed(3)
    found = perturb(name, trained, whole(images, labels), level / 255, AttackSettings())
    assert bool((trained(expected).argmax(1) == labels).all()) is name.startswith("pgd")
    assert torch.equal(found, expected)
    assert not torch.equal(found, images)


@pytest.mark.parametrize("level", [8.0, 16.0, 32.0])
def test_pgd_agrees_with_a_plain_one(trained, held_out, level):
    found = counts(rows(trained, held_out, AttackSettings(attacks=["pgd"], epsilons=[level])))[1]
    images, labels = floats(held_out)
    epsilon = level / 255
    changed = plain_pgd(trained, images, labels, epsilon, steps=20, step=0.25 * epsilon, seed=9)
    right = (trained(images).argmax(1) == labels) & (trained(changed).argmax(1) == labels)
    assert abs(found - int(right.sum())) <= 1
    assert 2 < found < 198  # else any attack would agree


@pytest.mark.parametrize("level", [64.0, 96.0, 192.0])
def test_pgd_in_l2_agrees_with_a_plain_one(trained, held_out, level):
    found = counts(rows(trained, held_out, AttackSettings(attacks=["pgd_l2"], l2_epsilons=[level])))[1]
    images, labels = floats(held_out)
    epsilon = level / 255
    changed = plain_pgd(trained, images, labels, epsilon, steps=20, step=0.25 * epsilon, seed=9, norm="l2")
    right = (trained(images).argmax(1) == labels) & (trained(changed).argmax(1) == labels)
    assert abs(found - int(right.sum())) <= 1
    assert 2 < found < 198


@pytest.mark.parametrize(("name", "levels"), [("fgsm", [0.5, 1, 2, 4, 8]), ("fgsm_l2", [4, 8, 16, 32, 64])])
def test_one_step_flips_a_linear_model_exactly_beyond_its_margin(two_classes, name, levels):
    model, split = two_classes
    margin, difference = margins(model, split)
    reach = np.linalg.norm(difference) if name in L2 else np.abs(difference).sum()
    expected = [int((margin > level / 255 * reach).sum()) for level in levels]
    settings = AttackSettings(
        attacks=[name], epsilons=[float(e) for e in levels], l2_epsilons=[float(e) for e in levels]
    )
    assert counts(rows(model, split, settings)) == [150, *expected]  # epsilon 0 comes first
    assert 150 > expected[0] > expected[1] > expected[2] > expected[3] > expected[4] > 0


@pytest.mark.parametrize(("once", "iterated"), [("fgsm", "pgd"), ("fgsm_l2", "pgd_l2")])
def test_pgd_reaches_the_same_margin_on_a_linear_model(two_classes, once, iterated):
    both = AttackSettings(attacks=[once, iterated], epsilons=[2.0, 8.0], l2_epsilons=[8.0, 32.0])
    found = counts(rows(*two_classes, both))
    assert found[:3] == found[3:]


@pytest.mark.parametrize("name", BOUNDED)
def test_every_value_stays_in_reach_and_in_range(trained, held_out, name):
    images, labels = floats(held_out)
    epsilon = 0.5 if name in L2 else 8 / 255
    changed = perturb(name, trained, whole(images, labels), epsilon, AttackSettings())
    moved = lengths(changed - images) if name in L2 else (changed - images).abs()
    assert moved.max() <= epsilon * (1 + 1e-5)
    assert moved.max() > 0.6 * epsilon
    assert changed.min() == 0
    assert changed.max() == 1
    assert F.cross_entropy(trained(changed), labels) > F.cross_entropy(trained(images), labels)


@pytest.mark.parametrize("name", BOUNDED)
def test_images_that_are_not_to_be_attacked_stay_as_they_are(trained, held_out, name):
    images, labels = floats(held_out)
    left = torch.arange(200) % 3 == 0
    torch.manual_seed(0)
    some = perturb(name, trained, Attacked(images, labels, left), 0.1, AttackSettings())
    torch.manual_seed(0)
    everything = perturb(name, trained, whole(images, labels), 0.1, AttackSettings())
    assert torch.equal(some[~left], images[~left])
    # nor do they change what happens to the others, who get the same random starts
    assert torch.allclose(some[left], everything[left], atol=1e-5)
    assert not torch.equal(some[left], images[left])


@pytest.mark.parametrize("name", BOUNDED)
def test_images_out_of_range_are_refused(trained, held_out, name):
    images, labels = floats(held_out)
    with pytest.raises(LayerLotteryError, match=rf"^attack {name}: images .* outside \[0, 1\]$"):
        perturb(name, trained, whole(images * 255, labels), 0.1, AttackSettings())


@pytest.mark.parametrize("name", ["fgsm", "fgsm_l2"])
@pytest.mark.parametrize("offset", [0.02, -0.6, float("nan")])
def test_an_attack_that_breaks_its_bound_is_named(trained, monkeypatch, name, offset):
    monkeypatch.setitem(FUNCTIONS, name, lambda model, batch, epsilon, settings: batch.images + offset)
    batch = whole(torch.full((3, 1, 8, 8), 0.5), torch.tensor([0, 1, 2]))
    with pytest.raises(LayerLotteryError, match=rf"^attack {name}: .* allowed: 4/255$"):
        perturb(name, trained, batch, 4 / 255, AttackSettings())


class Valley(nn.Module):
    """Class 0 wins where the mean is more than 0.1 away from 0.5."""

    def forward(self, images):
        distance = (images.mean(dim=(1, 2, 3)) - 0.5).abs()
        return torch.stack([distance - 0.1, torch.zeros_like(distance)], dim=1)


def test_an_image_that_is_wrong_already_stays_wrong():
    # the sign step leaps across the valley, where the model would be right by accident
    split = Split(np.full((1, 1, 8, 8), 115, dtype=np.uint8), np.array([0]))
    settings = AttackSettings(attacks=["fgsm"], epsilons=[51.0])
    changed = perturb("fgsm", Valley().eval(), whole(*floats(split)), 0.2, settings)
    assert Valley()(changed).argmax() == 0
    assert counts(rows(Valley().eval(), split, settings)) == [0, 0]


class Ditch(nn.Module):
    """Class 1 wins where the mean is between 0.45 and 0.5; the slope of class 0's loss leads up and across."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        inside = (mean > 0.45) & (mean < 0.5)
        return torch.stack([-mean, torch.where(inside, 1.0, -2.0) + 0 * mean], dim=1)


def test_an_adversarial_example_on_the_way_counts():
    # steps of 0.05 from about 0.4 up to 0.6: the last iterate lies beyond the ditch
    split = Split(np.full((20, 1, 8, 8), 102, dtype=np.uint8), np.zeros(20, dtype=np.int64))
    images, labels = floats(split)
    changed = plain_pgd(Ditch(), images, labels, 0.2, steps=20, step=0.04, seed=0)
    assert (Ditch()(changed).argmax(1) == 0).all()
    settings = AttackSettings(attacks=["pgd"], epsilons=[51.0], relative_step=0.2)
    assert counts(rows(Ditch().eval(), split, settings)) == [20, 0]


def test_a_diverged_network_has_no_accuracy(held_out):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(model[1].weight, float("nan"))
    zeros = Split(held_out.images, np.zeros(200, dtype=np.int64))
    names = [*BOUNDED, *MINIMUM]
    found = rows(frozen(model), zeros, AttackSettings(attacks=names, norm_steps=2))
    assert {row.accuracy for row in found} == {0}
    assert {row.norm for row in found} == {0, None}


class Plateaus(nn.Module):
    """Right, and flat, but for a band of means that only some random starts fall into."""

    def forward(self, images):
        high = images.mean(dim=(1, 2, 3)) > 0.505
        return torch.stack([torch.where(high, 0.0, 1.0), torch.full((len(images),), 0.5)], dim=1) + 0 * images.sum()


def test_more_starts_find_what_one_does_not():
    split = Split(np.full((200, 1, 8, 8), 128, dtype=np.uint8), np.zeros(200, dtype=np.int64))
    settings = AttackSettings(attacks=["pgd", "pgd_restarts"], epsilons=[8.0], restarts=4, pgd_steps=2)
    _, one, _, several = counts(rows(Plateaus().eval(), split, settings))
    # the mean of 64 uniform values within 8/255 exceeds 0.505 - 128/255 with probability 0.09, by its normal limit
    chance = 0.5 * float(torch.erfc(torch.tensor((0.505 - 128 / 255) / (8 / 255 / 3**0.5 / 8) / 2**0.5)))
    assert abs(one / 200 - (1 - chance)) < 0.08
    assert abs(several / 200 - (1 - chance) ** 4) < 0.12
    assert several < one


def test_restarts_are_never_weaker_and_need_no_pgd_beside_them(trained, held_out):
    levels = [2.0, 8.0, 16.0, 24.0]
    both = rows(trained, held_out, AttackSettings(attacks=["pgd", "pgd_restarts"], epsilons=levels))
    alone = rows(trained, held_out, AttackSettings(attacks=["pgd_restarts"], epsilons=levels))
    assert all(several <= one for one, several in zip(counts(both)[:5], counts(both)[5:], strict=True))
    assert alone == both[5:]


def plain_transfer(source, model, images, labels, epsilon):
    changed = plain_pgd(source, images, labels, epsilon, steps=20, step=0.25 * epsilon, seed=9)
    return int(((model(images).argmax(1) == labels) & (model(changed).argmax(1) == labels)).sum())


def test_transfer_crafts_on_the_source_and_counts_on_the_model(trained, held_out):
    images, labels = floats(held_out)
    source = train(seed=1)
    settings = AttackSettings(attacks=["transfer", "pgd"], epsilons=[16.0])
    untouched, foreign, _, own = counts(rows(trained, held_out, settings, source=source))
    assert untouched == int((trained(images).argmax(1) == labels).sum())
    assert abs(foreign - plain_transfer(source, trained, images, labels, 16 / 255)) <= 1
    assert own < foreign < untouched


def test_transfer_to_itself_is_pgd_at_its_last_iterate(trained, held_out):
    images, labels = floats(held_out)
    settings = AttackSettings(attacks=["transfer", "pgd"], epsilons=[4.0, 16.0])
    found = rows(trained, held_out, settings)
    assert [(row.kind, row.name, row.level) for row in found[:3]] == [("transfer", "pgd", e) for e in (0, 4, 16)]
    for craft, own, level in zip(counts(found)[1:3], counts(found)[4:], (4, 16), strict=True):
        assert abs(craft - plain_transfer(trained, trained, images, labels, level / 255)) <= 1
        assert own <= craft


@pytest.fixture
def recorded(monkeypatch):
    """Every perturbed batch, by attack and epsilon."""
    seen = {}

    def record(name, model, batch, epsilon, settings):
        seen[name, round(epsilon * 255, 3)] = changed = perturb(name, model, batch, epsilon, settings)
        return changed

    monkeypatch.setattr(stage, "perturb", record)
    return seen


def test_a_row_depends_on_its_own_attack_and_epsilon_only(trained, held_out, recorded):
    everything = {"epsilons": [2.0, 4.0], "l2_epsilons": [32.0, 64.0], "norm_steps": 2}
    rows(trained, held_out, AttackSettings(attacks=[*BOUNDED, *MINIMUM], **everything))
    first = dict(recorded)
    for name, level in (("transfer", 4.0), ("fgsm", 4.0), ("pgd_l2", 64.0)):
        rows(trained, held_out, AttackSettings(attacks=[name], epsilons=[4.0], l2_epsilons=[64.0]))
        assert recorded[name, level] is not first[name, level]
        assert torch.equal(recorded[name, level], first[name, level])


def test_the_seed_moves_the_random_start_and_no_other_random_numbers(trained, held_out, recorded):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    chosen = {"attacks": [*BOUNDED, *MINIMUM], "epsilons": [8.0], "l2_epsilons": [8.0]}
    chosen |= {"pgd_steps": 1, "norm_steps": 2}
    rows(trained, held_out, AttackSettings(**chosen))
    first = dict(recorded)
    rows(trained, held_out, AttackSettings(**chosen, seed=1))
    moved = {name for name in BOUNDED if not torch.equal(first[name, 8.0], recorded[name, 8.0])}
    assert moved == {name for name in BOUNDED if ATTACKS[name].passes != 1}
    assert torch.equal(torch.random.get_rng_state(), state)


def test_steps_and_step_size_reach_pgd(trained, held_out):
    batch = whole(*floats(held_out))

    def loss(**settings):
        torch.manual_seed(0)
        changed = perturb("transfer", trained, batch, 0.1, AttackSettings(**settings))
        return F.cross_entropy(trained(changed), batch.labels)

    assert loss(pgd_steps=1) < loss(pgd_steps=20)
    assert loss(relative_step=0.001) < loss(relative_step=0.25)


@pytest.mark.parametrize("key", ["epsilons", "l2_epsilons", "autoattack_epsilons"])
@pytest.mark.parametrize("value", [0, -1, float("inf")])
def test_bounds_that_are_none_are_refused(key, value):
    with pytest.raises(ValueError, match=rf"{key}\.0\n") as raised:
        AttackSettings(**{key: [float(value)]})
    assert f"input_value={float(value)}" in str(raised.value)
