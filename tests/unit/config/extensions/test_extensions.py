"""Functions of the user's own: finding, fingerprinting, loading and calling them, and what is said of mistakes."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from layerlottery.config.benchmark import load_benchmark
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.evaluation import AttackSettings
from layerlottery.config.extensions import load, load_trusted, trust
from layerlottery.config.networks import CustomSettings, NetworkSettings
from layerlottery.errors import Interrupted, LayerLotteryError

CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [
        {
            "name": "own",
            "datasets": ["digits"],
            "networks": ["resnet20"],
            "seeds": [0],
            "criteria": ["mine"],
            "removed": [1],
        }
    ],
}
CODE = "def score(model, blocks, batches, *, seed, scale=1.0):\n    return {'x': scale * seed}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)
    return tmp_path


@pytest.fixture
def package(tmp_path, monkeypatch, examples):
    """The example's package as pip lays one out: a module, and metadata that follow from its pyproject.toml."""
    project = tomllib.loads((examples / "package" / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    module = examples / "package" / "lottery_gradient_norm.py"
    (site / module.name).write_text(module.read_text())
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, each in project["entry-points"].items()
        for name, value in each.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(site)

    def release(version):
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n")

    release(project["version"])
    return release


def mine(**values):
    return CriterionSettings(**{"function": "mine.py:score"} | values)


def benchmark(**sections):
    return load_benchmark({**CONFIG, "criteria": {"mine": {"function": "mine.py:score"}}} | sections)


# fingerprints


def test_the_fingerprint_is_that_of_the_files_bytes(folder):
    assert mine().code == f"sha256:{hashlib.sha256(CODE.encode()).hexdigest()}"


def test_another_content_is_another_slice_and_another_path_too(folder):
    before = mine().slice()
    Path("mine.py").write_text(CODE + "# a comment")
    changed = mine().slice()
    Path("same.py").write_text(CODE)
    assert len({before, changed, mine(function="same.py:score").slice(), mine(options={"scale": 2}).slice()}) == 4
    Path("mine.py").write_text(CODE)
    assert mine().slice() == before


def test_the_settings_that_a_job_gets_keep_the_fingerprint(folder):
    sent = mine(options={"scale": 2}).slice()
    Path("mine.py").write_text(CODE + "# a comment")
    assert CriterionSettings.model_validate_json(sent).slice() == sent


def test_slices_and_facts_of_built_in_settings_say_nothing_of_code():
    assert CriterionSettings(function="snip", images_per_class=3).slice() == '{"function":"snip","images_per_class":3}'
    assert AttackSettings(attacks=["fgsm"]).slice() == '{"attacks":["fgsm"]}'
    assert NetworkSettings(depth=20).slice() == '{"depth":20}'
    for settings in (CriterionSettings(function="snip"), AttackSettings()):
        assert not {"code", "options", "custom"} & settings.model_dump(mode="json").keys()


def test_a_package_is_its_name_and_version(package):
    settings = CriterionSettings(function="gradient_norm")
    assert settings.code == "lottery-gradient-norm==1.0.0"
    package("1.1.0")
    assert CriterionSettings(function="gradient_norm").code == "lottery-gradient-norm==1.1.0"


def test_a_configuration_is_read_without_running_code_and_without_torch(folder):
    Path("mine.py").write_text(CODE + "raise SystemExit('it was run')")
    program = f"""
import sys
from layerlottery.config.benchmark import load_benchmark
from layerlottery.config.extensions import trust
made = load_benchmark({CONFIG | {"criteria": {"mine": {"function": "mine.py:score"}}}!r})
trust(*made.networks.values())
print(made.criterion("mine").code[:7], "torch" in sys.modules, "numpy" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["sha256:", "False", "False"]


# mistakes that the configuration shows


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("gone.py:score", "criteria.mine: function: gone.py: No such file or directory (working directory "),
        ("mine.py:scores", "criteria.mine: function: mine.py: no function 'scores'; it defines score"),
        ("broken.py:score", "criteria.mine: function: broken.py: not readable as Python (line 2: "),
        ("snpi", "function: found 'snpi'; allowed: a file and function as in my_code.py:name, or an entry point of "),
        ("mine:score", "function: found 'mine:score'; allowed: a file and function as in my_code.py:name"),
        ("", "criteria.mine: function: found ''; allowed: a file and function"),
        (3, "criteria.mine.function: found 3;"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(folder, function, expected):
    Path("broken.py").write_text("x = 1\ndef score(:\n")
    with pytest.raises(LayerLotteryError) as caught:
        benchmark(criteria={"mine": {"function": function}})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "from functools import partial\nscore = partial(print, 1)",
        "if True:\n    def score(): ...",
        "class score: ...",
        "import json as score",
        "from json import *",
        "with open('x') as score: ...",
        "score: int = 3",
        "async def score(): ...",
    ],
)
def test_every_way_to_define_a_name_counts(folder, code):
    Path("mine.py").write_text(code)
    assert mine().is_own


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"criteria": {"mine": {"function": "mine.py:score"}, "snip": {"function": "mine.py:score"}}},
            "criteria.snip: snip is built in; a function of your own needs another name",
        ),
        (
            {"networks": {"resnet20": {"family": "custom", "function": "mine.py:score"}}},
            "networks.resnet20: resnet20 is built in; a function of your own needs another name",
        ),
        (
            {"attack": {"custom": {"pgd": {"function": "mine.py:score"}}}},
            "attack: custom.pgd: is the name of a built-in attack; yours needs one of its own",
        ),
        (
            {"criteria": {"mine": {"function": "snip", "options": {"scale": 1}}}},
            "criteria.mine: options: snip is built in and takes none",
        ),
        (
            {"criteria": {"mine": {"function": "mine.py:score", "options": {"scale": float("nan")}}}},
            "criteria.mine.options: Out of range float values are not JSON compliant",
        ),
        (
            {"criteria": {"mine": {"function": "mine.py:score", "code": "anything"}}},
            "criteria.mine.code: found",
        ),
        ({"datasets": {"digits": {"source": "custom", "function": "mine.py:no"}}}, "no function 'no'"),
        ({"networks": {"own": {"family": "custom", "function": "mine.py:no"}}}, "networks.own: function: mine.py: no"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(folder, sections, expected):
    with pytest.raises(LayerLotteryError) as caught:
        benchmark(**sections)
    assert expected in str(caught.value)


def test_own_criteria_need_images_and_score_layers_alone(folder):
    study = CONFIG["studies"][0]
    assert benchmark().runs()
    with pytest.raises(LayerLotteryError, match="'mine' in a data-free study"):
        benchmark(studies=[study | {"data_free": True}])
    with pytest.raises(LayerLotteryError, match="'mine', which can't score filters"):
        benchmark(studies=[study | {"structures": ["filters"]}])


def test_two_packages_with_one_name_are_told_apart_by_none(package, tmp_path, monkeypatch):
    about = tmp_path / "other" / "another-2.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 2.0\n")
    (about / "entry_points.txt").write_text("[layerlottery.criteria]\ngradient_norm = another:score\n")
    monkeypatch.syspath_prepend(tmp_path / "other")
    with pytest.raises(ValueError, match="several packages bring: ") as caught:
        CriterionSettings(function="gradient_norm")
    assert "another==2.0" in str(caught.value)
    assert "lottery-gradient-norm==1.0.0" in str(caught.value)


def test_the_message_lists_what_is_installed(package):
    with pytest.raises(ValueError, match=r"an entry point of layerlottery\.criteria: gradient_norm; built in: cka, "):
        CriterionSettings(function="gradient")


# options


def test_options_that_came_as_text_are_numbers():
    pairs = {"a": "1e-4", "b": "true", "c": ["2", "x"], "d": {"e": "null", "f": "1.5"}, "g": 3}
    expected = {"a": 1e-4, "b": True, "c": [2, "x"], "d": {"e": None, "f": 1.5}, "g": 3}
    settings = mine(code="name==1", options=pairs)
    assert settings.options == expected
    assert CriterionSettings.model_validate_json(settings.slice()).options == expected


# loading and calling


def test_a_loaded_function_gets_its_options(folder):
    assert load(mine(options={"scale": 3.0}))(None, [], [], seed=2) == {"x": 6.0}


def test_a_packages_function_is_loaded(package):
    function = load(CriterionSettings(function="gradient_norm"))
    assert function.function.__module__ == "lottery_gradient_norm"
    assert function.where == "gradient_norm (lottery-gradient-norm==1.0.0)"


@pytest.mark.parametrize("back", [False, True])
def test_a_file_that_changed_in_between_is_refused(folder, back):
    settings = mine()
    Path("mine.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(LayerLotteryError, match=r"^mine\.py:score: was changed after this was read; run the same"):
        load(settings)
    if back:
        Path("mine.py").write_text(CODE)
        assert load(settings)(None, [], [], seed=1) == {"x": 1.0}


def test_a_package_that_changed_in_between_is_refused(package):
    settings = CriterionSettings(function="gradient_norm")
    package("2.0.0")
    with pytest.raises(LayerLotteryError, match=r"gradient_norm: was changed after lottery-gradient-norm==1\.0\.0 was"):
        load(settings)


def test_what_runs_is_what_was_hashed_and_no_older_compiled_file(folder):
    import os
    import py_compile

    Path("mine.py").write_text(CODE.replace("scale * seed", "'old'"))
    stamp = Path("mine.py").stat().st_mtime
    py_compile.compile("mine.py")
    Path("mine.py").write_text(CODE.replace("scale * seed", "'new'"))
    os.utime("mine.py", (stamp, stamp))
    assert load(mine())(None, [], [], seed=1) == {"x": "new"}


def test_a_module_is_executed_once_and_knows_itself(folder):
    Path("mine.py").write_text(
        "from __future__ import annotations\nimport dataclasses, pathlib\ncalls = []\n"
        "@dataclasses.dataclass\nclass Kept:\n    one: int\n"
        "def score(model, blocks, batches, *, seed):\n"
        "    calls.append(Kept(seed))\n    return {'calls': len(calls), 'file': pathlib.Path(__file__).name}\n"
    )
    assert [load(mine())(None, [], [], seed=seed)["calls"] for seed in (0, 1)] == [1, 2]
    assert load(mine())(None, [], [], seed=0)["file"] == "mine.py"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("score = 3", "mine.py:score: found int; allowed is a function"),
        ("import nothing_of_this_name as score", "mine.py: importing it raised ModuleNotFoundError: No module named"),
        ("from json import *", "mine.py: no function 'score'"),
        (
            "def score(model, blocks): ...",
            "mine.py:score: can't be called with 3 values, seed=, scale=: too many positional arguments",
        ),
        (
            "def score(model, blocks, batches, *, seed): ...",
            "mine.py:score: can't be called with 3 values, seed=, scale=: got an unexpected keyword argument 'scale'",
        ),
        (
            "def inner():\n    raise KeyError('a\\nb')\ndef score(*_, **__):\n    x = 1\n    inner()",
            "mine.py:score: raised KeyError: 'a\\nb' (line 2)",
        ),
        (
            "def score(*_, **__):\n    import json\n    json.loads('x')",
            "mine.py:score: raised JSONDecodeError: Expecting",
        ),
        ("def score(*_, **__):\n    exit(3)", "mine.py:score: raised SystemExit: 3 (line 2)"),
        ("def score(*_, **__):\n    raise ValueError", "mine.py:score: raised ValueError (line 2)"),
        ("def score(*_, **__):\n    raise ValueError('first\\nsecond')", "raised ValueError: first second (line 2)"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(folder, code, expected):
    Path("mine.py").write_text(code)
    with pytest.raises(LayerLotteryError) as caught:
        load(mine(options={"scale": 1}))(None, [], [], seed=0)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_of_an_error_far_down_is_that_of_the_users_file(folder):
    Path("mine.py").write_text("def score(*_, **__):\n    import json\n\n    json.loads('x')")
    with pytest.raises(LayerLotteryError, match=r"\(line 4\)$"):
        load(mine())(None, [], [], seed=0)


def test_an_interruption_is_no_error_of_the_users_code(folder):
    Path("mine.py").write_text(
        "from layerlottery.errors import Interrupted\ndef score(*_, **__):\n    raise Interrupted('saved')"
    )
    with pytest.raises(Interrupted):
        load(mine())(None, [], [], seed=0)


# trust


def test_code_that_only_a_file_of_results_names_is_not_run(folder):
    Path("mine.py").write_text("raise SystemExit('it was run')\ndef build(): ...")
    settings = CustomSettings(family="custom", function="mine.py:build")
    with pytest.raises(LayerLotteryError, match=r"^found mine\.py:build, code that the config") as caught:
        load_trusted(settings)
    assert f"export LAYERLOTTERY_TRUSTED='{settings.code}'" in str(caught.value)


def test_code_of_the_configuration_is_run_until_it_changes(folder):
    Path("mine.py").write_text("def build():\n    return 5")
    settings = CustomSettings(family="custom", function="mine.py:build")
    trust(NetworkSettings(depth=20), settings)
    assert load_trusted(settings)() == 5
    Path("mine.py").write_text("def build():\n    return 6")
    with pytest.raises(LayerLotteryError, match="was changed after this was read"):
        load_trusted(settings)
    with pytest.raises(LayerLotteryError, match="code that the configuration does not name"):
        load_trusted(CustomSettings(family="custom", function="mine.py:build"))
