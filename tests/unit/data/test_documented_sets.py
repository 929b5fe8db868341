"""Every snippet of docs/data.md is a valid image set, and says what its section promises."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from layerlottery.config.data import Dataset

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
SNIPPETS = [yaml.safe_load(one) for one in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]
SETS = [(name, given) for snippet in SNIPPETS for name, given in snippet.items()]


def test_no_snippet_is_passed_over():
    assert len(SNIPPETS) == TEXT.count("```") / 2
    assert all(len(snippet) == 1 for snippet in SNIPPETS)


@pytest.mark.parametrize(("name", "given"), SETS, ids=[f"{name}-{given['source']}" for name, given in SETS])
def test_a_snippet_is_an_image_set(name, given):
    held = TypeAdapter(Dataset).validate_python(given)
    assert held.model_dump(mode="json").items() >= given.items()


def test_the_sets_of_the_field_are_there_in_every_form():
    found = {(name, given["source"]) for name, given in SETS}
    both = {(name, source) for name in ("tinyimagenet", "imagenet", "svhn") for source in ("parquet", "folder")}
    assert found >= both | {(name, source) for name in ("cifar100", "svhn") for source in ("parquet", "torchvision")}
