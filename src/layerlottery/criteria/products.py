"""One number per convolution weight: what filters and single weights are scored by."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.gradients import gradient_flow, linearized, loss, synaptic_flow
from layerlottery.criteria.parameters import reduce
from layerlottery.errors import LayerLotteryError

Batch = tuple[Tensor, Tensor]


def convolution_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of all convolutions, projections included, by parameter name and in network order."""
    return {f"{name}.weight": module.weight for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def l1(model: nn.Module, batch: Batch, settings: CriterionSettings) -> dict[str, Tensor]:
    """|θ| (Li et al. 2017); single weights by it are magnitude pruning (Han et al. 2015)."""
    return {name: weight.abs() for name, weight in convolution_weights(model).items()}


def snip(model: nn.Module, batch: Batch, settings: CriterionSettings) -> dict[str, Tensor]:
    """θ · ∂L/∂θ (Lee et al. 2019, equation 6, not normalised)."""
    return _times_derivative(convolution_weights(model), loss(model, batch, settings))


def grasp(model: nn.Module, batch: Batch, settings: CriterionSettings) -> dict[str, Tensor]:
    """−θ · (Hg) (Wang et al. 2020, equation 8), g over all parameters of the network, H of the same loss."""
    return _times_derivative(convolution_weights(model), -gradient_flow(model, batch, settings))


def synflow(model: nn.Module, batch: Batch, settings: CriterionSettings) -> dict[str, Tensor]:
    """θ · ∂R/∂θ of the linearized network, in float64 (SynFlow, Tanaka et al. 2020, equation 2)."""
    linear = linearized(model)
    return _times_derivative(convolution_weights(linear), synaptic_flow(linear, batch[0]))


PRODUCTS: dict[str, Callable[[nn.Module, Batch, CriterionSettings], dict[str, Tensor]]] = {
    "l1": l1,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
}


def weight_products(model: nn.Module, batch: Batch, settings: CriterionSettings) -> dict[str, Tensor]:
    """Each convolution's products, of its weight's shape, by parameter name; absolute ones unless settings say signed.

    `batch` is images (N, C, H, W) and labels (N,). The model is not changed. Raises when a product is not
    finite, naming the layer.
    """
    scored = copy.deepcopy(model).train(settings.batchnorm == "train").requires_grad_(True)
    products = {
        name: product.detach() for name, product in PRODUCTS[settings.function](scored, batch, settings).items()
    }
    for name, product in products.items():
        if not product.isfinite().all():
            worst = product[~product.isfinite()][0].item()
            layer = name.removesuffix(".weight")
            raise LayerLotteryError(f"layer {layer}: {settings.function} gave {worst}; scores must be finite numbers")
    if settings.products == "absolute":
        return {name: product.abs() for name, product in products.items()}
    return products


def filter_scores(products: Tensor, settings: CriterionSettings) -> Tensor:
    """A convolution's products (filters, …) as one number per filter, added or averaged in float64."""
    return reduce(products.double().flatten(1), settings.reduction, dim=1)


def _times_derivative(weights: dict[str, Tensor], scalar: Tensor) -> dict[str, Tensor]:
    derivatives = torch.autograd.grad(scalar, list(weights.values()))
    return {name: weight * one for (name, weight), one in zip(weights.items(), derivatives, strict=True)}
