"""The wheel: what is in it, the library alone in an empty environment, and a benchmark that `layerlottery init` makes.

An environment of a test has pip's own packages and the wheel; what the wheel asks for is borrowed, package by package,
from the environment that the tests run in, as pip would have installed it: torch alone has gigabytes.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.workflow.project import ROOT, TINY

from layerlottery.version import __version__

pytestmark = pytest.mark.slow
LIBRARY = ROOT / "docs" / "library.md"
# of the benchmark; a library without them is what `pip install layerlottery` promises
NOT_IN_CORE = ["snakemake", "pandas", "pyarrow", "torchvision", "click", "matplotlib", "PIL", "sklearn", "codecarbon"]


def run(*command, folder=ROOT, **options):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["PATH"] = f"{Path(command[0]).parent}{os.pathsep}{environment['PATH']}"
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and a source distribution."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "--directory", str(folder))
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def held(wheel):
    """Bytes of the files of a wheel by name, but for its record."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/RECORD")}


def tracked(*folders):
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name}


def test_the_wheel_holds_the_package_the_workflow_and_the_licence(built):
    inside = held(built[0])
    about = f"layerlottery-{__version__}.dist-info"
    package = {name.removeprefix("src/") for name in tracked("src")}
    workflow = {f"layerlottery/repository/{name}" for name in tracked("Snakefile", "config.yaml", "workflow", "envs")}
    told = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert set(inside) == package | workflow | told
    assert inside[f"{about}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert inside["layerlottery/repository/Snakefile"] == (ROOT / "Snakefile").read_bytes()


def test_a_wheel_of_the_source_distribution_is_the_same(built, tmp_path):
    wheel, source = built
    with tarfile.open(source) as opened:
        # Python 3.11 has filters from 3.11.4 on; the archive is our own
        opened.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    (unpacked,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "constraints.txt", "tests", "docs"} <= {path.name for path in unpacked.iterdir()}
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path), folder=unpacked)
    assert held(tmp_path / wheel.name) == held(wheel)


def needed(*extras):
    """Distributions of this environment that layerlottery needs with these extras, by name, theirs included."""
    wheel_says = tomllib_project()
    asked = [
        *wheel_says["dependencies"],
        *(one for name in extras for one in wheel_says["optional-dependencies"][name]),
    ]
    found, left = {}, list(map(Requirement, asked))
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker and not any(one.marker.evaluate({"extra": it}) for it in one.extras or {""})):
            continue
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": it}) for it in {"", *one.extras}):
                inner.marker = None
                left.append(inner)
    return found


def tomllib_project():
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


class Environment:
    """A virtual environment with the wheel, and what it needs with these extras."""

    def __init__(self, folder, wheel, *extras):
        # pip from outside: what venv would put in may be too old for torch
        run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        self.python = str(folder / "venv" / "bin" / "python")
        borrowed = folder / "borrowed"
        borrowed.mkdir()
        for distribution in needed(*extras).values():
            self._borrow(distribution, borrowed)
        packages = Path(run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (packages / "borrowed.pth").write_text(f"{borrowed}\n")
        self.pip("install", "--quiet", "--no-index", "--no-deps", str(wheel))

    def pip(self, *words):
        return run(sys.executable, "-m", "pip", "--python", self.python, *words)

    def _borrow(self, distribution, folder):
        for file in distribution.files:
            name = file.parts[0]
            if name == ".." and file.parent.name == "bin":
                script = Path(self.python).with_name(file.name)
                text = Path(distribution.locate_file(file)).resolve().read_bytes()
                # a console script of Python runs with the Python of its first line
                if text.startswith(b"#!") and b"python" in text.partition(b"\n")[0]:
                    script.write_bytes(b"#!" + self.python.encode() + b"\n" + text.partition(b"\n")[2])
                    script.chmod(0o755)
            elif name not in ("..", "__pycache__") and not (folder / name).exists():
                (folder / name).symlink_to(Path(distribution.locate_file(name)).resolve())


@pytest.fixture(scope="module")
def core(built, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("core"), built[0])


@pytest.fixture(scope="module")
def benchmark(built, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("benchmark"), built[0], "benchmark")


def test_its_needs_are_met_by_what_is_tried(core, benchmark):
    for environment in (core, benchmark):
        assert "No broken requirements" in environment.pip("check")


def test_the_library_runs_without_what_the_benchmark_needs(core, tmp_path):
    # the page's blocks form one program; those that need another library are left out
    blocks = re.findall(r"^```python\n(.*?)^```$", LIBRARY.read_text(), re.MULTILINE | re.DOTALL)
    own = [block for block in blocks if not re.search(r"torchvision|timm|transformers|onnx", block)]
    assert len(own) > 6
    found = f"""
from importlib.util import find_spec
assert [name for name in {NOT_IN_CORE} if find_spec(name)] == []
assert ll.__file__.startswith({str(Path(core.python).parents[1])!r}), ll.__file__
"""
    run(core.python, "-c", "\n".join([*own, found]), folder=tmp_path)
    assert (tmp_path / "ticket.safetensors").is_file()


def test_its_commands_name_the_extra_that_they_need(core):
    script = str(Path(core.python).with_name("layerlottery"))
    ran = subprocess.run([script, "--help"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.fullmatch(r"layerlottery: .*pip install 'layerlottery\[benchmark\]'\n", ran.stderr)


def test_a_benchmark_runs_in_a_folder_that_init_made(benchmark, tmp_path):
    programs = Path(benchmark.python).parent
    folder = tmp_path / "mine"
    said = run(str(programs / "layerlottery"), "init", str(folder), folder=tmp_path)
    assert f"cd {folder} && snakemake --cores all" in said
    training = TINY["training"] | {"epochs": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY | {"training": training}, sort_keys=False))
    run(str(programs / "snakemake"), "--cores", "2", folder=folder)
    assert (folder / "results" / "report" / "index.html").stat().st_size > 10_000
    told = run(str(programs / "layerlottery"), "summary", folder=folder)
    assert "l1" in told
    # the rules of an upgrade would be read there
    again = run(str(programs / "snakemake"), "--cores", "2", "--dry-run", folder=folder)
    assert "nothing to be done" in again.lower()
    metadata = run(benchmark.python, "-c", "import importlib.metadata as m; print(m.metadata('layerlottery'))")
    assert message_from_string(metadata)["Requires-Python"] == ">=3.11"
