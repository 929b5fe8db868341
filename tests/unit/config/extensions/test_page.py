"""The page docs/extending.md: its files are those of the examples, its snippets are valid."""

import json
import re

import jsonschema
import pytest
import torch
import yaml

import layerlottery
from layerlottery.cli.reference import configuration_schema
from layerlottery.config.benchmark import load_benchmark
from layerlottery.networks.blocks import find_blocks

ENTRY_POINT = "criteria"


@pytest.fixture
def root(examples, monkeypatch):
    monkeypatch.chdir(examples.parents[1])
    return examples.parents[1]


def blocks(root, language):
    page = (root / "docs" / "extending.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_files_of_the_examples(root, examples):
    shown = blocks(root, "python") + blocks(root, "toml")
    files = [*examples.rglob("*.py"), *examples.rglob("*.toml")]
    assert sorted(shown) == sorted(file.read_text() for file in files)


def test_the_snippets_are_valid_together(root):
    config = yaml.safe_load((root / "docs" / "examples" / "benchmark.yaml").read_text())
    snippets = [yaml.safe_load(text) for text in blocks(root, "yaml")]
    assert [next(iter(one)) for one in snippets] == ["criteria", "networks", "datasets", "attack", ENTRY_POINT]
    for snippet in snippets[:-1]:
        assert load_benchmark(config | snippet).runs()
    (entry,) = snippets[-1][ENTRY_POINT].values()
    assert entry["function"] in blocks(root, "toml")[0]
    with pytest.raises(layerlottery.LayerLotteryError, match="found 'gradient_norm'; allowed: a file and function"):
        load_benchmark(config | snippets[-1])


def test_the_examples_benchmark_fits_the_schema(root):
    config = yaml.safe_load((root / "docs" / "examples" / "benchmark.yaml").read_text())
    jsonschema.Draft202012Validator(json.loads(configuration_schema())).validate(config)
    made = load_benchmark(config)
    assert (len(made.runs()), made.criterion("influence").is_own, made.network("mixer").family) == (10, True, "custom")


def test_the_library_takes_the_criterion_as_it_is(example):
    model = example("network").build(channels=1, classes=4, image_size=16, width=8, depth=3).eval()
    batch = torch.rand(6, 1, 16, 16), torch.arange(6) % 4
    found = layerlottery.score(model, batch, criterion=example("criterion").influence)
    names = list(find_blocks(model, batch[0]))
    expected = example("criterion").influence(model, list(find_blocks(model, batch[0]).values()), [batch], seed=0)
    assert list(found) == names
    assert found == pytest.approx(expected)
