"""The first and the last step of every export: strip the network of its wrappers, compare the outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import copied
from layerlottery.networks.examples import check_network, example_for, unwrapped
from layerlottery.networks.masks import fold_masks
from layerlottery.tickets import Ticket

# of the largest output: rounding of float32 in another order of operations stays two digits below in deep networks
TOLERANCE = 1e-4
# batches that a file is tried on have another number of images than the one that it was made with
SIZES = (1, 5)


def plain(given: Ticket | nn.Module) -> nn.Module:
    """A frozen copy on the processor, in eval mode, without wrappers (DataParallel, torch.compile) or masks.

    Raises LayerLotteryError for a ticket that is not called as its network is: the file would compute something else.
    """
    if isinstance(given, Ticket) and given.forward is not None:
        raise LayerLotteryError(
            "forward: this ticket was found with one, which a file of the network alone lacks; export a module that "
            "calls ticket.model so, with an example of one tensor"
        )
    model = unwrapped(given.model if isinstance(given, Ticket) else given)
    check_network(model)
    return fold_masks(copied(model)).to("cpu").eval().requires_grad_(False)


def traced_images(given: Ticket | nn.Module, model: nn.Module, example: Tensor | None) -> Tensor:
    """Two images (2, …) to trace with: of the example, or random ones of the shape that a ticket was found with."""
    if example is None and isinstance(given, Ticket) and given.image_shape:
        dtype = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
        drawn = torch.randn(2, *given.image_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        example = drawn.to(dtype)
    elif isinstance(example, Tensor):
        example = example.detach().cpu()
    elif example is not None:
        raise LayerLotteryError(
            f"example: found {type(example).__name__}; allowed: a tensor: wrap the network in a module that takes one"
        )
    images = example_for(model, example)
    if not isinstance(images, Tensor):
        raise LayerLotteryError(f"{type(model).__name__}: takes several arguments; give a tensor as example=")
    return images


def check_answers(
    model: nn.Module, answer: Callable[[Tensor], Tensor], images: Tensor, what: str, *, tolerance: float = TOLERANCE
) -> float:
    """The largest difference between what `answer` and the model give, as a share of the largest output.

    They are tried on new images like the given ones, in batches of other sizes. Raises LayerLotteryError when the
    difference is beyond the tolerance, or when the model's outputs are not finite.
    """
    return max(_difference(model, answer, _like(images, size), what, tolerance) for size in SIZES)


def _difference(
    model: nn.Module, answer: Callable[[Tensor], Tensor], images: Tensor, what: str, tolerance: float
) -> float:
    expected = _logits(model, images)
    try:
        with torch.no_grad():
            found = answer(images)
    except Exception as error:
        raise LayerLotteryError(f"{what}: fails on a batch of {len(images)} images: {one_line(error)}") from error
    if found.shape != expected.shape:
        raise LayerLotteryError(f"{what}: gives {tuple(found.shape)} where torch gives {tuple(expected.shape)}")
    largest = float(expected.abs().max()) or 1.0
    difference = float((found - expected).abs().max()) / largest
    # so written that NaN is refused
    if not difference <= tolerance:
        raise LayerLotteryError(
            f"{what}: its outputs differ from torch's by {difference:.1e} of the largest; allowed: {tolerance:g}"
        )
    return difference


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found = model(images)
    if not isinstance(found, Tensor):
        raise LayerLotteryError(
            f"{type(model).__name__}: answers with a {type(found).__name__}; allowed: a tensor: wrap it in a module"
        )
    if not found.isfinite().all():
        raise LayerLotteryError(f"{type(model).__name__}: its outputs are not finite, and so can't be compared")
    return found


def _like(images: Tensor, size: int) -> Tensor:
    """New images (size, …) of the same mean and deviation; whole numbers are drawn among those that are there."""
    generator = torch.Generator().manual_seed(size)
    shape = (size, *images.shape[1:])
    if not images.is_floating_point():
        places = torch.randint(images.numel(), shape, generator=generator)
        return images.flatten()[places]
    noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(images.dtype)
    return images.mean() + (images.std() or 1.0) * noise


def one_line(error: Exception) -> str:
    """The first line of what an error says."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
