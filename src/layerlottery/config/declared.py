"""Declarations in decorators beside the functions of a room, read from the source without importing it.

A criterion or an attack is declared once, beside its function. The configuration has to know its name in every job of
Snakemake, long before torch is imported, so it reads the decorators' arguments, which are plain values. What an
import of the room then registers is the same function under the same name.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


@cache
def declared(room: str, decorator: str) -> dict[str, dict[str, Any]]:
    """Keyword arguments of every `@decorator(…)` in the modules of a room, by the name of the decorated function.

    In the order of files and lines. Raises ValueError, with the place, where an argument is no plain value or two
    functions have one name.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(PACKAGE.joinpath(room).glob("*.py")):
        held = path.read_bytes()
        # parsing takes 2 ms a file, in every job
        for node in ast.parse(held).body if f"@{decorator}(".encode() in held else ():
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in _calls(node, decorator):
                if node.name in found:
                    raise ValueError(f"{path}: {node.name}: another function of this name is declared already")
                found[node.name] = _arguments(call, f"{path}: {node.name}")
    return found


def _calls(node: ast.FunctionDef, decorator: str) -> list[ast.Call]:
    calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == decorator]


def _arguments(call: ast.Call, where: str) -> dict[str, Any]:
    try:
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        raise ValueError(f"{where}: its declaration must hold plain values only") from None
