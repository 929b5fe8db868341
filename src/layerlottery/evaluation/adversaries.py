"""The attacks: adversarial examples within a bound, or as near as can be found; their values stay in [0, 1].

Each is one function, by whose name the settings know it, and what `@attack(…)` declares of it: the fields of
`AttackTraits`, as plain values, which the configuration reads without an import. The function's arguments follow from
the kind:

- bounded, transfer: (model, batch, epsilon, settings) -> images
- minimum: (model, batch, settings) -> images
- ensemble: (model, batches, epsilon, seed, parts) -> batches, of which the images that withstand are left
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.evaluation import ATTACKS, AttackSettings
from layerlottery.config.extensions import Extension
from layerlottery.errors import LayerLotteryError

# the classes nearest to the prediction that DeepFool looks at (Moosavi-Dezfooli et al. 2016, section 4)
CANDIDATES = 10
# FMN aims at the boundary itself: where the network is linear, rounding would keep it inside for good
BEYOND = 1 + 1e-4

Function = TypeVar("Function", bound=Callable[..., Any])
FUNCTIONS: dict[str, Callable[..., Any]] = {}


def attack(**traits: Any) -> Callable[[Function], Function]:
    """Make the decorated function an attack; `traits` are the fields of AttackTraits."""

    def register(function: Function) -> Function:
        FUNCTIONS[function.__name__] = function
        return function

    return register


class Attacked(NamedTuple):
    """Images, and which of them to attack: the others only keep their places, and their random starts."""

    images: Tensor  # float32 (N, C, H, W) in [0, 1]
    labels: Tensor  # int64 (N,)
    left: Tensor  # bool (N,)

    def all(self) -> Attacked:
        """The same with all images to attack."""
        return self._replace(left=torch.ones_like(self.left))

    def replaced(self, found: Tensor) -> Tensor:
        """A copy of all images, with `found` in place of those to attack."""
        changed = self.images.clone()
        changed[self.left] = found
        return changed


@attack(kind="bounded", norm="linf", passes=1)
def fgsm(model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """Fast gradient sign method: one step of size epsilon (Goodfellow et al. 2015)."""
    return _ascent(model, batch, batch.images, epsilon, l2=False, steps=1, size=epsilon, stop=False)


@attack(kind="bounded", norm="linf", passes="pgd_steps")
def pgd(model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al. 2018).

    The first iterate that fools, the last one if none does.
    """
    return _from_random(model, batch, epsilon, settings, l2=False)


@attack(kind="bounded", norm="linf", passes="pgd_steps", starts="restarts", of="pgd")
def pgd_restarts(model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """PGD from one of several random starts."""
    return pgd(model, batch, epsilon, settings)


@attack(kind="transfer", norm="linf", passes="pgd_steps", of="pgd")
def transfer(source: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """PGD against another network, from the same starts: always the last iterate, for it is farthest on."""
    return _from_random(source, batch, epsilon, settings, l2=False, stop=False)


@attack(kind="bounded", norm="l2", passes=1)
def fgsm_l2(model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """One step of L2 norm epsilon along the gradient (Miyato et al. 2017, equation 4)."""
    return _ascent(model, batch, batch.images, epsilon, l2=True, steps=1, size=epsilon, stop=False)


@attack(kind="bounded", norm="l2", passes="pgd_steps")
def pgd_l2(model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """PGD in the L2 norm, steps along the normalised gradient."""
    return _from_random(model, batch, epsilon, settings, l2=True)


@attack(kind="minimum", norm="linf", passes="norm_steps")
def fmn(model: nn.Module, batch: Attacked, settings: AttackSettings) -> Tensor:
    """Fast minimum-norm attack, L-infinity (Pintor et al. 2021)."""
    from foolbox.attacks.fast_minimum_norm import LInfFMNAttack

    class Beyond(LInfFMNAttack):
        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            return super().project(x, x0, epsilon * BEYOND)

    return _by_foolbox(Beyond(steps=settings.norm_steps), model, batch)


@attack(kind="minimum", norm="l2", passes="norm_steps")
def fmn_l2(model: nn.Module, batch: Attacked, settings: AttackSettings) -> Tensor:
    """Fast minimum-norm attack, L2 (Pintor et al. 2021)."""
    from foolbox.attacks.fast_minimum_norm import L2FMNAttack

    class Beyond(L2FMNAttack):
        # foolbox 3.3.4's own divides the norm by itself and so leaves every point where it is
        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            moved = x.raw - x0.raw
            shrink = (epsilon.raw * BEYOND / _norms(moved, l2=True).clamp(min=1e-12)).clamp(max=1)
            return type(x)(x0.raw + moved * shrink.view(-1, *[1] * (moved.dim() - 1)))

    return _by_foolbox(Beyond(steps=settings.norm_steps), model, batch)


@attack(kind="minimum", norm="l2", passes=40)  # gradients for ten classes, in four steps as a rule
def deepfool(model: nn.Module, batch: Attacked, settings: AttackSettings) -> Tensor:
    """DeepFool, L2 (Moosavi-Dezfooli et al. 2016)."""
    from foolbox.attacks.deepfool import L2DeepFoolAttack

    changed, left = batch.images.clone(), batch.left
    # it logs to the root logger, which without a handler would install one there for good
    root, mute = logging.getLogger(), logging.NullHandler()
    root.addHandler(mute)
    try:
        # it goes on with all images until the last is fooled: stragglers start again, alone, and walk the same path
        for steps in sorted({min(10, settings.norm_steps), settings.norm_steps}):
            if left.any():
                adversary = L2DeepFoolAttack(steps=steps, candidates=CANDIDATES)
                changed[left] = _by_foolbox(adversary, model, batch._replace(left=left))[left]
                left = left & correct(model, changed, batch.labels, left)
    finally:
        root.removeHandler(mute)
    return changed


def perturb(name: str, model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings) -> Tensor:
    """The batch's images, those to attack moved by at most `epsilon` (in units of [0, 1]) and kept inside [0, 1].

    The bound is on each value, or on the L2 norm over all of an image. Raises LayerLotteryError when images come
    in, or go out, that break these bounds.
    """
    check_range(name, batch.images)
    changed: Tensor = FUNCTIONS[name](model, batch, epsilon, settings) if batch.left.any() else batch.images
    check_bound(name, changed, batch.images, epsilon, l2=ATTACKS[name].norm == "l2")
    return changed


def own_perturb(
    name: str, function: Extension, model: nn.Module, batch: Attacked, epsilon: float, *, l2: bool, seed: int
) -> Tensor:
    """As `perturb`, by `function(model, images, labels, *, epsilon, seed, **options)`; it sees no other images.

    Raises LayerLotteryError also when the function can't be called, or returns anything but such images.
    """
    check_range(name, batch.images)
    if not batch.left.any():
        return batch.images
    # copies, as all that a mask selects
    given, labels = batch.images[batch.left], batch.labels[batch.left]
    found = function(model, given, labels, epsilon=epsilon, seed=seed)
    shape = tuple(given.shape)
    function.check(isinstance(found, Tensor), type(found).__name__, f"allowed: the images, a tensor {shape}")
    fits = found.shape == shape and found.is_floating_point()
    function.check(fits, f"images {found.dtype} {tuple(found.shape)}", f"allowed: {given.dtype} {shape}")
    changed = batch.replaced(found.detach().to(given))
    check_bound(name, changed, batch.images, epsilon, l2=l2)
    return changed


def minimum_norms(name: str, model: nn.Module, batch: Attacked, settings: AttackSettings) -> Tensor:
    """Norm of the least perturbation found for each image (N,), in units of [0, 1].

    It is 0 for images not to be attacked, infinite where none was found. Raises as `perturb`.
    """
    check_range(name, batch.images)
    if not batch.left.any():
        return torch.zeros(len(batch.labels), device=batch.images.device)
    changed = FUNCTIONS[name](model, batch, settings)
    check_range(name, changed)
    unfooled = correct(model, changed, batch.labels, batch.left)
    return torch.where(unfooled, torch.inf, _norms(changed - batch.images, l2=ATTACKS[name].norm == "l2"))


def check_range(name: str, images: Tensor) -> None:
    """Raise unless all values are in [0, 1]: foolbox answers with an assertion that says nothing."""
    if not _inside(images):
        raise LayerLotteryError(f"attack {name}: images to attack have values outside [0, 1]")


def check_bound(name: str, changed: Tensor, images: Tensor, epsilon: float, *, l2: bool) -> None:
    """Raise unless `changed` is in [0, 1] and no farther from `images` than epsilon, up to float32 rounding."""
    moved = float(_norms(changed - images, l2=l2).max())
    # of x + (x' - x) for values up to 1, in each value
    rounding = 1e-6 if not l2 else 1e-7 * math.sqrt(images[0].numel()) + 1e-5 * epsilon
    if not (_inside(changed) and moved <= epsilon + rounding):
        raise LayerLotteryError(
            f"attack {name}: a perturbation of {moved * 255:.4g}/255 or values outside [0, 1]; "
            f"allowed: {epsilon * 255:.4g}/255"
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
    return logits.argmax(dim=1).eq(labels) & logits.isfinite().all(dim=1)


def _from_random(
    model: nn.Module, batch: Attacked, epsilon: float, settings: AttackSettings, *, l2: bool, stop: bool = True
) -> Tensor:
    """PGD's steps from a point drawn uniformly from the ball around each image."""
    # of all images, so that one image's start does not depend on how many others are left
    start = (batch.images + _random_offsets(batch.images, epsilon, l2=l2)).clamp(0, 1)
    steps, size = settings.pgd_steps, settings.relative_step * epsilon
    return _ascent(model, batch, start, epsilon, l2=l2, steps=steps, size=size, stop=stop)


def _ascent(
    model: nn.Module, batch: Attacked, here: Tensor, epsilon: float, *, l2: bool, steps: int, size: float, stop: bool
) -> Tensor:
    """Steps up the cross-entropy from `here`, each put back to within epsilon of the images.

    `stop` ends an image's steps when it is fooled: a step's own forward pass shows whether it was where the step began.
    """
    changed, places = batch.images.clone(), batch.left.nonzero().squeeze(1)
    here = here[places]
    for _ in range(steps):
        images, labels = batch.images[places], batch.labels[places]
        logits = model(here.requires_grad_())
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), here)
        here = here.detach()
        direction = gradient * (1 / _lengths(gradient)) if l2 else gradient.sign()
        moved = here + size * direction - images
        moved = moved * (epsilon / _lengths(moved)).clamp(max=1) if l2 else moved.clamp(-epsilon, epsilon)
        on = _right(logits, labels) if stop else torch.ones_like(labels, dtype=torch.bool)
        changed[places[~on]] = here[~on]
        places, here = places[on], (images + moved).clamp(0, 1)[on]
        if not len(places):
            break
    changed[places] = here
    return changed


def _random_offsets(images: Tensor, epsilon: float, *, l2: bool) -> Tensor:
    """Uniform in the ball of radius epsilon, for each image."""
    if not l2:
        return torch.rand(images.shape, device=images.device) * (2 * epsilon) - epsilon
    # the first n coordinates of a point on the sphere in n + 2 dimensions (Voelker et al. 2017)
    count, size = len(images), images[0].numel()
    sphere = torch.randn(count, size + 2, device=images.device)
    inside = (sphere / sphere.square().sum(1, keepdim=True).sqrt())[:, :size]
    return epsilon * inside.reshape(images.shape)


def _by_foolbox(attack: Any, model: nn.Module, batch: Attacked) -> Tensor:
    from foolbox.models.pytorch import PyTorchModel

    target = PyTorchModel(model, bounds=(0, 1), device=batch.images.device)
    # run, and not the attack's own call: that adds a forward pass and clips what we want to check
    return batch.replaced(attack.run(target, batch.images[batch.left], batch.labels[batch.left]))


def _lengths(moved: Tensor) -> Tensor:
    """L2 norms, never 0, (N, 1, 1, 1)."""
    return moved.flatten(1).square().sum(1).sqrt().clamp(min=1e-12).view(-1, 1, 1, 1)


def _norms(moved: Tensor, *, l2: bool) -> Tensor:
    norms: Tensor = moved.flatten(1).norm(p=2 if l2 else math.inf, dim=1)
    return norms


def _inside(images: Tensor) -> bool:
    return bool(((images >= 0) & (images <= 1)).all())
