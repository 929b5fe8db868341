"""A network's cost on paper: parameters, multiply-accumulates, bytes that one training step holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from layerlottery.networks.answers import logits_of
from layerlottery.networks.copies import copied
from layerlottery.networks.eager import eager
from layerlottery.networks.inputs import count, each_tensor
from layerlottery.networks.masks import masked_weights
from layerlottery.networks.trace import tensors_of
from layerlottery.networks.weights import build

# bytes of a number
FLOAT32 = 4
CIFAR_SIDE = 32
# what an architecture says of that which a ticket lacks
LOST = ("removed_blocks", "removals", "filters", "masked")


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one float32 training step holds; activations are what autograd saves for the backward pass."""

    activations: int
    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Sum of the four parts, bytes."""
        return self.activations + self.parameters + self.gradients + self.optimizer


def parameters(model: nn.Module) -> int:
    """Number of parameters left; shared ones count once, masked weights do not count."""
    return sum(parameter.numel() for parameter in model.parameters()) - masked_weights(model)


def filters(model: nn.Module) -> int:
    """Number of convolution filters, those of projections included."""
    return sum(module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def macs(model: nn.Module, image_shape: tuple[int, ...], *, example: Any = None) -> int:
    """Multiply-accumulates of convolutions and fully connected layers for one image, (channels, height, width).

    `example` is a batch of images as the network takes them, for networks whose work depends on what they see.
    """
    twin = copied(model).eval()
    try:
        # a copy without storage: nothing is computed
        return _counted(copied(twin).to("meta"), image_shape, example)
    except Exception:  # whatever a network does with tensors that hold nothing
        # a network that looks at its values, or holds tensors that no module owns, has to compute
        return _counted(twin, image_shape, example)


def macs_saved(architecture: Mapping[str, Any]) -> float:
    """Share of the dense network's multiply-accumulates that a ticket's architecture lacks, 0 to 1.

    Networks that take images of any size are counted with those of CIFAR, 32 x 32.
    """
    dense = {name: value for name, value in architecture.items() if name not in LOST} | {"removed_blocks": []}
    side = architecture.get("image_size", CIFAR_SIDE)
    own, whole = (macs(build(one), (one["channels"], side, side)) for one in (architecture, dense))
    return 1 - own / whole


def _counted(model: nn.Module, image_shape: tuple[int, ...], example: Any) -> int:
    counter = FlopCounterMode(display=False)
    # in parts that the counter knows: fused attention counts as nothing
    with (
        torch.no_grad(),
        eager(),
        sdpa_kernel(SDPBackend.MATH),
        plain_attention(),
        counter,
    ):
        model(_images(model, 1, image_shape, example))
    return int(counter.get_total_flops()) // 2


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by operations that others know: torch's fast path is one fused operation of its own."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def training_memory(
    model: nn.Module, image_shape: tuple[int, ...], *, batch_size: int, example: Any = None, copies: int = 1
) -> TrainingMemory:
    """Bytes of one training step on `batch_size` images: float32, cross-entropy.

    The optimizer holds `copies` of what is trained: SGD its momentum, AdamW two, and averaged weights are one more.
    Computed on a copy on the processor, so the model, its gradients and the random state stay untouched.
    The batch itself isn't counted: it is the same for every network.
    """
    held = FLOAT32 * sum(parameter.numel() for parameter in model.parameters())
    trained = FLOAT32 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    try:
        twin = copied(model).to("cpu", torch.float32).train()
        activations = _saved_bytes(twin, _images(twin, batch_size, image_shape, example))
    except Exception:  # whatever a network does where it was not made for
        # a network that insists on its own type or device: its bytes there, as many as float32 takes
        like = next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0))
        saved = _saved_bytes(copied(model).train(), _images(model, batch_size, image_shape, example))
        activations = saved * FLOAT32 // like.element_size()
    return TrainingMemory(activations, held, gradients=trained, optimizer=copies * trained)


def step_memory(
    model: nn.Module, image_shape: tuple[int, ...], *, batch_size: int, example: Any = None, copies: int = 1
) -> int:
    """Bytes of one training step, as training_memory counts them, for a batch that need not fit this machine.

    Activations grow by the same amount with every image, so two small batches tell.
    """
    given: dict[str, Any] = {"example": example, "copies": copies}
    small, larger = (training_memory(model, image_shape, batch_size=number, **given) for number in (2, 3))
    each = larger.activations - small.activations
    return small.total + each * (batch_size - 2)


def _images(model: nn.Module, number: int, image_shape: tuple[int, ...], example: Any) -> Any:
    """Images, or other inputs, as the network takes them, where it is: copies of the example's first, or else zeros.

    They are of its parameters' type, unless the example has whole numbers.
    """
    like = next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0, dtype=torch.float32))
    if example is None:
        return torch.zeros(number, *image_shape, dtype=like.dtype, device=like.device)
    held = count(example)

    def repeated(one: Tensor) -> Tensor:
        moved = one.detach().to(like.device, like.dtype if one.is_floating_point() else one.dtype)
        return moved[:1].repeat(number, *[1] * (one.dim() - 1)) if one.dim() and len(one) == held else moved

    return each_tensor(example, repeated)


def _loss(answer: Any, labels: Tensor) -> Tensor:
    """The sum of a loss for each tensor of the answer: cross-entropy of logits (N, classes), of any other its sum."""
    held = vars(answer) if dataclasses.is_dataclass(answer) and not isinstance(answer, type) else answer
    found = [one for one in tree_leaves(held) if isinstance(one, Tensor) and one.requires_grad]
    logits = [one.dim() == 2 and len(one) == len(labels) for one in found]
    losses = [F.cross_entropy(one, labels) if of else one.float().sum() for one, of in zip(found, logits, strict=True)]
    return sum(losses, torch.zeros((), device=labels.device))


def _saved_bytes(model: nn.Module, images: Any) -> int:
    shown = list(tensors_of(images))
    labels = torch.zeros(len(shown[0]), dtype=torch.long, device=shown[0].device)
    held = (*model.parameters(), *model.buffers(), *shown, labels)
    given = {_address(tensor) for tensor in held if tensor.layout is torch.strided}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        # what has no one piece of memory, such as a sparse tensor, is not counted
        if tensor.layout is torch.strided and _address(tensor) not in given:
            saved[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor  # kept by the graph: no address is handed out twice while we count

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), eager(), hooks:
        loss = _loss(logits_of(model(images), training=True), labels)
    del loss
    return sum(saved.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
