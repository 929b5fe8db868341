"""Criteria from the neural tangent kernel: NTK-SAP by finite differences, PX by paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from layerlottery.criteria.gradients import check_grows, gradients_of
from layerlottery.criteria.rectifiers import RECTIFIERS, RELUS, AtRectifiers
from layerlottery.criteria.saliency import Saliency, connecting_weights
from layerlottery.criteria.scoring import Scoring, criterion, outputs
from layerlottery.networks.copies import copied

# NTK-SAP: standard deviation of the weights' change, as in the source's code; random images for each draw
CHANGE, RANDOM_IMAGES = 0.01, 64
NORMS = nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm


@criterion(
    names={"ntk_sap": {"batchnorm": "eval"}},
    scores=("layers", "filters", "weights"),
    needs="gradient",
    data_free=True,
    sampled=True,
    images=64,
)
def ntk_sap(given: Scoring) -> Saliency:
    """|∂/∂m E‖f(z; m ⊙ θ) − f(z; m ⊙ (θ + Δ))‖²| at m = 1 (NTK-SAP, Wang et al. 2023); the lowest go.

    The norm estimates the trace of the neural tangent kernel. Images z and weights θ are random, whatever the network
    holds: normal, with He's variance 2 / fan-in; Δ is normal, too. Tokens and positions alone stay what they are. The
    mean is over `samples` draws, each of 64 images, whose statistics BatchNorm takes. The source scores weights, and
    again after each of many small prunings; the sum over a block, scored once, is an extension of it.
    """
    shape, twin = given.images().shape[1:], copied(given.model)
    sums = {name: torch.zeros_like(one) for name, one in given.parameters().items()}
    for _ in range(given.settings.samples):
        _draw(given.model)
        images = _normal(next(given.model.parameters()).new_empty(RANDOM_IMAGES, *shape))
        _settle(given.model, images)
        twin.load_state_dict(given.model.state_dict())
        with torch.no_grad():
            for weight in connecting_weights(twin).values():
                weight += CHANGE * _normal(weight)
        for name, value in mask_gradients(given, twin, images).items():
            sums[name] += value / given.settings.samples
    return Saliency(sums)


def mask_gradients(given: Scoring, twin: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """∂/∂m of ‖f(m ⊙ θ) − f(m ⊙ θ′)‖² at m = 1, for a mask that the network and a twin with weights θ′ share."""
    own, other = given.parameters(), replace(given, model=twin).parameters()
    apart = (outputs(given.model(images)) - outputs(twin(images))).square().sum()
    weights = [*own.values(), *other.values()]
    products = [(one * slope).detach() for one, slope in zip(weights, gradients_of(apart, weights, given), strict=True)]
    return {name: products[place] + products[place + len(own)] for place, name in enumerate(own)}


def _normal(like: Tensor) -> Tensor:
    """Standard normal, drawn on the processor: equal whatever the network is on."""
    return torch.randn(like.shape).to(like)


@torch.no_grad()
def _draw(model: nn.Module) -> None:
    """Draw connecting weights anew; biases become 0, the factors of norms 1. Tokens and positions stay."""
    for weight in connecting_weights(model).values():
        weight.copy_(_normal(weight) * math.sqrt(2 / weight[0].numel()))
    for module in model.modules():
        if isinstance(module, NORMS) and module.weight is not None:
            nn.init.ones_(module.weight)
        for name, parameter in module.named_parameters(recurse=False):
            # attention's is called in_proj_bias
            if name.endswith("bias"):
                nn.init.zeros_(parameter)


@torch.no_grad()
def _settle(model: nn.Module, images: Tensor) -> None:
    """Let BatchNorm's running statistics be those of the images; modes stay as they were."""
    norms = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    held = [(norm, norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images)
    for norm, training, momentum in held:
        norm.train(training)
        norm.momentum = momentum


@criterion(names={"px": {"batchnorm": "eval"}}, scores=("layers", "filters", "weights"), needs="gradient")
def px(given: Scoring) -> Saliency:
    """θ² · ∂R/∂θ², a weight's part in an upper bound of the kernel's trace (PX, Iurada et al. 2024); the lowest go.

    R is the sum over outputs k of Σ x² over the images' open paths to k, those whose rectifiers all pass the image on,
    times Σ Π θ² over all paths to k. BatchNorm counts by its factor with running statistics; biases are on no path. The
    source scores weights in many rounds, and its code squares ∂R/∂θ² once more; the sum over a block, scored once, is
    an extension of it. Raises for networks with another rectifier than ReLU or another normalization than BatchNorm.
    """
    whole, opened = (_as_paths(given.model, of) for of in (torch.square, torch.ones_like))
    images = given.images()
    check_grows(given.model, images[:2], "px", RECTIFIERS - RELUS)
    reached = sum(_reached(given.model, opened, part) for part in itertools.chain.from_iterable(given.parts()))
    squared = replace(given, model=whole)
    parameters = squared.parameters()
    with AtRectifiers(lambda rectify, stream, axis: stream):
        total = (whole(torch.ones_like(images[:1], dtype=torch.float64)) * reached).sum()
    slopes = gradients_of(total, [*parameters.values()], squared)
    products = zip(parameters.items(), slopes, strict=True)
    return Saliency({name: (parameter * slope).detach() for (name, parameter), slope in products})


@torch.no_grad()
def _reached(model: nn.Module, opened: nn.Module, images: Tensor) -> Tensor:
    """Σ x² over all open paths to each output, and over all images, (outputs,)."""
    gates: list[Tensor] = []

    def note(rectify: Callable[[Tensor], Tensor], stream: Tensor, axis: int) -> Tensor:
        gates.append(stream > 0)
        return rectify(stream)

    with AtRectifiers(note):
        model(images)
    waiting = iter(gates)
    with AtRectifiers(lambda rectify, stream, axis: stream * next(waiting)):
        reached = outputs(opened(images.double().square()))
    return reached.sum(0)


@torch.no_grad()
def _as_paths(model: nn.Module, of: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy in float64 that adds up paths: without biases, weights and the factors of BatchNorm replaced by `of` them.

    Products over all layers are more than float32 may hold.
    """
    paths = copied(model).double().eval()
    for module in paths.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and isinstance(module.running_var, Tensor):
            factor = (module.running_var + module.eps).rsqrt()
            # without weights of its own the variance has to give the factor
            module.running_var.copy_((torch.ones_like(factor) if module.affine else of(factor).pow(-2)) - module.eps)
            nn.init.zeros_(module.running_mean)  # type: ignore[arg-type] # there, as its variance is
            if module.affine:
                module.weight.mul_(factor)
        for name, parameter in module.named_parameters(recurse=False):
            parameter.copy_(torch.zeros_like(parameter) if name == "bias" else of(parameter))
    return paths
