"""The source is searched for what could run what a file holds, hand a string to a shell, or keep a tensor of no use."""

import ast
from pathlib import Path

import pytest

import layerlottery

SOURCE = Path(layerlottery.__file__).parent
UNSAFE_MODULES = {"xml", "pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "joblib", "cloudpickle", "dbm"}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("torch.save", "torch.jit.load", "torch.hub.load", "pandas.read_pickle", "numpy.fromregex"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "tempfile.mktemp", "shutil.unpack_archive"),
}
UNSAFE_METHODS = {"extractall", "extract", "to_pickle", "read_pickle"}


def unsafe(source):
    """Imports and calls in a module that could run what a file holds, or hand a string to a shell."""
    names, found = {}, []
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names if alias.asname}
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNSAFE_MODULES]
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [node.module] * ((node.module or "").partition(".")[0] in UNSAFE_MODULES)
    return found + [name for node in nodes if isinstance(node, ast.Call) for name in unsafe_call(node, names)]


def unsafe_call(node, names):
    name, _, rest = ast.unparse(node.func).partition(".")
    name = names.get(name, name) + (f".{rest}" if rest else "")
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in UNSAFE_CALLS or (rest and name.rpartition(".")[2] in UNSAFE_METHODS):
        yield name
    if name in ("numpy.load", "numpy.save", "numpy.lib.format.read_array") and given.get("allow_pickle") != "False":
        yield name
    # weights_only: tensors and plain containers, and nothing else is made of what the file holds
    if name == "torch.load" and given.get("weights_only") != "True":
        yield name
    if given.get("shell", "False") != "False":
        yield f"{name}(shell)"


def test_no_module_can_load_a_pickle_or_start_a_shell():
    modules = sorted(SOURCE.rglob("*.py"))
    assert len(modules) > 50
    assert {str(path): unsafe(path.read_text()) for path in modules if unsafe(path.read_text())} == {}


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "def f():\n    from pickle import loads", "import joblib.memory as m", "eval('1')"),
        *("import torch\ntorch.load('x')", "import torch\ntorch.load('x', weights_only=False)"),
        *("from torch import load as read\nread('x')", "exec('1')"),
        *("import numpy as np\nnp.load('x')", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        *("import yaml\nyaml.load('x', Loader=yaml.Loader)", "import os\nos.system('ls')", "archive.extractall()"),
        *("import subprocess as s\ns.run('ls', shell=True)", "import pandas as pd\npd.read_pickle('x')"),
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert len(unsafe(source)) == 1


def test_the_search_passes_what_is_safe():
    source = (
        "import numpy as np, yaml, re, torch\nnp.load('x', allow_pickle=False)\nyaml.safe_load('x')\nre.compile('x')"
    )
    source += "\ntorch.load('x', weights_only=True)"
    assert unsafe(source) == []


def kept_tensors(source):
    """Cached functions that give tensors, and would keep those that autograd refuses: made in inference mode."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.returns is not None and "Tensor" in ast.unparse(node.returns):
            decorators = [ast.unparse(one) for one in node.decorator_list]
            if any("cache" in one for one in decorators) and decorators[-1] != "torch.inference_mode(False)":
                yield node.name


def test_no_cache_keeps_tensors_of_inference_mode():
    sources = {str(path): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}
    assert {path: found for path, source in sources.items() if (found := list(kept_tensors(source)))} == {}


@pytest.mark.parametrize("cache", ["lru_cache", "lru_cache(maxsize=2)", "functools.cache", "cached_property"])
def test_the_search_finds_kept_tensors(cache):
    function = "def table(size) -> list[Tensor]:\n    pass"
    assert list(kept_tensors(f"@{cache}\n{function}")) == ["table"]
    assert list(kept_tensors(f"@{cache}\n@torch.inference_mode(False)\n{function}")) == []
