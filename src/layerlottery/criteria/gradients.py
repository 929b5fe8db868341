"""Criteria from gradients: SNIP, GraSP and Hutchinson–Taylor of the loss, SynFlow of the output alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from layerlottery.criteria.batches import each, is_one
from layerlottery.criteria.reach import check_reached
from layerlottery.criteria.saliency import Saliency
from layerlottery.criteria.scoring import Scoring, criterion, outputs, own_loss
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import copied
from layerlottery.networks.inputs import count as count_of
from layerlottery.networks.inputs import joined, rows
from layerlottery.networks.trace import record

# with these an output does not grow with every weight
NORMALIZING = {F.layer_norm, torch.layer_norm, F.group_norm, torch.group_norm, F.instance_norm}
ATTENDING = {F.multi_head_attention_forward, F.scaled_dot_product_attention}
LEVELLING = NORMALIZING | ATTENDING | {F.softmax, torch.softmax, Tensor.softmax}


class _TwiceDifferentiable(TorchFunctionMode):
    """While it is active, functions that torch can't derive twice are computed in parts that it can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))


@contextmanager
def _twice(function: str) -> Iterator[None]:
    """While it is active, second derivatives can be had; raises, naming the criterion, where there is none."""
    try:
        # fused attention has no second derivative
        with sdpa_kernel(SDPBackend.MATH), _TwiceDifferentiable():
            yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        line = str(error).splitlines()[0]
        raise LayerLotteryError(
            f"{function}: the network holds what has no second derivative ({line[:120]})"
        ) from error


def _times_gradient(given: Scoring, scalars: Iterable[tuple[int, Tensor]], *, again: bool = False) -> Saliency:
    """θ · ∂scalar/∂θ of what is scored; of several scalars, their mean weighted by the number beside each.

    Scalars of derivatives are derived `again`: what they do not rest on has a zero there.
    """
    parameters = given.parameters()
    gradients = _mean_gradients([*parameters.values()], scalars, None if again else given)
    products = zip(parameters.items(), gradients, strict=True)
    return Saliency({name: (parameter * gradient).detach() for (name, parameter), gradient in products})


def gradients_of(
    scalar: Tensor, parameters: Sequence[Tensor], given: Scoring | None, *, keep: bool = False
) -> list[Tensor]:
    """∂scalar/∂θ, which can be derived once more if kept; raises where what is scored of `given` should have one."""
    found: Sequence[Tensor | None] = [None] * len(parameters)
    if scalar.requires_grad and parameters:
        found = torch.autograd.grad(scalar, parameters, create_graph=keep, allow_unused=True)
    lost = {id(one) for one, gradient in zip(parameters, found, strict=True) if gradient is None}
    if lost and given is not None:
        check_reached(given, lost)
    return [
        torch.zeros_like(one) if gradient is None else gradient for one, gradient in zip(parameters, found, strict=True)
    ]


def _mean_gradients(
    parameters: Sequence[Tensor], scalars: Iterable[tuple[int, Tensor]], given: Scoring | None
) -> list[Tensor]:
    mean: list[Tensor] = []
    total = 0
    for count, scalar in scalars:
        found = gradients_of(scalar, parameters, given)
        total += count
        # a running mean: a single one stays what it is to the last bit
        mean = [old + (new - old) * (count / total) for old, new in zip(mean, found, strict=True)] if mean else found
    return mean


def _losses(given: Scoring) -> Iterator[tuple[int, Tensor]]:
    """Images of each batch, and the mean cross-entropy of logits divided by the temperature, or the user's own loss."""
    for inputs, targets in each(given.batches):
        answer = given.model(inputs)
        if given.loss is None:
            yield count_of(inputs), F.cross_entropy(answer / given.settings.temperature, targets)
        else:
            yield count_of(inputs), own_loss(given.loss, answer, targets)


def _gradient_flows(given: Scoring) -> Iterator[tuple[int, Tensor]]:
    """Images of each batch, and a scalar whose derivative is Hg, H the Hessian of the batch's loss.

    g is the gradient of the loss over all images, of all trainable parameters.
    """
    everything: list[Tensor] = [one for one in given.model.parameters() if one.requires_grad]
    if given.settings.published:
        everything = [one.weight for one in given.model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    towards = None if is_one(given.batches) else _mean_gradients(everything, _losses(given), given)
    for count, loss in _losses(given):
        gradients = gradients_of(loss, everything, given, keep=True)
        along = towards or [gradient.detach() for gradient in gradients]
        yield count, torch.stack([(gradient * one).sum() for gradient, one in zip(gradients, along, strict=True)]).sum()


def _as_published(given: Scoring) -> Scoring:
    """What the code of Wang et al. scores: linear layers drawn anew by Xavier, images by class, in two halves."""
    for module in given.model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
    inputs, labels = joined([inputs for inputs, _ in each(given.batches)]), given.labels()
    order, middle = labels.argsort(stable=True), len(labels) // 2
    together = (inputs, joined([targets for _, targets in each(given.batches)]))
    return replace(given, batches=[rows(together, half) for half in (order[:middle], order[middle:])])


def linearized(model: nn.Module) -> nn.Module:
    """A copy in float64 with every parameter and buffer replaced by its absolute value."""
    absolute = copied(model).double().requires_grad_(True)
    with torch.no_grad():
        for tensor in absolute.state_dict().values():
            tensor.abs_()
    return absolute


@criterion(
    names={"snip": {}, "snip_signed": {"products": "signed"}},
    scores=("layers", "filters", "weights"),
    needs="gradient",
    labels=True,
)
def snip(given: Scoring) -> Saliency:
    """θ · ∂L/∂θ (Lee et al. 2019, equation 6, not normalised).

    L is the mean over all images. Signed products over convolutions that a train-mode BatchNorm follows would add up
    to zero, since the loss would not depend on their scale, but for BatchNorm's epsilon: such a score ranks by what
    that leaves.
    """
    return _times_gradient(given, _losses(given))


@criterion(
    names={
        "grasp": {"products": "signed", "keep": "low", "temperature": 200.0},
        "grasp_published": {"products": "signed", "keep": "low", "temperature": 200.0, "published": True},
    },
    scores=("layers", "filters", "weights"),
    needs="gradient",
    labels=True,
)
def grasp(given: Scoring) -> Saliency:
    """−θ · (Hg) (Wang et al. 2020, equation 8); the highest go, since they carry least gradient flow.

    g is the gradient over all parameters of the network, H the Hessian of the same loss, the mean over all images.
    Many batches are read twice: for g, and for H along it. `published`: as the code of the source does it, g and H over
    weights of convolutions and linear layers alone, of two halves of the images sorted by class, and with linear layers
    drawn anew.
    """
    given = _as_published(given) if given.settings.published else given
    flows = ((count, -flow) for count, flow in _gradient_flows(given))
    with _twice("grasp"):
        return _times_gradient(given, flows, again=True)


@criterion(
    names={"hutchinson_taylor": {"batchnorm": "eval", "temperature": 200.0}},
    sampled=True,
    scores=("layers", "filters", "weights"),
    needs="gradient",
    labels=True,
)
def hutchinson_taylor(given: Scoring) -> Saliency:
    """|θg + ½ θ²h|, to second order what the loss changes by without a weight (Gollini Navarrete et al. 2025).

    g is the gradient of the loss and h the diagonal of its Hessian by Hutchinson's estimator, the mean of z · (Hz) over
    `samples` probes z of random signs. Logits are divided by 200, as in the source's code. The source scores weights;
    their sum over a block is an extension of it.
    """
    parameters = [*given.parameters().values()]
    taylor, total = [torch.zeros_like(one) for one in parameters], 0
    with _twice("hutchinson_taylor"):
        for count, loss in _losses(given):
            gradients = gradients_of(loss, parameters, given, keep=True)
            diagonal = _diagonal(gradients, parameters, given.settings.samples)
            total += count
            for mean, one, first, second in zip(taylor, parameters, gradients, diagonal, strict=True):
                mean += ((one * first + one.square() * second / 2).detach() - mean) * (count / total)
    return Saliency(dict(zip(given.parameters(), taylor, strict=True)))


def _diagonal(gradients: Sequence[Tensor], parameters: Sequence[Tensor], samples: int) -> list[Tensor]:
    """Estimated diagonal of the Hessian, from the gradients with their graph."""
    diagonal = [torch.zeros_like(one) for one in parameters]
    for _ in range(samples):
        # drawn on the processor: equal whatever the network is on
        probes = [(2.0 * torch.randint(2, one.shape) - 1).to(one) for one in parameters]
        along = torch.stack([(one * probe).sum() for one, probe in zip(gradients, probes, strict=True)]).sum()
        if not along.requires_grad:
            # a loss that is linear in all of them
            break
        products = torch.autograd.grad(along, parameters, retain_graph=True, materialize_grads=True)
        for mean, product, probe in zip(diagonal, products, probes, strict=True):
            mean += probe * product / samples
    return diagonal


def check_grows(model: nn.Module, images: Tensor, function: str, others: Collection[Any] = ()) -> None:
    """Raise where a network holds functions whose output does not grow with their input, or any of `others`."""
    for operation in record(model, images).operations:
        if operation.function in LEVELLING or operation.function in others:
            place = operation.call.name if operation.call and operation.call.name else "the network"
            name = operation.function.__name__
            raise LayerLotteryError(
                f"{place}: found {name}; {function} needs outputs that grow with every weight, so it allows no "
                f"attention and no normalization but BatchNorm{', and no rectifier but ReLU' if others else ''}"
            )


@criterion(
    names={"synflow": {"batchnorm": "eval"}},
    scores=("layers", "filters", "weights"),
    needs="gradient",
    data_free=True,
    images=1,
)
def synflow(given: Scoring) -> Saliency:
    """θ · ∂R/∂θ, R the sum of the outputs for one image of ones (SynFlow, Tanaka et al. 2020, equation 2).

    The network is the linearized one; its outputs are products over all layers, which float32 may not hold.
    Only the shape of the images matters: a batch may hold none. Raises for networks whose outputs do not grow with
    their weights: those with attention, or with another normalization than BatchNorm.
    """
    images = given.images()
    linear = replace(given, model=linearized(given.model))
    ones = torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)
    check_grows(linear.model, ones, "synflow")
    return _times_gradient(linear, [(1, outputs(linear.model(ones)).sum())])
