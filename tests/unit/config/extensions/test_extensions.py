"""Functions of the user's own: found and fingerprinted without being run, loaded, called, trusted."""

import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.unit.config.extensions.conftest import EXAMPLES, told

from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.evaluation import AttackSettings
from layerlottery.config.extensions import TRUSTED, UntrustedCodeError, load, load_trusted, trust
from layerlottery.config.loading import load_benchmark
from layerlottery.config.networks import CustomSettings, NetworkSettings
from layerlottery.errors import Interrupted
from layerlottery.networks.weights import dense_architecture, load_network
from layerlottery.store.artifacts import write_tensors

CHOICES = {"datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["mine"], "removed": [1]}
STUDY = CHOICES | {"name": "own"}
CODE = "def own(model, blocks, batches, *, seed, scale=1.0):\n    return {'x': scale * seed}\n"
MINE = {"function": "mine.py:own"}
CONFIG = {"datasets": {"digits": {"source": "digits"}}, "studies": [STUDY], "criteria": {"mine": MINE}}


@pytest.fixture(autouse=True)
def mine(write):
    write(CODE)
    return Path("mine.py")


def criterion(function="mine.py:own", **values):
    return CriterionSettings(function=function, **values)


def called(settings):
    return load(settings)(None, [], [], seed=2)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The example's package as pip lays it out, from its pyproject.toml; call it to release another version."""
    project = tomllib.loads((EXAMPLES / "package" / "pyproject.toml").read_text())["project"]
    shutil.copy(EXAMPLES / "package" / "lottery_gradient_norm.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lottery_gradient_norm", raising=False)
    ((group, points),) = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]

    def release(version, name=project["name"]):
        about = tmp_path / f"{name.replace('-', '_')}-0.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (about / "entry_points.txt").write_text("\n".join(lines).replace("=", "= x." if name == "another" else "="))

    release(project["version"])
    return release


# fingerprints


def test_the_fingerprint_is_of_the_files_bytes_and_a_job_gets_it_with_the_settings(mine):
    before = criterion()
    assert before.code == f"sha256:{hashlib.sha256(CODE.encode()).hexdigest()}"
    Path("same.py").write_text(CODE)
    mine.write_text(CODE + "# a comment")
    others = [criterion(), criterion("same.py:own"), criterion(options={"scale": 2})]
    assert len({one.slice() for one in (before, *others)}) == 4
    assert CriterionSettings.model_validate_json(before.slice()) == before


def test_slices_and_facts_of_built_in_settings_say_nothing_of_code():
    assert criterion("snip", images_per_class=3).slice() == '{"function":"snip","images_per_class":3}'
    assert AttackSettings(attacks=["fgsm"]).slice() == '{"attacks":["fgsm"]}'
    assert NetworkSettings(depth=20).slice() == '{"depth":20}'
    for settings in (criterion("snip"), AttackSettings()):
        assert not {"code", "options", "custom"} & settings.model_dump(mode="json").keys()


def test_a_package_is_its_name_and_version(package):
    settings = criterion("gradient_norm")
    assert settings.code == "lottery-gradient-norm==1.0.0"
    loaded = load(settings)
    assert loaded.function.__module__ == "lottery_gradient_norm"
    assert loaded.where == "gradient_norm (lottery-gradient-norm==1.0.0)"
    package("1.1.0")
    assert criterion("gradient_norm").code == "lottery-gradient-norm==1.1.0"
    assert "gradient_norm: was changed after lottery-gradient-norm==1.0.0 was" in told(load, settings)


def test_a_package_that_is_missing_broken_or_not_alone(package):
    with pytest.raises(
        ValueError, match=r"an entry point of layerlottery\.criteria: gradient_norm; built in: angular, "
    ):
        criterion("gradient")
    Path("lottery_gradient_norm.py").write_text("raise SystemExit(3)")
    assert re.search(
        r"==1\.0\.0\): importing lottery\S+:score raised SystemExit: 3$", told(load, criterion("gradient_norm"))
    )
    package("2.0", "another")
    with pytest.raises(ValueError, match="several packages bring: ") as caught:
        criterion("gradient_norm")
    assert all(one in str(caught.value) for one in ("another==2.0", "lottery-gradient-norm==1.0.0"))


def test_a_configuration_is_read_without_running_code_and_without_torch(mine):
    mine.write_text(CODE + "raise SystemExit('it was run')")
    program = f"""
import sys
from layerlottery.config.loading import load_benchmark
from layerlottery.config.extensions import trust
made = load_benchmark({CONFIG!r})
trust(*made.networks.values())
print(made.criterion("mine").code[:7], "torch" in sys.modules, "numpy" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["sha256:", "False", "False"]


# mistakes that the configuration shows

BUILT_IN = "is built in; a function of your own needs another name"


def changed(**values):
    return {"criteria": {"mine": MINE | values}}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (changed(function="gone.py:own"), "criteria.mine: function: gone.py: No such file or directory (working dir"),
        (changed(function="mine.py:score"), "criteria.mine: function: mine.py: no function 'score'; it defines own"),
        (changed(function="broken.py:own"), "criteria.mine: function: broken.py: not readable as Python (line 2: "),
        (changed(function="snpi"), "function: found 'snpi'; allowed: a file and function as in my_code.py:name, or an"),
        (changed(function="mine:own"), "function: found 'mine:own'; allowed: a file and function as in my_code.py:nam"),
        (changed(function=""), "criteria.mine: function: found ''; allowed: a file and function"),
        (changed(function=3), "criteria.mine.function: found 3;"),
        (changed(function="snip", options={"scale": 1}), "criteria.mine: options: snip is built in and takes none"),
        (changed(options={"x": float("nan")}), "criteria.mine.options: Out of range float values are not JSON"),
        (changed(code="anything"), "criteria.mine.code: found"),
        ({"criteria": {"mine": MINE, "snip": MINE}}, f"criteria.snip: snip {BUILT_IN}"),
        ({"networks": {"resnet20": MINE | {"family": "custom"}}}, f"networks.resnet20: resnet20 {BUILT_IN}"),
        ({"networks": {"n": {"family": "custom", "function": "mine.py:x"}}}, "networks.n: function: mine.py: no func"),
        ({"datasets": {"digits": {"source": "custom", "function": "mine.py:x"}}}, "no function 'x'"),
        ({"attack": {"custom": {"pgd": MINE}}}, "attack: custom.pgd: is the name of a built-in attack; yours needs"),
        ({"studies": [STUDY | {"data_free": True}]}, "'mine' in a data-free study"),
        ({"studies": [STUDY | {"structures": ["filters"]}]}, "'mine', which can't score filters"),
    ],
)
def test_what_is_not_there_or_not_allowed_is_said_in_one_line(sections, expected):
    Path("broken.py").write_text("x = 1\ndef own(:\n")
    assert load_benchmark(CONFIG).runs()
    assert expected in told(load_benchmark, CONFIG | sections)


@pytest.mark.parametrize(
    "code",
    [
        *("from functools import partial\nown = partial(print, 1)", "if True:\n    def own(): ...", "class own: ..."),
        *("import json as own", "from json import *", "with open('x') as own: ...", "own: int = 3"),
        *("@run\nasync def own(): ...", "import own.inner", "own = None\ndef own(): ..."),
    ],
)
def test_every_way_to_define_a_name_counts(mine, code):
    mine.write_text(code)
    assert criterion().is_own


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("own = 3", "a plain value"),
        ("def own(): ...\nown = {'a': 1}", "a plain value"),
        ("async def own(*_, seed): ...", "async"),
        ("def own(): ...\nasync def own(): ...", "async"),
    ],
)
def test_a_name_that_can_not_be_called_is_known_before_any_work(mine, code, found):
    mine.write_text(code)
    config = CONFIG | {"criteria": {"mine": {"function": "mine.py:own"}}}
    assert f"function: mine.py: own is {found}; allowed: a function, def own(" in told(load_benchmark, config)


def test_options_that_came_as_text_are_numbers():
    pairs = {"a": "1e-4", "b": "true", "c": ["2", {"x": "7"}], "d": {"e": "null", "f": "1.5"}, "g": 3}
    expected = {"a": 1e-4, "b": True, "c": [2, {"x": 7}], "d": {"e": None, "f": 1.5}, "g": 3}
    settings = criterion(code="name==1", options=pairs)
    assert settings.options == expected
    assert CriterionSettings.model_validate_json(settings.slice()).options == expected


# loading and calling


def test_a_file_that_changed_in_between_is_refused_until_it_is_as_it_was(mine):
    settings = criterion(options={"scale": 3.0})
    mine.write_text("raise SystemExit('it was run')")
    assert told(load, settings).startswith("mine.py:own: was changed after this was read; run the same")
    mine.unlink()
    assert told(load, settings).startswith("function: mine.py: No such file")
    mine.write_text(CODE)
    assert called(settings) == {"x": 6.0}


def test_what_runs_is_what_was_hashed_and_no_older_compiled_file(mine):
    mine.write_text(CODE.replace("scale * seed", "'old'"))
    stamp = mine.stat().st_mtime
    py_compile.compile("mine.py")
    mine.write_text(CODE.replace("scale * seed", "'new'"))
    os.utime(mine, (stamp, stamp))
    assert called(criterion()) == {"x": "new"}


def test_a_module_is_executed_once_and_knows_itself(mine):
    mine.write_text(
        "from __future__ import annotations\nimport dataclasses, pathlib\ncalls = []\n"
        "@dataclasses.dataclass\nclass Kept:\n    one: int\n"
        "def own(model, blocks, batches, *, seed):\n"
        "    calls.append(Kept(seed))\n    return len(calls), pathlib.Path(__file__).name"
    )
    assert [called(criterion()) for _ in range(2)] == [(1, "mine.py"), (2, "mine.py")]


OWN = "def own(*_, **__):\n    "


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("own: int = 3", r"^mine\.py:own: found int; allowed: a function$"),
        ("async def other(*_): ...\nown = other", r"^mine\.py:own: found an async function; allowed: a plain one$"),
        ("import nothing_of_this_name as own", r"^mine\.py: importing it raised ModuleNotFoundError: .* \(line 1\)$"),
        ("from json import *", r"^function: mine\.py: no function 'own'$"),
        ("def own(model, blocks): ...", r"^mine\.py:own: can't be called with 3 values, seed=, scale=: too many posi"),
        ("def own(*_, seed): ...", r"can't be called with 3 values, seed=, scale=: got an .* argument 'scale'$"),
        ("own = max", r"^mine\.py:own: raised TypeError: [^()]*for max\(\)$"),
        ("def f():\n    {}['a\\nb']\n" + OWN + "f()", r"^mine\.py:own: raised KeyError: 'a\\nb' \(line 2\)$"),
        (OWN + "import json\n    json.loads('x')", r"^mine\.py:own: raised JSONDecodeError: .* \(line 3\)$"),
        (OWN + "exit(3)", r"^mine\.py:own: raised SystemExit: 3 \(line 2\)$"),
        (OWN + "raise ValueError", r"^mine\.py:own: raised ValueError \(line 2\)$"),
        (OWN + "raise ValueError('a\\nb')", r"^mine\.py:own: raised ValueError: a b \(line 2\)$"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(mine, code, expected):
    mine.write_text(code)
    assert re.search(expected, told(called, criterion(options={"scale": 1})))


def test_an_interruption_is_no_error_of_the_users_code(mine):
    mine.write_text("from layerlottery.errors import Interrupted\n" + OWN + "raise Interrupted('saved')")
    with pytest.raises(Interrupted):
        called(criterion())


# trust


def test_code_that_only_a_file_of_results_names_is_not_run_until_the_configuration_names_it(mine):
    mine.write_text("def own():\n    return 5")
    settings = CustomSettings(family="custom", function="mine.py:own")
    trust(NetworkSettings(depth=20))
    with pytest.raises(
        UntrustedCodeError, match=r"^found mine\.py:own, code that the configuration does not"
    ) as caught:
        load_trusted(settings)
    exported = re.search(rf"to run it nevertheless: export {TRUSTED}='([0-9a-f]{{64}})'$", str(caught.value))
    trust(criterion(), NetworkSettings(depth=20), settings, settings)
    # the criterion of the same file, whose settings no weights file holds, is another call
    assert os.environ[TRUSTED].split()[1:] == [exported[1]]
    assert load_trusted(settings)() == 5
    mine.write_text("raise SystemExit('it was run')\ndef own(): ...")
    assert "was changed after this was read" in told(load_trusted, settings)
    changed = CustomSettings(family="custom", function="mine.py:own")
    assert "code that the configuration does not name" in told(load_trusted, changed)


# a file that holds more than the function that the configuration names, as a stranger's weights file would like it
SEVERAL = """
from pathlib import Path

def build(*, channels, classes, image_size, width=4, path=None):
    from torch import nn
    if path:
        Path(path).touch()
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))

def other(*, channels, classes, image_size, **options):
    Path("ran").touch()

class Sub:
    def __init__(self, **given):
        Path("ran").touch()
"""


def network(function="build", **options):
    return CustomSettings(family="custom", function=f"mine.py:{function}", options=options)


@pytest.mark.parametrize(
    "stranger",
    [("other", {}), ("Sub", {}), ("Path", {}), ("build", {"path": "ran"}), ("build", {"width": 5}), ("build", {})],
)
def test_a_file_of_results_may_ask_for_the_configured_call_and_for_no_other(mine, stranger):
    mine.write_text(SEVERAL)
    trust(network(width=4))
    assert load_trusted(network(width=4)).function.__name__ == "build"
    said = told(load_trusted, network(stranger[0], **stranger[1]))
    assert said.startswith(f"found mine.py:{stranger[0]}")
    assert "code that the configuration does not name" in said
    assert ("with options" in said) == bool(stranger[1])
    assert not Path("ran").exists()


def test_the_same_text_in_another_file_is_not_trusted(mine):
    trust(network("own"))
    Path("copy.py").write_text(CODE)
    copied = CustomSettings(family="custom", function="copy.py:own")
    assert copied.code == network("own").code
    assert "code that the configuration does not name" in told(load_trusted, copied)


def test_a_weights_file_with_another_function_of_the_trusted_file_is_refused(mine):
    mine.write_text(SEVERAL)
    trust(network())
    for held in (network("other"), network(path="ran")):
        architecture = dense_architecture(held, channels=1, classes=2, image_size=8)
        write_tensors(Path("theirs.safetensors"), {}, {"architecture": architecture}, config_hash="0")
        assert told(load_network, Path("theirs.safetensors")).startswith(f"theirs.safetensors: found {held.function}")
    assert not Path("ran").exists()
