"""What the documents show can be typed: Python runs, YAML fits the schema, commands and their options exist."""

import ast
import json
import re
import shutil
import tomllib
from functools import cache

import click
import jsonschema
import pytest
import yaml
from tests.unit.pages import DOCS, NAMES, ROOT, blocks, commands, spoken

from layerlottery.cli.main import cli
from layerlottery.cli.reference import configuration_schema

LANGUAGES = {"python", "snakemake", "yaml", "bash", "toml", "bibtex", "text"}
# pages with a test of their own that runs their Python
ELSEWHERE = {
    "docs/extending.md": "tests/unit/config/extensions/test_page.py",
    "docs/library.md": "tests/unit/test_library_page.py",
    **{f"docs/recipes/{path.name}": "tests/unit/test_recipes.py" for path in DOCS.glob("recipes/*.md")},
}
# the site begins as README does: test_site.py compares them
PROGRAMS = [name for name in NAMES if blocks(name, "python") and name not in {*ELSEWHERE, "docs/index.md"}]
# programs of others
OTHERS = {"cat", "cd", "eval", "git", "rsync", "screen", "source", "tensorboard", "$EDITOR"}
OTHERS |= {"docker", "apptainer", "wandb", "pre-commit", ".venv/bin/pre-commit", ".ci/run"}


@pytest.mark.parametrize("page", NAMES)
def test_languages_are_known(page):
    assert [one.place for one in blocks(page) if one.language not in LANGUAGES] == []


@pytest.mark.parametrize("page", PROGRAMS)
def test_its_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a finished benchmark, for those that read its tables
    shutil.copytree(ROOT / "docs" / "demo" / "tables", tmp_path / "results" / "tables")
    exec(compile("\n".join(one.text for one in blocks(page, "python")), page, "exec"), {})  # noqa: S102


def test_other_pages_have_a_test_of_their_own():
    pages = {name: test for name, test in ELSEWHERE.items() if name in NAMES}
    assert len(pages) >= 2
    # by name, or all of its folder
    assert [name for name, test in pages.items() if not named(name, (ROOT / test).read_text())] == []


def named(page: str, test: str) -> bool:
    folder, _, name = page.removeprefix("docs/").rpartition("/")
    return name in test or (bool(folder) and f'"{folder}"' in test)


ENTRIES = ("datasets", "networks", "criteria")


@cache
def validators():
    """Of a part of a configuration, and of one entry under datasets, networks or criteria."""
    whole = json.loads(configuration_schema()) | {"required": []}
    entries = [next(iter(whole["properties"][key]["patternProperties"].values())) for key in ENTRIES]
    both = whole, {"$defs": whole["$defs"], "anyOf": entries}
    return [jsonschema.Draft202012Validator(one) for one in both]


@pytest.mark.parametrize("page", [name for name in NAMES if blocks(name, "yaml")])
def test_its_yaml_is_a_configuration_or_a_part_of_one(page):
    part, entry = validators()
    for block in blocks(page, "yaml"):
        held = yaml.safe_load(block.text)
        assert held, block.place
        if held.keys() <= part.schema["properties"].keys():
            part.validate(held)
        else:
            for one in held.values():
                entry.validate(one)


def test_a_mistake_in_yaml_is_seen():
    part, entry = validators()
    assert not entry.is_valid({"depht": 32})
    assert not part.is_valid({"training": {"epoch": 3}})
    assert part.is_valid({"training": {"epochs": 3}})


@pytest.mark.parametrize("page", NAMES)
def test_its_commands_exist(page):
    assert [told for block in blocks(page, "bash") for words in commands(block.text) if (told := wrong(words))] == []


@pytest.mark.parametrize("page", NAMES)
def test_commands_in_its_text_exist(page):
    assert [told for words in spoken(page) if (told := wrong(words, whole=False))] == []


@pytest.mark.parametrize(
    "words",
    [
        "layerlottery sumary",
        "layerlottery summary --result x",
        "layerlottery train --schedule linear",
        "layerlottery export",
        "snakemake --core 2",
        "snakemake --cores 2 --configfile workflow/presets/papers.yaml",
        "make demos",
        "python benchmarks/sped.py",
        "python benchmarks/headline.py --result x",
        "python -c 'import'",
        "pip install .[slrum]",
        "pytest tests/unit/test_nothing.py",
        "frobnicate",
    ],
)
def test_a_wrong_command_is_seen(words):
    assert wrong(next(commands(words)))


def wrong(words: list[str], *, whole: bool = True) -> str:
    """What is wrong with a command; nothing, if it can be typed. `whole`: all that it needs is there."""
    program, *given = words
    check = {
        "layerlottery": lambda: of_ours(given, whole=whole and not any("…" in word for word in given)),
        "snakemake": lambda: of_snakemake(given),
        "make": lambda: of_make(given),
        "python": lambda: of_python(given),
        "pip": lambda: of_pip(given),
        "pytest": lambda: " ".join(one for one in given if one.startswith("tests/") and not (ROOT / one).exists()),
    }.get(program)
    told = check() if check else "" if program in OTHERS else "unknown program"
    return f"{' '.join(words)}: {told}" if told else ""


def of_ours(given: list[str], *, whole: bool) -> str:
    if not given or given[0].startswith("-") or given[0].isupper():
        return ""
    command = cli.commands.get(given[0])
    if command is None:
        return "no such command"
    context = click.Context(command, info_name=given[0])
    try:
        found, _, order = command.make_parser(context).parse_args(given[1:])
        for parameter in order:
            value = found.get(parameter.name)
            if isinstance(parameter.type, click.Choice | click.IntRange | click.FloatRange) and isinstance(value, str):
                parameter.type.convert(value, parameter, context)
    except click.UsageError as error:
        return error.format_message()
    needed = [one.opts[0] for one in command.params if one.required and found.get(one.name) in (None, ())]
    return f"lacks {needed}" if whole and needed and "--help" not in given else ""


@cache
def snakemake_parser():
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


def of_snakemake(given: list[str]) -> str:
    # executors and storages are plugins, which are not all installed
    known = {option for action in snakemake_parser()._actions for option in action.option_strings}
    options = [word.partition("=")[0] for word in given if re.match(r"--?[a-z]", word)]
    unknown = [one for one in options if one not in known and one != "--default-storage-prefix"]
    files = [word for word in given if re.match(r"(workflow|docs)/", word) and not (ROOT / word).exists()]
    settings = [given[place + 1] for place, word in enumerate(given[:-1]) if word == "--config"]
    bad = [one for one in settings if not settable(one)]
    return " ".join([*unknown, *files, *bad])


def settable(setting: str) -> bool:
    key, _, value = setting.partition("=")
    part, _ = validators()
    # of a set, a part of the settings is laid over the file's
    known = key in part.schema["properties"]
    return known and (key in ENTRIES or part.is_valid({key: yaml.safe_load(value)}))


def of_make(given: list[str]) -> str:
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return " ".join(one for one in given if one not in targets and not one.isupper())


def of_python(given: list[str]) -> str:
    if given[0] == "-c":
        try:
            ast.parse(given[1])
        except SyntaxError as error:
            return str(error)
        return ""
    script = ROOT / given[0]
    if not script.is_file():
        return "no such file"
    source = (
        "".join(path.read_text() for path in script.parent.glob("*.py")) if whole_folder(script) else script.read_text()
    )
    return " ".join(one for one in given if one.startswith("--") and f'"{one}"' not in source)


def whole_folder(script) -> bool:
    """Whether a script takes its options from a file beside it."""
    return "add_argument" not in script.read_text()


def of_pip(given: list[str]) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"^(?:layerlottery|\.)\[([\w,]+)\]", "\n".join(given), re.MULTILINE)
    named = {one for found in extras for one in found.split(",")}
    return " ".join(named - project["optional-dependencies"].keys())
