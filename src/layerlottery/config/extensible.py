"""User-supplied functions: where they are, their options, and their version when the configuration was read.

Nothing here imports them: the Snakefile reads a configuration in every job. A file is hashed, and looked through for
the function's name; of an installed package the name and version are taken.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from layerlottery.config.base import Settings, later, read_options
from layerlottery.store.hashing import canonical
from layerlottery.store.regular import irregular

FUNCTION = (
    "of your own: file and function as in my_code.py:name, relative to the working directory, or the name of an "
    "installed entry point"
)
HASHED = "sha256:"
# expressions that are never a function
PLAIN = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr)


def _json(given: Any) -> Any:
    """Snakemake's --config gives the numbers within an object as text."""
    try:
        canonical(read := read_options(given) if isinstance(given, dict) else given)
        # half of a pair of UTF-16 is no text
        json.dumps(read, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{error}; allowed: JSON values") from None
    return read


# not pydantic's JsonValue, which would stand in the schema as a setting without properties
Options = Annotated[dict[str, Any], BeforeValidator(_json)]


class Extensible(Settings):
    """Settings whose `function` is one of the built-in names or one of the user's own."""

    group: ClassVar[str]
    builtin: ClassVar[frozenset[str]] = frozenset()

    function: str = Field(description=FUNCTION, min_length=1)
    options: Options = later({}, "arguments of a function of your own, by name; numbers that come as text are read")
    code: str | None = later(
        None,
        "what a function of your own was: sha256 of its file, or name==version of its package; filled in, so that a "
        "change of it runs again what depends on it",
        pattern=r"^(sha256:[0-9a-f]{64}|[A-Za-z0-9._-]+==\S+)$",
    )

    @property
    def is_own(self) -> bool:
        """Whether the function is the user's."""
        return self.function not in self.builtin

    @model_validator(mode="before")
    @classmethod
    def _fill_in_code(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("function"), str):
            return given
        if given["function"] in cls.builtin or given.get("code") is not None:
            return given
        return given | {"code": fingerprint(given["function"], cls.group, cls.builtin)}

    @model_validator(mode="after")
    def _only_own_functions_take_options(self) -> Extensible:
        if not self.is_own and (self.options or self.code):
            raise ValueError(f"options: {self.function} is built in and takes none; its settings are keys of their own")
        return self


def in_file(function: str) -> tuple[Path, str] | None:
    """The file and the name in it; None for an entry point's name."""
    file, colon, name = function.rpartition(":")
    return (Path(file), name) if colon and file.endswith(".py") else None


def fingerprint(function: str, group: str, builtin: frozenset[str] = frozenset()) -> str:
    """The function's present version: sha256:… of its file, or name==version of the package that brings it.

    Raises ValueError, in one line, when there is no such file, function or entry point.
    """
    place = in_file(function)
    if place is None:
        return released(entry_point(function, group, builtin))
    held = read_code(place[0])
    _check_defines(place[0], place[1], held)
    return hashed(held)


def hashed(held: bytes) -> str:
    """The fingerprint of a file's content."""
    return HASHED + hashlib.sha256(held).hexdigest()


def read_code(path: Path) -> bytes:
    """The bytes of a Python file; raises ValueError where there is none."""
    try:
        if path.exists() and (kind := irregular(path)) is not None:
            raise ValueError(f"function: {path}: found {kind}; allowed: a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"function: {path}: {error.strerror} (working directory {Path.cwd()})") from None


def _check_defines(path: Path, name: str, held: bytes) -> None:
    try:
        tree = ast.parse(held)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        raise ValueError(f"function: {path}: not readable as Python ({line}{error.args[0]})") from None
    found = set(_bound(tree))
    if name not in found and "*" not in found:
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
        raise ValueError(f"function: {path}: no function {name!r}; it defines {', '.join(defined) or 'none'}")
    if unfit := _unfit(tree, name):
        raise ValueError(f"function: {path}: {name} is {unfit}; allowed: a function, def {name}(…)")


def _unfit(tree: ast.Module, name: str) -> str | None:
    """What the module's last plain statement about the name makes of it, where that can't be called."""
    found = None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and node.name == name:
            # a decorator may make another function of it
            found = "async" if isinstance(node, ast.AsyncFunctionDef) and not node.decorator_list else None
        elif isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            found = "a plain value" if isinstance(node.value, PLAIN) else None
    return found


def _bound(tree: ast.AST) -> Iterator[str]:
    """Every name that is bound anywhere in a module: more than what it will have, and never less."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def entry_point(name: str, group: str, builtin: frozenset[str] = frozenset()) -> EntryPoint:
    """The entry point of the group by its name; raises ValueError when there is none, or more than one."""
    found = entry_points(group=group)
    chosen = {point.value: point for point in found if point.name == name}
    if len(chosen) > 1:
        packages = ", ".join(map(released, chosen.values()))
        raise ValueError(f"function: found {name!r}, which several packages bring: {packages}")
    if not chosen:
        installed = ", ".join(sorted(found.names)) or "none is installed"
        names = f"; built in: {', '.join(sorted(builtin))}" if builtin else ""
        raise ValueError(
            f"function: found {name!r}; allowed: a file and function as in my_code.py:name, or an entry point of "
            f"{group}: {installed}{names}"
        )
    return next(iter(chosen.values()))


def released(point: EntryPoint) -> str:
    """The package that brings an entry point, as name==version."""
    return f"{point.dist.name}=={point.dist.version}" if point.dist else f"{point.module}==?"
