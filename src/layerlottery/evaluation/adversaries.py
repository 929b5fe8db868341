"""Adversarial examples by foolbox: within a bound, or as near as can be found; their values stay in [0, 1]."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layerlottery.config.evaluation import AttackSettings
from layerlottery.errors import LayerLotteryError

# the classes nearest to the prediction that DeepFool looks at (Moosavi-Dezfooli et al. 2016, section 4)
CANDIDATES = 10
# FMN aims at the boundary itself: where the network is linear, rounding would keep it inside for good
BEYOND = 1 + 1e-4


class Batch(NamedTuple):
    """Images, and which of them to attack: the others only keep their places, and their random starts."""

    images: Tensor  # float32 (N, C, H, W) in [0, 1]
    labels: Tensor  # int64 (N,)
    left: Tensor  # bool (N,)


class Watched(nn.Module):
    """Remembers the logits of its last call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.logits = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        self.logits = logits.detach()
        return logits


def fgsm(model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """Fast gradient sign method: one step of size epsilon (Goodfellow et al. 2015)."""
    from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack

    return _at_once(LinfFastGradientAttack(random_start=False), model, batch, epsilon)


def fgsm_l2(model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """One step of L2 norm epsilon along the gradient (Miyato et al. 2017, equation 4)."""
    from foolbox.attacks.fast_gradient_method import L2FastGradientAttack

    return _at_once(L2FastGradientAttack(random_start=False), model, batch, epsilon)


def pgd(model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al. 2018).

    The first iterate that fools, the last one if none does.
    """
    return _first_to_fool(_linf_pgd(settings, steps=1), model, batch, epsilon, steps=settings.pgd_steps)


def pgd_l2(model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """The same in the L2 norm, steps along the normalised gradient."""
    from foolbox.attacks.projected_gradient_descent import L2ProjectedGradientDescentAttack

    attack = L2ProjectedGradientDescentAttack(rel_stepsize=settings.relative_step, steps=1, random_start=True)
    return _first_to_fool(attack, model, batch, epsilon, steps=settings.pgd_steps)


def transfer(source: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """PGD against another network, from the same starts: always the last iterate, for it is farthest on."""
    changed = batch.images.clone()
    attack = _linf_pgd(settings, steps=settings.pgd_steps)
    start = _starts(attack, batch, epsilon)[batch.left]
    changed[batch.left] = _advance(attack, _target(source, batch), batch, batch.left, start, epsilon)
    return changed


def fmn(model: nn.Module, batch: Batch, settings: AttackSettings) -> Tensor:
    """Fast minimum-norm attack, L-infinity (Pintor et al. 2021)."""
    from foolbox.attacks.fast_minimum_norm import LInfFMNAttack

    attack: Any = LInfFMNAttack(steps=settings.norm_steps)
    project = attack.project
    attack.project = lambda x, x0, epsilon: project(x, x0, epsilon * BEYOND)
    return _at_once(attack, model, batch)


def fmn_l2(model: nn.Module, batch: Batch, settings: AttackSettings) -> Tensor:
    """Fast minimum-norm attack, L2 (Pintor et al. 2021)."""
    from foolbox.attacks.fast_minimum_norm import L2FMNAttack

    attack: Any = L2FMNAttack(steps=settings.norm_steps)
    attack.project = _project_l2
    return _at_once(attack, model, batch)


def deepfool(model: nn.Module, batch: Batch, settings: AttackSettings) -> Tensor:
    """DeepFool, L2 (Moosavi-Dezfooli et al. 2016)."""
    from foolbox.attacks.deepfool import L2DeepFoolAttack

    changed, left = batch.images.clone(), batch.left
    # it goes on with all images until the last is fooled: stragglers start again, alone, and walk the same path
    for steps in sorted({min(10, settings.norm_steps), settings.norm_steps}):
        if not left.any():
            break
        attack = L2DeepFoolAttack(steps=steps, candidates=CANDIDATES)
        with _no_root_logging():
            changed[left] = _at_once(attack, model, batch._replace(left=left))[left]
        left = left & correct(model, changed, batch.labels, left)
    return changed


BOUNDED: dict[str, Callable[[nn.Module, Batch, float, AttackSettings], Tensor]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "transfer": transfer,
    "fgsm_l2": fgsm_l2,
    "pgd_l2": pgd_l2,
}
MINIMUM: dict[str, Callable[[nn.Module, Batch, AttackSettings], Tensor]] = {
    "fmn": fmn,
    "fmn_l2": fmn_l2,
    "deepfool": deepfool,
}
L2 = frozenset({"fgsm_l2", "pgd_l2", "fmn_l2", "deepfool"})


def perturb(name: str, model: nn.Module, batch: Batch, epsilon: float, settings: AttackSettings) -> Tensor:
    """The batch's images, those to attack moved by at most `epsilon` (in units of [0, 1]) and kept inside [0, 1].

    The bound is on each value, or on the L2 norm over all of an image. Raises LayerLotteryError when images come
    in, or go out, that break these bounds.
    """
    check_range(name, batch.images)
    changed = BOUNDED[name](model, batch, epsilon, settings) if batch.left.any() else batch.images
    check_bound(name, changed, batch.images, epsilon)
    return changed


def minimum_norms(name: str, model: nn.Module, batch: Batch, settings: AttackSettings) -> Tensor:
    """Norm of the least perturbation found for each image (N,), in units of [0, 1].

    It is 0 for images not to be attacked, infinite where none was found. Raises as `perturb`.
    """
    check_range(name, batch.images)
    if not batch.left.any():
        return torch.zeros(len(batch.labels), device=batch.images.device)
    changed = MINIMUM[name](model, batch, settings)
    check_range(name, changed)
    unfooled = correct(model, changed, batch.labels, batch.left)
    return torch.where(unfooled, torch.inf, _norms(changed - batch.images, l2=name in L2))


def check_range(name: str, images: Tensor) -> None:
    """Raise unless all values are in [0, 1]: foolbox answers with an assertion that says nothing."""
    if not _inside(images):
        raise LayerLotteryError(f"attack {name}: images to attack have values outside [0, 1]")


def check_bound(name: str, changed: Tensor, images: Tensor, epsilon: float, *, l2: bool | None = None) -> None:
    """Raise unless `changed` is in [0, 1] and no farther from `images` than epsilon, up to float32 rounding.

    `l2` says which norm that is; None takes that of the built-in attack `name`.
    """
    l2 = name in L2 if l2 is None else l2
    moved = float(_norms(changed - images, l2=l2).max())
    # of x + (x' - x) for values up to 1, in each value
    rounding = 1e-6 if not l2 else 1e-7 * math.sqrt(images[0].numel()) + 1e-5 * epsilon
    if not (_inside(changed) and moved <= epsilon + rounding):
        raise LayerLotteryError(
            f"attack {name}: a perturbation of {moved * 255:.4g}/255 or values outside [0, 1]; "
            f"allowed is {epsilon * 255:.4g}/255"
        )


def correct(model: nn.Module, images: Tensor, labels: Tensor, among: Tensor) -> Tensor:
    """Which images (N,) the model gets right, of those in the mask `among`; false for all others."""
    right = torch.zeros_like(among)
    if among.any():
        with torch.no_grad():
            right[among] = _right(model(images[among]), labels[among])
    return right


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    # a diverged network's NaN would count as class 0
    right: Tensor = logits.argmax(dim=1).eq(labels) & logits.isfinite().all(dim=1)
    return right


def _first_to_fool(attack: Any, model: nn.Module, batch: Batch, epsilon: float, *, steps: int) -> Tensor:
    """Iterate an attack of one step, each image until it is fooled; what it takes to see that costs nothing.

    The step's own forward pass shows which images were fooled already where it began.
    """
    watched, changed = Watched(model).eval(), batch.images.clone()
    target = _target(watched, batch)
    places = batch.left.nonzero().squeeze(1)
    here = _starts(attack, batch, epsilon)[places]
    for _ in range(steps):
        there = _advance(attack, target, batch, places, here, epsilon)
        right = _right(watched.logits, batch.labels[places])
        changed[places[~right]] = here[~right]
        places, here = places[right], there[right]
        if not len(places):
            break
    changed[places] = here
    return changed


def _starts(attack: Any, batch: Batch, epsilon: float) -> Tensor:
    """Random starts of all images, so that one image's does not depend on how many others are left."""
    from eagerpy.astensor import astensor

    drawn: Tensor = attack.get_random_start(astensor(batch.images), epsilon).raw
    return drawn.clamp(0, 1)


def _advance(attack: Any, target: Any, batch: Batch, places: Tensor, here: Tensor, epsilon: float) -> Tensor:
    """The points that the attack's steps lead to from `here`."""
    from eagerpy.astensor import astensor

    # foolbox has no other way in: an object's attribute goes before its class's method
    attack.get_random_start = lambda images, epsilon: astensor(here)
    try:
        there: Tensor = attack.run(target, batch.images[places], batch.labels[places], epsilon=epsilon)
    finally:
        del attack.get_random_start
    return there


def _at_once(attack: Any, model: nn.Module, batch: Batch, epsilon: float | None = None) -> Tensor:
    # run, and not the attack's own call: that adds a forward pass and clips what we want to check
    bound = {} if epsilon is None else {"epsilon": epsilon}
    changed = batch.images.clone()
    changed[batch.left] = attack.run(_target(model, batch), batch.images[batch.left], batch.labels[batch.left], **bound)
    return changed


def _project_l2(x: Any, x0: Any, epsilon: Any) -> Any:
    """In place of foolbox 3.3.4's own, which divides the norm by itself and so leaves every point where it is."""
    moved = x.raw - x0.raw
    norms = moved.flatten(1).norm(dim=1).clamp(min=1e-12)
    shrink = (epsilon.raw * BEYOND / norms).clamp(max=1)
    return type(x)(x0.raw + moved * shrink.view(-1, *[1] * (moved.dim() - 1)))


def _linf_pgd(settings: AttackSettings, *, steps: int) -> Any:
    from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack

    return LinfProjectedGradientDescentAttack(rel_stepsize=settings.relative_step, steps=steps, random_start=True)


def _target(model: nn.Module, batch: Batch) -> Any:
    from foolbox.models.pytorch import PyTorchModel

    return PyTorchModel(model, bounds=(0, 1), device=batch.images.device)


def _norms(moved: Tensor, *, l2: bool) -> Tensor:
    norms: Tensor = moved.flatten(1).norm(p=2 if l2 else math.inf, dim=1)
    return norms


def _inside(images: Tensor) -> bool:
    return bool(((images >= 0) & (images <= 1)).all())


@contextmanager
def _no_root_logging() -> Iterator[None]:
    """DeepFool logs to the root logger, which would install a handler there for good."""
    root, mute = logging.getLogger(), logging.NullHandler()
    root.addHandler(mute)
    try:
        yield
    finally:
        root.removeHandler(mute)
