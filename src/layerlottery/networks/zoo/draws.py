"""Building a network without drawing weights that a file is about to replace."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

# functions that ask for overrides come whole; the others come as the draws that they are made of
WHOLE = {init.uniform_, init.normal_, init.orthogonal_}
WHOLE |= {init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_}
DRAWS = {Tensor.uniform_, Tensor.normal_}


class WithoutDraws(TorchFunctionMode):
    """While it is active, random initialization fills tensors with a constant, and leaves the random state alone.

    What constructors compute or fill (positions, constants) is there as ever. Of a normal draw the constant is the
    mean, of a uniform one the lower end: values that torch's truncated normal draws, which try again until they are
    content, accept. Code of unknown origin may try for something else, without an end.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if func in WHOLE:
            return _filled(keywords["tensor"] if "tensor" in keywords else args[0], 0.0)
        if func in DRAWS:
            first = "mean" if func is Tensor.normal_ else "from"
            return _filled(args[0], float(args[1] if len(args) > 1 else keywords.get(first, 0.0)))
        return func(*args, **keywords)


def _filled(tensor: Tensor, value: float) -> Tensor:
    tensor.data.fill_(value)
    return tensor
