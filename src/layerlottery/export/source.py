"""A network as the source of one Python file that imports torch alone, and the weights that load into it.

The forward pass is recorded by torch.fx down to the modules of torch.nn, whose text says how they were made. What it
can't follow (control flow that depends on values, modules that do not say how they were made) has no such source.
"""

from __future__ import annotations

import ast
import builtins
import importlib.abc
import importlib.util
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.export.plain import one_line

HEAD = '''"""{title}

Needs torch alone. Weights: Network().load_state_dict(safetensors.torch.load_file("weights.safetensors"))
"""

import torch
from torch import nn
{imports}

def _put(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    root.get_submodule(parent).add_module(last, module)


class Network(nn.Module):
    """{about}"""

    def __init__(self) -> None:
        super().__init__()
{made}

'''


class NoSourceError(LayerLotteryError):
    """The network can't be written as the source of one file."""


# randomly left out in training, they pass everything on in eval mode
PASSES_ON = ("StochasticDepth", "DropPath")
# what a file that needs torch alone may import
PACKAGES = ("torch", "math", "operator")


class _Tracer(fx.Tracer):
    """Stops at modules of torch.nn, the containers aside, and at those that pass everything on."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__name__ in PASSES_ON or super().is_leaf_module(m, module_qualified_name)


def flat(model: nn.Module) -> fx.GraphModule:
    """The model as a record of operations and modules of torch.nn, in its mode; or NoSourceError."""
    try:
        tracer = _Tracer()
        recorded = fx.GraphModule(model, tracer.trace(model))
        for node in recorded.graph.nodes:
            # annotations would be imported from wherever they come
            node.type = None
        recorded.graph.eliminate_dead_code()
        # once more, so that it holds what the record uses and nothing else
        return fx.GraphModule(recorded, recorded.graph)
    except Exception as error:
        raise NoSourceError(f"{type(model).__name__}: torch.fx can't follow it: {one_line(error)}") from error


def source(recorded: fx.GraphModule, *, title: str, about: str) -> str:
    """Python source that defines `Network`, whose state has the names of the record's; or NoSourceError."""
    code = recorded.graph.python_code("self")
    imports = "".join(sorted(_imports(code.globals, code.src)))
    made = "\n".join(f"        {line}" for line in _constructions(recorded))
    forward = "\n".join(f"    {line}".rstrip() for line in code.src.strip().splitlines())
    forward = re.sub(
        r"def forward\(self, (\w+)[^)]*\).*:", r"def forward(self, \1: torch.Tensor) -> torch.Tensor:", forward
    )
    return f"{HEAD.format(title=title, about=about, imports=imports, made=made)}{forward}\n"


def load_source(text: str) -> nn.Module:
    """The `Network` of a text that `source` gave, in eval mode, with weights that mean nothing; or NoSourceError."""
    spec = importlib.util.spec_from_loader("exported_network", _Text(text))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        network: nn.Module = module.Network().eval()
    except Exception as error:
        raise NoSourceError(f"the source can't be run: {one_line(error)}") from error
    return network


class _Text(importlib.abc.SourceLoader):
    """A module whose source is no file, and whose bytecode becomes none."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_filename(self, fullname: str) -> str:
        return f"<{fullname}>"

    def get_data(self, path: str | bytes) -> bytes:
        return self.text.encode()


def _imports(names: Mapping[str, Any], text: str) -> Iterator[str]:
    for name, value in names.items():
        used = re.search(rf"\b{re.escape(name)}\b", text)
        if not used or name == "torch" or getattr(builtins, name, None) is value:
            continue
        home = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", None))
        # operator's functions call themselves by the module in C
        home = home.removeprefix("_")
        if home.partition(".")[0] not in PACKAGES:
            raise NoSourceError(f"it calls {name} of {home}")
        own = getattr(value, "__name__", name)
        yield f"import {home}\n" if isinstance(value, ModuleType) else f"from {home} import {own} as {name}\n"


def _constructions(module: nn.Module, name: str = "") -> Iterator[str]:
    """Parents first; a module of torch.nn makes its own children and tensors."""
    container = not name or type(module) in (nn.Module, nn.Sequential)
    if name:
        yield f'_put(self, "{name}", {"nn.Module()" if container else constructor(module)})'
    if container:
        yield from _tensors(name, module)
        for own, child in module.named_children():
            yield from _constructions(child, f"{name}.{own}" if name else own)


def _tensors(name: str, module: nn.Module) -> Iterator[str]:
    place = f'self.get_submodule("{name}")' if name else "self"
    for own, parameter in module.named_parameters(recurse=False):
        yield f'{place}.register_parameter("{own}", nn.Parameter({_empty(parameter)}))'
    for own, buffer in module.named_buffers(recurse=False):
        yield f'{place}.register_buffer("{own}", {_empty(buffer)})'


def _empty(tensor: Tensor) -> str:
    kind = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    return f"torch.zeros({tuple(tensor.shape)}{kind})"


def constructor(module: nn.Module) -> str:
    """The call that makes such a module of torch.nn; raises NoSourceError for one that does not say how."""
    if isinstance(module, nn.MultiheadAttention):
        return _attention(module)
    if type(module).__name__ in PASSES_ON:
        return "nn.Identity()"
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.") or getattr(nn, kind.__name__, None) is not kind:
        raise NoSourceError(f"{kind.__name__} is no module of torch.nn")
    try:
        call = ast.parse(repr(module), mode="eval").body
        assert isinstance(call, ast.Call)
        call.args = [_literal(one) for one in call.args]
        for keyword in call.keywords:
            keyword.value = _literal(keyword.value)
    except (SyntaxError, ValueError, AssertionError) as error:
        raise NoSourceError(f"{kind.__name__} does not say how it was made") from error
    return f"nn.{ast.unparse(call)}"


def _literal(node: ast.expr) -> ast.expr:
    """The node if it is a literal; torch writes some texts without quotes."""
    if isinstance(node, ast.Name):
        return ast.Constant(node.id)
    ast.literal_eval(node)
    return node


def _attention(module: nn.MultiheadAttention) -> str:
    ordinary = module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
    if not ordinary:
        raise NoSourceError("attention with keys or values of another width")
    bias = module.in_proj_bias is not None
    return (
        f"nn.MultiheadAttention({module.embed_dim}, {module.num_heads}, dropout={module.dropout}, bias={bias},"
        f" batch_first={module.batch_first})"
    )
