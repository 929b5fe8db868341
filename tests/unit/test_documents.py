"""Files that repeat what the code says: generated ones are current, examples are valid."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from layerlottery import paths
from layerlottery.cli.reference import configuration_schema, data_dictionary
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.loading import load_benchmark
from layerlottery.config.overlay import completed
from layerlottery.config.stages import STAGES
from layerlottery.store.schemas import ABOUT, PAPER_TABLES, TABLES

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
BENCHMARKS = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))]
RULES = "\n".join(file.read_text() for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")))


def test_the_schema_file_is_current():
    assert SCHEMA.read_text() == configuration_schema(), (
        "run: layerlottery schema > workflow/schemas/config.schema.json"
    )


def test_the_catalogue_s_page_of_the_configuration_holds():
    page = (ROOT / "config" / "README.md").read_text()
    Benchmark.model_validate(yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]))
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "config" / link).exists(), link


def test_the_data_dictionary_is_current():
    path = ROOT / "docs" / "data_dictionary.md"
    assert path.read_text() == data_dictionary(), "run: layerlottery dictionary > docs/data_dictionary.md"


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_in_the_data_dictionary(table):
    section = data_dictionary().split(f"## {table}.parquet\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| \S.*? \| \S.* \|$", section, re.MULTILINE) == [
        column.name for column in TABLES[table]
    ]
    assert ABOUT[table].capitalize() in section


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_named_once_and_explained(table):
    names = [column.name for column in TABLES[table]]
    assert len(set(names)) == len(names)
    # a | would end the cell of the Markdown table
    assert all(column.meaning and "|" not in column.meaning for column in TABLES[table])


def test_names_of_tables_agree():
    # paths.TABLES stands apart because the Snakefile must not import pyarrow
    assert tuple(TABLES) == paths.TABLES
    assert tuple(PAPER_TABLES) == paths.PAPER
    assert {*TABLES, *PAPER_TABLES} == ABOUT.keys()


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_benchmarks_of_the_repository_are_valid(path):
    config = completed(yaml.safe_load(path.read_text()), path.parent)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(config)
    assert load_benchmark(config).runs()


def validator():
    schema = json.loads(configuration_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "change",
    [
        {"trainig": {}},
        {"training": {"epochs": 0}},
        {"training": {"epoch": 3}},
        {"training": {"schedule": "linear"}},
        {"studies": []},
        {"datasets": {"digits": {"source": "disk"}}},
        {"attack": {"epsilons": [-1.0]}},
        {"results": "out/{seed}"},
    ],
    ids=str,
)
def test_an_editor_sees_mistakes_with_the_schema(change):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert validator().is_valid(config)
    assert not validator().is_valid(config | change)


def test_the_schema_takes_a_change_to_a_criterion_and_sd():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"criteria": {"snip": {"batchnorm": "eval"}}, "statistics": {"xi": [1.0, "sd"]}, "report": {"xi": "sd"}}
    validator().validate(config)
    load_benchmark(config)


def test_every_setting_is_described():
    schema = json.loads(configuration_schema())
    for name, model in [("configuration", schema), *schema["$defs"].items()]:
        for key, field in model["properties"].items():
            assert field.get("description") or "const" in field, f"{name}.{key}"


def test_every_stage_of_the_rules_has_a_revision():
    used = set(re.findall(r'STAGES\["(\w+)"\].revision', RULES))
    assert used == STAGES.keys()
    assert all(stage.revision >= 1 for stage in STAGES.values())


def test_every_rule_that_computes_is_a_command_with_revision_and_log():
    from layerlottery.cli.main import cli

    for rule in re.split(r"^rule ", RULES, flags=re.MULTILINE)[1:]:
        rule = rule.split("\nuse rule ")[0]
        command = re.search(r'"(?:exec )?layerlottery (\w+) ', rule)[1]
        assert command in cli.commands
        assert f'revision=STAGES["{command}"].revision' in rule
        assert "--log {log:q}" in rule
        assert "run:" not in rule
        assert "script:" not in rule


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("paper_modern", {"learning_rate", "weight_decay"}), ("paper_sisters", {"weight_decay", "decayed"})],
)
def test_the_presets_of_the_paper_differ_in_the_recipe_alone(name, recipe):
    folder = ROOT / "workflow" / "presets"
    paper, other = (completed(yaml.safe_load((folder / f"{one}.yaml").read_text()), folder) for one in ("paper", name))
    assert {key for key in paper | other if paper.get(key) != other.get(key)} == {"results", "training", "report"}
    assert {key for key in other["training"] if paper["training"].get(key) != other["training"][key]} == recipe


@pytest.mark.parametrize("name", ["paper", "paper_modern", "paper_sisters", "cifar10_cpu"])
def test_the_presets_of_the_study_fill_every_table(name):
    path = ROOT / "workflow" / "presets" / f"{name}.yaml"
    benchmark = load_benchmark(yaml.safe_load(path.read_text()), path)
    filled = {table for study in benchmark.studies for table in study.fills}
    assert filled == {*paths.PAPER} - {"claims", *paths.CONNECTED}
    rewinds = {run.start_epoch / benchmark.training.epochs for run in benchmark.runs()}
    assert rewinds == {0, 25 / 200, 50 / 200, 75 / 200}


def test_every_promise_of_the_security_page_has_its_test():
    promised = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(promised) > 20
    assert [(file, name) for file, name in promised if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_make_help_lists_every_target_and_demo_comes_first():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^([a-z-]+) +\S", shown, re.MULTILINE) == targets
    assert re.search(r"^[a-z-]+:", makefile, re.MULTILINE)[0] == "demo:"
