"""How a criterion is declared, what it is given, and how its scores come about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from layerlottery.config.choices import Scored
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.extensions import load
from layerlottery.criteria.batches import Batch, Batches, each, parts
from layerlottery.criteria.overwriting import overwriting_named
from layerlottery.criteria.own import scores_of
from layerlottery.criteria.saliency import Saliency, all_parameters, connecting_weights, convolution_weights
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.answers import logits_of
from layerlottery.networks.blocks import Block
from layerlottery.networks.copies import cloned, copied
from layerlottery.networks.eager import eager
from layerlottery.networks.examples import device_of, unwrapped
from layerlottery.networks.filters import Coupling
from layerlottery.networks.inputs import Called, count, joined, network_of, some
from layerlottery.networks.masks import write_weights
from layerlottery.networks.predictor import fold
from layerlottery.networks.resnet import BasicBlock, CifarResNet, PaddedShortcut, ProjectedShortcut
from layerlottery.networks.trace import tensors_of
from layerlottery.store.hashing import derived_seed

# all that CIFAR ResNets are made of: in these, BatchNorm is known to follow its convolution
PLAIN = {CifarResNet, BasicBlock, PaddedShortcut, ProjectedShortcut, nn.Sequential, nn.Identity}
PLAIN |= {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear}


# of what a network answers, and the targets of a batch
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Scoring:
    """A network, what of it is scored, and how; a criterion is given a copy in the mode that the settings ask for.

    `blocks` are the removable ones (structure layers), `couplings` the filters that only go together (filters). `spans`
    are successive blocks that are also to be scored together: their names, by what the score is called. `loss` is the
    mean over a batch; None is the cross-entropy of logits.
    """

    model: nn.Module
    batches: Batches
    settings: CriterionSettings
    blocks: Sequence[Block] = ()
    couplings: Sequence[Coupling] = ()
    structure: Scored = "layers"
    seed: int = 0
    spans: Mapping[str, Sequence[str]] = field(default_factory=dict)
    loss: Loss | None = None

    def by_block(self, *, connecting: bool = False) -> dict[str, dict[str, Tensor]]:
        """Each block's scored parameters by name, or its `connecting` weights, whatever the settings say."""
        of = all_parameters if self.settings.parameters == "all" and not connecting else connecting_weights
        return {block.name: of(self.model, block) for block in self.blocks}

    def parameters(self, *, connecting: bool = False) -> dict[str, Tensor]:
        """Scored parameters by name: those of all blocks or, for filters and weights, all convolution weights."""
        if self.structure != "layers":
            return convolution_weights(self.model)
        return {name: one for held in self.by_block(connecting=connecting).values() for name, one in held.items()}

    def by_holder(self) -> dict[str, dict[str, Tensor]]:
        """The scored parameters, by what messages call the block or layer that holds them."""
        if self.structure != "layers":
            return {f"layer {name.removesuffix('.weight')}": {name: one} for name, one in self.parameters().items()}
        return {f"block {name}": held for name, held in self.by_block().items()}

    def parts(self) -> Iterator[Sequence[Any]]:
        """Each batch's inputs in parts that fit in memory; in one part if BatchNorm takes their statistics."""
        together = any(module.training for module in self.model.modules())
        return (parts(inputs, together=together) for inputs, _ in each(self.batches))

    def labelled_parts(self) -> Iterator[Batch]:
        """The same, each part with its targets."""
        together = any(module.training for module in self.model.modules())
        for inputs, targets in each(self.batches):
            seen, cut = 0, parts(inputs, together=together)
            for part in cut:
                yield part, targets if len(cut) == 1 else some(targets, slice(seen, seen + count(part)), count(inputs))
                seen += count(part)

    def images(self) -> Tensor:
        """The first batch's images; raises for other inputs, which can't be replaced by images of another content."""
        inputs = next(each(self.batches))[0]
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            found = inputs.dtype if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
            raise LayerLotteryError(f"batch: found {found}; {self.settings.function} needs images, a tensor of floats")
        return inputs

    def labels(self) -> Tensor:
        """Labels (N,) of all images, on the CPU."""
        labels: Tensor = joined([targets for _, targets in each(self.batches)])
        if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
            found = tuple(labels.shape) if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
            raise LayerLotteryError(f"batch: labels are {found}; {self.settings.function} needs a class for each image")
        return labels.cpu()


def outputs(answer: Any) -> Tensor:
    """What a criterion adds up: the network's answer; raises unless it is a tensor."""
    if not isinstance(answer, Tensor):
        found = type(answer).__name__
        raise LayerLotteryError(
            f"forward: gives a {found}; allowed: logits, a tensor; or say how it is called with forward="
        )
    return answer


def own_loss(loss: Loss, answer: Any, targets: Any) -> Tensor:
    """A loss of the user's own; raises unless it is a number."""
    found = loss(answer, targets)
    if not isinstance(found, Tensor) or found.numel() != 1:
        given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise LayerLotteryError(f"loss: gives {given}; allowed: a tensor of one number, the mean over the batch")
    return found.reshape(())


Criterion = Callable[[Scoring], Saliency | dict[str, Any]]
_declared: dict[str, Criterion] = {}


def criterion(**declaration: Any) -> Callable[[Criterion], Criterion]:
    """Declare a built-in criterion: the arguments are fields of `config.criteria.Formula`, written as plain values.

    The configuration reads them from the source. The function returns a score for each block by name, or a Saliency,
    which is reduced to blocks, filters or weights.
    """

    def declare(function: Criterion) -> Criterion:
        _declared[function.__name__] = function
        return function

    return declare


@cache
def functions() -> dict[str, Criterion]:
    """All built-in criteria of this room, by the name of their function."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
    return _declared


def evaluate(given: Scoring) -> dict[str, Any]:
    """`values` of a copy of the model, so that neither the model nor random states change.

    Raises when a value is not finite, naming the block or layer.
    """
    settings, scored = given.settings, scoring_copy(given.model, given.settings)
    scored = _faster(scored) if settings.formula.needs == "forward" else scored
    # a network may write into what it is given, which is the user's and goes through it again and again
    scored.register_forward_pre_hook(lambda module, args, kwargs: cloned((args, kwargs)), with_kwargs=True)
    if not settings.is_own and not isinstance(scored, Called):
        scored.register_forward_hook(lambda module, images, answer: logits_of(answer))
    device = device_of(scored)
    draws = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with draws, eager(), without_checkpoints(), overwriting_named(scored, given.batches, settings.function):
        torch.manual_seed(derived_seed("scoring", given.seed))
        found = values(replace(given, model=scored))
    for name, value in found.items() if given.structure == "layers" else ():
        if not math.isfinite(value):
            raise _not_finite(f"block {name}", value, given)
    return found


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """While it is active, reentrant activation checkpoints are none: no gradient can be asked for through them."""
    CheckpointFunction.apply = lambda function, preserve, *args: function(*args)
    try:
        yield
    finally:
        # the inherited one again
        del CheckpointFunction.apply


def values(given: Scoring) -> dict[str, Any]:
    """The criterion's values: floats by block, or arrays by a coupling's first layer or by parameter."""
    if given.settings.is_own:
        return scores_of(load(given.settings), network_of(given.model), given.blocks, given.batches, seed=given.seed)
    found = functions()[given.settings.function](given)
    return _reduced(found, given) if isinstance(found, Saliency) else found


def _reduced(found: Saliency, given: Scoring) -> dict[str, Any]:
    settings = given.settings
    if given.structure != "layers":
        _check_finite(found, given)
    if settings.products == "absolute":
        found = replace(found, values={name: one.abs() for name, one in found.values.items()})
    if given.structure == "layers":
        parameters = given.by_block(connecting=found.by_filter)
        return {block: found.of_block(names, settings.reduction) for block, names in parameters.items()}
    return found.of_filters(given.couplings, settings.reduction) if given.couplings else found.of_weights()


def _check_finite(found: Saliency, given: Scoring) -> None:
    for name, one in found.values.items():
        if not one.isfinite().all():
            worst = one[~one.isfinite()][0].item()
            raise _not_finite(f"layer {name.removesuffix('.weight')}", worst, given)


def _not_finite(what: str, value: float, given: Scoring) -> LayerLotteryError:
    told = f"{what}: {given.settings.function} gave {value}; scores must be finite numbers"
    spoilt = not all(one.isfinite().all() for batch, _ in each(given.batches) for one in tensors_of(batch))
    return LayerLotteryError(f"{told}, and a batch holds some that are not" if spoilt else told)


def scoring_copy(model: nn.Module, settings: CriterionSettings) -> nn.Module:
    """A copy that computes what is scored: nothing random, BatchNorm with batch or running statistics."""
    scored = copied(unwrapped(model)).eval()
    if not settings.is_own:
        # a weight counts by its value, however it comes about
        write_weights(scored)
    scored.requires_grad_(True)
    for module in scored.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(settings.batchnorm == "train")
    return scored


def _faster(model: nn.Module) -> nn.Module:
    """A network that puts out the same up to rounding in less time: BatchNorm folded, maps in channels_last.

    The model itself where BatchNorm takes batch statistics, on a GPU, in double precision, and where anything but a
    CIFAR ResNet's own layers computes in it.
    """
    kinds = {(parameter.dtype, parameter.device.type) for parameter in model.parameters()}
    if kinds != {(torch.float32, "cpu")} or not all(map(_plain, model.modules())):
        return model
    return fold(model).to(memory_format=torch.channels_last) if isinstance(model, CifarResNet) else model


def _plain(module: nn.Module) -> bool:
    """Whether it computes what its class says, in a CIFAR ResNet in eval mode with running statistics."""
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) or module.training
    counted = not isinstance(module, nn.BatchNorm2d) or module.running_mean is not None
    return type(module) in PLAIN and not changed and counted
