"""Loading and calling functions of the user's own; what goes wrong in them is said in one line.

Signatures:

- criterion(model, blocks, batches, *, seed, **options) -> {block name: score}
- network(*, channels, classes, image_size, **options) -> torch.nn.Module
- data set(**options) -> ImageArrays, or a mapping with its fields
- attack(model, images, labels, *, epsilon, seed, **options) -> images

`options` are those of the configuration. docs/extending.md has an example of each.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from layerlottery.config.base import Settings
from layerlottery.config.extensible import HASHED, Extensible, entry_point, hashed, in_file, read_code, released
from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.store.hashing import canonical, digest

# calls that a weights file may ask for, as `call_hash` names them, separated by spaces
TRUSTED = "LAYERLOTTERY_TRUSTED"


@dataclass(frozen=True)
class ImageArrays:
    """The return value of a user-supplied data set.

    A split is (images, labels): uint8 (N, channels, size, size), values 0..255, and integers (N,), indices into
    `classes`. `shifted` are further test sets by name. Memory-mapped arrays stay on disk.
    """

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    classes: Sequence[str]
    shifted: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Extension:
    """A loaded function, and where it is from."""

    function: Callable[..., Any]
    where: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call the function; raises LayerLotteryError where its signature differs, and for whatever it raises."""
        try:
            inspect.signature(self.function).bind(*given, **named, **self.options)
        except TypeError as error:
            words = ", ".join([f"{len(given)} values"] * bool(given) + [f"{name}=" for name in [*named, *self.options]])
            raise self.wrong(f"can't be called with {words or 'nothing'}: {error}") from None
        except ValueError:
            pass  # a function in C need not know its signature
        with self.running():
            return self.function(*given, **named, **self.options)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the user's code runs: what it raises is said in one line, with its last line in the file."""
        try:
            yield
        except (LayerLotteryError, Interrupted):
            raise
        except (Exception, SystemExit) as error:
            raise self.wrong(f"raised {_told(error, _file_of(self.function))}") from error

    def check(self, fits: object, returned: str, allowed: str) -> None:
        """Raise unless what the function returned fits; the error says what it was, and what is allowed."""
        if not fits:
            raise self.wrong(f"returned {returned}; {allowed}")

    def wrong(self, what: str) -> LayerLotteryError:
        """The error that says what is wrong with the function, in one line."""
        return LayerLotteryError(f"{self.where}: {' '.join(what.split())}")


def load(settings: Extensible) -> Extension:
    """The function that the settings name, if it still is what it was when they were made.

    Raises LayerLotteryError when it is gone, was changed in between, can't be imported or is no function.
    """
    place = in_file(settings.function)
    try:
        function = _from_file(*place, settings) if place else _from_package(settings)
    except ValueError as error:
        raise LayerLotteryError(str(error)) from None
    where = settings.function if place else f"{settings.function} ({settings.code})"
    if not callable(function):
        raise LayerLotteryError(f"{where}: found {type(function).__name__}; allowed: a function")
    if inspect.iscoroutinefunction(function):
        raise LayerLotteryError(f"{where}: found an async function; allowed: a plain one")
    return Extension(function, where, settings.options)


def trust(*given: Settings) -> None:
    """Let this process, and those that it starts, build networks whose weights files name the same call.

    That is the same function, of the same code, with the same options: another function of the same file isn't trusted.
    """
    calls = [call_hash(one) for one in given if isinstance(one, Extensible) and one.code]
    if calls:
        os.environ[TRUSTED] = " ".join(dict.fromkeys([*os.environ.get(TRUSTED, "").split(), *calls]))


def call_hash(settings: Extensible) -> str:
    """SHA-256 of all that a call follows from: the function, its code and its options."""
    return digest([settings.group, settings.function, settings.code, settings.options])


class UntrustedCodeError(LayerLotteryError):
    """A file of results names a function, code or options that the configuration does not."""


def load_trusted(settings: Extensible) -> Extension:
    """The function that a file of results names: files come from anywhere, and only the configuration runs code.

    Raises UntrustedCodeError unless `trust` was told of this function, code and options; otherwise as `load`.
    """
    if (wanted := call_hash(settings)) not in os.environ.get(TRUSTED, "").split():
        options = f" with options {canonical(settings.options)}" if settings.options else ""
        raise UntrustedCodeError(
            f"found {settings.function}{options}, code that the configuration does not name; "
            f"to run it nevertheless: export {TRUSTED}='{wanted}'"
        )
    return load(settings)


def _from_file(path: Path, name: str, settings: Extensible) -> Any:
    held = read_code(path)
    _check_unchanged(settings, hashed(held))
    module = _module(path, held)
    if not hasattr(module, name):
        raise LayerLotteryError(f"function: {path}: no function {name!r}")
    return getattr(module, name)


def _from_package(settings: Extensible) -> Any:
    point = entry_point(settings.function, settings.group, settings.builtin)
    _check_unchanged(settings, released(point))
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        where = f"{settings.function} ({settings.code})"
        raise LayerLotteryError(f"{where}: importing {point.value} raised {_told(error, '')}") from error


def _check_unchanged(settings: Extensible, found: str) -> None:
    if settings.code not in (None, found):
        how = f"was changed after {'this' if found.startswith(HASHED) else settings.code} was read"
        raise LayerLotteryError(f"{settings.function}: {how}; run the same command again")


class _Held(importlib.abc.InspectLoader):
    """Runs the bytes that were hashed, and neither those on disk by then nor an older compiled file."""

    def __init__(self, path: Path, held: bytes) -> None:
        self.path, self.held = path, held

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.held)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.held, str(self.path))


def _module(path: Path, held: bytes) -> ModuleType:
    """The module of a file, executed once a process for each content."""
    name = f"layerlottery_own_{path.stem}_{hashed(str(path.absolute()).encode() + held)[-16:]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _Held(path, held), origin=str(path))
    assert spec is not None
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up while it is made
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LayerLotteryError(f"{path}: importing it raised {_told(error, str(path))}") from error
    return module


def _file_of(function: Callable[..., Any]) -> str:
    try:
        return inspect.getfile(function)
    except TypeError:
        return ""


def _told(error: BaseException, file: str) -> str:
    """Type and message of an exception, and the last line of the user's file on its way."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text[:300]}" + (f" (line {lines[-1]})" if lines else "")
