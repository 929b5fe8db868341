"""The command `new`: a Python file, its test, and a benchmark that uses it. Each works before anything is filled in."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import sys
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.evaluation import ATTACKS
from layerlottery.config.networks import is_named
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import atomic

KINDS = ("criterion", "network", "dataset", "attack")
# of a module's and a function's name
NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")
# what Snakemake would take for a wildcard, and what ends a line of YAML
UNFIT = re.compile(r"[{}\s:#'\"]")


def write_stub(kind: str, name: str, folder: Path) -> list[Path]:
    """Write NAME.py, test_NAME.py and NAME.yaml to a folder, which is created if missing; returns their paths.

    The configuration names the Python file relative to the working directory if the folder lies there. Raises
    LayerLotteryError, and writes nothing, for a name that is taken or no name of a module, and where a file exists.
    """
    _check_folder(folder)
    files = {
        f"{kind}.py.j2": folder / f"{name}.py",
        f"test_{kind}.py.j2": folder / f"test_{name}.py",
        "benchmark.yaml.j2": folder / f"{name}.yaml",
    }
    for path in files.values():
        # a link that leads nowhere is there, too
        if os.path.lexists(path):
            raise LayerLotteryError(f"{path}: exists already; choose another name, or another folder with --output")
    _check_name(kind, name)
    for template, path in files.items():
        text = _render(template, kind=kind, name=name, folder=folder.as_posix(), code=files[f"{kind}.py.j2"].as_posix())
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(files.values())


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        allowed = "a Python name of lower-case letters, digits and underscores, which begins with a letter"
        raise LayerLotteryError(f"NAME: found {name!r}; allowed: {allowed}")
    if not isinstance(yaml.safe_load(name), str):
        raise LayerLotteryError(f"NAME: {name} is no text in YAML, where the benchmark names it; choose another")
    if name == "conftest" or name.startswith("test_") or name.endswith("_test"):
        raise LayerLotteryError(f"NAME: {name} is what pytest calls files of its own; choose another")
    built_in = {"criterion": name in CRITERIA, "network": is_named(name), "attack": name in ATTACKS}
    if built_in.get(kind):
        raise LayerLotteryError(f"NAME: {name} is a built-in {kind}; choose another")
    # a file of this name in the working directory would be imported in the module's place
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise LayerLotteryError(f"NAME: {name} is a Python module that is installed; choose another")


def _check_folder(folder: Path) -> None:
    if found := UNFIT.search(folder.as_posix()):
        raise LayerLotteryError(f"--output: found {found[0]!r} in {folder}; allowed: a path without it")


def _render(template: str, **values: str) -> str:
    environment = Environment(  # noqa: S701 - Python and YAML are written, from names that were checked
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)
