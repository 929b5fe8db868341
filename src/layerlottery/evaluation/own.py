"""An attack of the user's own: called as `attack(model, images, labels, *, epsilon, seed, **options)`."""

from __future__ import annotations

from torch import Tensor, nn

from layerlottery.config.extensions import Extension
from layerlottery.evaluation.adversaries import Batch, check_bound, check_range


def own_perturb(
    name: str, attack: Extension, model: nn.Module, batch: Batch, epsilon: float, *, l2: bool, seed: int
) -> Tensor:
    """The batch's images, those to attack as the function changed them; it sees no others.

    `epsilon` is in units of [0, 1], and bounds each value, or the L2 norm over an image. Raises LayerLotteryError
    when the function can't be called, returns anything but such images, or leaves the bounds.
    """
    check_range(name, batch.images)
    if not batch.left.any():
        return batch.images
    # copies, as all that a mask selects
    given, labels = batch.images[batch.left], batch.labels[batch.left]
    found = attack(model, given, labels, epsilon=epsilon, seed=seed)
    if not isinstance(found, Tensor):
        raise attack.wrong(f"returned {type(found).__name__}; allowed are the images, a tensor {tuple(given.shape)}")
    if found.shape != given.shape or not found.is_floating_point():
        wanted = f"{given.dtype} {tuple(given.shape)}"
        raise attack.wrong(f"returned images {found.dtype} {tuple(found.shape)}; allowed are {wanted}")
    changed = batch.images.clone()
    changed[batch.left] = found.detach().to(changed)
    check_bound(name, changed, batch.images, epsilon, l2=l2)
    return changed
