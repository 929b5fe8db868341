"""Stage attack: accuracy on adversarial examples, L-infinity, crafted by foolbox against the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.conditions import Condition, write_conditions
from layerlottery.evaluation.forward import batches
from layerlottery.evaluation.selection import select_images
from layerlottery.networks.predictor import load_predictor
from layerlottery.results.provenance import config_hash
from layerlottery.settings import AttackSettings

if TYPE_CHECKING:
    from foolbox.attacks.base import FixedEpsilonAttack

Batch = tuple[Tensor, Tensor]  # float32 images (N, C, H, W) in [0, 1], int64 labels (N,)

TOLERANCE = 1e-6  # float32 rounding of x + (x' - x) for values up to 1


def fgsm(settings: AttackSettings) -> FixedEpsilonAttack:
    """Fast gradient sign method: one step of size epsilon (Goodfellow et al. 2015)."""
    from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack

    return LinfFastGradientAttack(random_start=False)


def pgd(settings: AttackSettings) -> FixedEpsilonAttack:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al. 2018)."""
    from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack

    return LinfProjectedGradientDescentAttack(
        rel_stepsize=settings.relative_step, steps=settings.pgd_steps, random_start=True
    )


ATTACKS: dict[str, Callable[[AttackSettings], FixedEpsilonAttack]] = {"fgsm": fgsm, "pgd": pgd}


def attack(weights: Path, data: Path, output: Path, settings: AttackSettings, *, device: torch.device) -> None:
    """Attack one network with every attack and epsilon and write a row for each.

    `data` is the facts file of a prepared set. Raises LayerLotteryError when an attack leaves its bounds.
    """
    prepared = PreparedSet.open(data)
    model, facts = load_predictor(weights, prepared, device)
    test = prepared.split("test")
    chosen = test.take(select_images(test.labels, settings.images, seed=settings.seed))
    rows = attack_accuracies(model, chosen, settings, device=device)
    inputs = [facts["content"], prepared.content]
    write_conditions(output, rows, config_hash=config_hash("attack", settings, inputs))


def attack_accuracies(
    model: nn.Module, test: Split, settings: AttackSettings, *, device: torch.device
) -> list[Condition]:
    """One row per attack and epsilon, the first for epsilon 0: the same images untouched.

    `model` is frozen, in eval mode, and takes images in [0, 1]. An image that it gets wrong counts as wrong and is
    not attacked: no change at all is an adversarial perturbation, too (the convention of Croce & Hein 2020). All
    others are attacked anew at every epsilon, from the same random direction, so a row depends on its own attack
    and epsilon only.
    """
    targets = [_still_correct(model, batch) for batch in _labelled(test, device)]
    untouched = 100 * sum(len(labels) for _, labels in targets) / len(test)
    rows = []
    for name in settings.attacks:
        rows.append(Condition("attack", name, 0.0, accuracy=untouched, images=len(test)))
        for level in settings.epsilons:
            with _seeded(settings.seed, device):
                survivors = sum(_survivors(name, model, batch, level / 255, settings) for batch in targets)
            rows.append(Condition("attack", name, level, accuracy=100 * survivors / len(test), images=len(test)))
    return rows


def perturb(name: str, model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """The batch's images, each value moved by at most `epsilon` (in units of [0, 1]) and kept inside [0, 1].

    Raises LayerLotteryError when images come in, or go out, that break these bounds.
    """
    from foolbox.models.pytorch import PyTorchModel

    images, labels = batch
    # checked here, for foolbox answers with an assertion that says nothing
    if not _inside(images):
        raise LayerLotteryError(f"attack {name}: images to attack have values outside [0, 1]")
    target = PyTorchModel(model, bounds=(0, 1), device=images.device)
    # run, and not the attack's own call: that adds a forward pass and clips what we want to check
    changed: Tensor = ATTACKS[name](settings).run(target, images, labels, epsilon=epsilon)
    moved = float((changed - images).abs().max())
    if not (_inside(changed) and moved <= epsilon + TOLERANCE):
        raise LayerLotteryError(
            f"attack {name}: a perturbation of {moved * 255:.4g}/255 or values outside [0, 1]; "
            f"allowed is {epsilon * 255:.4g}/255"
        )
    return changed


def _labelled(test: Split, device: torch.device) -> Iterator[Batch]:
    labels = torch.from_numpy(test.labels.copy()).to(device)
    start = 0
    for images in batches(test.images, device):
        yield images, labels[start : start + len(images)]
        start += len(images)


def _still_correct(model: nn.Module, batch: Batch) -> Batch:
    kept = _correct(model, *batch)
    return batch[0][kept], batch[1][kept]


def _correct(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model(images)
    # a diverged network's NaN would count as class 0
    correct: Tensor = logits.argmax(dim=1).eq(labels) & logits.isfinite().all(dim=1)
    return correct


def _survivors(name: str, model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> int:
    if not len(batch[1]):
        return 0
    changed = perturb(name, model, batch, epsilon, settings)
    return int(_correct(model, changed, batch[1]).sum())


def _inside(images: Tensor) -> bool:
    return bool(((images >= 0) & (images <= 1)).all())


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)
        yield
