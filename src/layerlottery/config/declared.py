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

    In the order of files and lines. Raises ValueError where an argument is no plain value.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(PACKAGE.joinpath(room).glob("*.py")):
        held = path.read_bytes()
        # parsing takes 2 ms a file, in every job
        for node in ast.parse(held).body if f"@{decorator}(".encode() in held else ():
            if isinstance(node, ast.FunctionDef):
                found.update((node.name, _arguments(call)) for call in _calls(node, decorator))
    return found


def _calls(node: ast.FunctionDef, decorator: str) -> list[ast.Call]:
    calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == decorator]


def _arguments(call: ast.Call) -> dict[str, Any]:
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
