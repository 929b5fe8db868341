"""The page docs/extending.md: its files are those of the examples, its snippets are valid."""

import json
import re

import jsonschema
import pytest
import yaml
from tests.unit.config.extensions.conftest import EXAMPLES, ROOT, told

from layerlottery.cli.reference import configuration_schema
from layerlottery.config.loading import load_benchmark


@pytest.fixture
def config(monkeypatch):
    monkeypatch.chdir(ROOT)
    return yaml.safe_load((EXAMPLES / "benchmark.yaml").read_text())


def blocks(language):
    page = (ROOT / "docs" / "extending.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_files_of_the_examples():
    files = [*EXAMPLES.rglob("*.py"), *EXAMPLES.rglob("*.toml")]
    assert sorted(blocks("python") + blocks("toml")) == sorted(file.read_text() for file in files)


def test_the_snippets_are_valid_together(config):
    *snippets, packaged = map(yaml.safe_load, blocks("yaml"))
    assert [next(iter(one)) for one in snippets] == ["criteria", "networks", "datasets", "attack"]
    assert all(load_benchmark(config | snippet).runs() for snippet in snippets)
    assert packaged["criteria"]["gradients"]["function"] in blocks("toml")[0]
    assert "found 'gradient_norm'; allowed: a file and function" in told(load_benchmark, config | packaged)


def test_the_examples_benchmark_fits_the_schema(config):
    jsonschema.Draft202012Validator(json.loads(configuration_schema())).validate(config)
    made = load_benchmark(config)
    assert (len(made.runs()), made.criterion("influence").is_own, made.network("mixer").family) == (10, True, "custom")
