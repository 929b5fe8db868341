"""Recipes: what tells networks apart that are not comparable, and what does not; settings side by side."""

import shutil

import pytest
from tests.unit.report.folders import CONFIGURATION, finished

from layerlottery.errors import LayerLotteryError
from layerlottery.report.submission import changes, differing, read_submission, read_submissions, recipe, recipe_hash

SMALL = {"criteria": ("random", "snip"), "removed": (1,), "kinds": (), "fills": (), "similar": False}
GROUP = ("digits", "resnet32")
TRAINED = '{"epochs": 12, "precision": "auto", "compile": "auto"}'


@pytest.fixture(scope="module")
def copied(make, tmp_path_factory):
    """Writes the same tables again."""
    tables = make(tmp_path_factory.mktemp("held") / "tables", **SMALL)
    return lambda folder: shutil.copytree(tables, folder)


@pytest.fixture
def hashed(copied, tmp_path):
    """The hash of the recipe of a folder with such columns of runs and such a configuration."""

    def hash_of(name, columns=(), **configuration):
        own = {"training_settings": TRAINED} | dict(columns)
        folder = finished(copied, tmp_path / name, columns={"runs": own}, **configuration)
        return recipe_hash(recipe(read_submission(folder, name), GROUP))

    return hash_of


def digits(**settings):
    return {"datasets": {"digits": {"source": "digits"} | settings}}


def test_what_makes_another_recipe(hashed):
    plain = hashed("plain")
    others = {
        "epochs": hashed("epochs", {"training_settings": TRAINED.replace("12", "13")}),
        "computed in": hashed("precision", {"precision": "bfloat16"}),
        "held out": hashed("held out", **digits(held_out=10)),
        "split": hashed("split", **digits(sample_seed=1)),
        "images": hashed("images", {"train_images": 99}),
        "network": hashed("network", networks={"resnet32": {"depth": 32, "width": 8}}),
    }
    assert len({plain, *others.values()}) == 1 + len(others)


def test_what_does_not(hashed):
    others = [
        hashed("compile", {"training_settings": TRAINED.replace('"compile": "auto"', '"compile": "never"')}),
        hashed("asked", {"training_settings": TRAINED.replace('"precision": "auto"', '"precision": "float32"')}),
        hashed("machine", {"device": "another", "train_seconds": 1.0, "torch_version": "9"}),
        hashed("shifted", **digits(shifted=[])),
        hashed("location", **digits(official={"location": "elsewhere"})),
        hashed("title", report={"title": "mine"}),
    ]
    assert {hashed("plain"), *others} == {others[0]}


def test_another_revision_of_the_training_is_another_recipe(hashed, monkeypatch):
    from dataclasses import replace

    from layerlottery.tables import manifest

    before = hashed("before")
    for stage, same in (("train", False), ("report", True)):
        raised = manifest.STAGES | {stage: replace(manifest.STAGES[stage], revision=99)}
        with monkeypatch.context() as patched:
            patched.setattr(manifest, "STAGES", raised)
            assert (hashed(stage) == before) is same


@pytest.mark.parametrize(
    "configuration", [[], "text", None, {"datasets": []}, {"datasets": {"digits": 3}, "networks": 1}]
)
def test_a_manifest_of_something_else_is_a_recipe_without_settings(copied, tmp_path, configuration):
    from layerlottery.store.artifacts import read_facts, write_facts

    folder = finished(copied, tmp_path / "one")
    facts = read_facts(folder / "manifest.json") | {"configuration": configuration, "revisions": configuration}
    facts.pop("config_hash")
    write_facts(folder / "manifest.json", facts, config_hash="0" * 64)
    found = recipe(read_submission(folder, "one"), GROUP)
    assert not [key for key in found if key.startswith("data.s")]


def test_names_are_the_last_parts_that_tell_folders_apart(make, tmp_path):
    places = [tmp_path / "a" / "results", tmp_path / "b" / "results", tmp_path / "c"]
    for number, place in enumerate(places):
        finished(lambda tables, n=number: make(tables, **SMALL, seeds=tuple(range(2 + n))), place)
    assert [one.name for one in read_submissions(places[:2])] == ["a/results", "b/results"]
    assert [one.name for one in read_submissions(places[1:])] == ["results", "c"]
    with pytest.raises(LayerLotteryError, match="twice"):
        read_submissions([places[0], places[0] / ".." / "results"])


def test_settings_that_differ_are_named_by_dotted_keys_and_studies_by_their_names():
    one = CONFIGURATION | {"training": {"epochs": 3}}
    study = {**CONFIGURATION["studies"][0], "seeds": [0, 1]}
    other = CONFIGURATION | {"studies": [{"name": "first", "seeds": [7]}, study]}
    assert list(changes("", one, one)) == []
    assert list(changes("", one, other)) == [
        ("studies.one.seeds", "[0]", "[0, 1]"),
        ("studies.first", "not set", '{"seeds": [7]}'),
        ("training", '{"epochs": 3}', "not set"),
    ]


def test_keys_that_hold_one_value_throughout_are_left_out():
    held = {"x": {"a": 1, "b": 2, "c": "text"}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2, "c": "text"}}
    assert differing(held) == [
        ("b", {"x": "2", "y": "3", "z": "2"}),
        ("c", {"x": "text", "y": "not set", "z": "text"}),
    ]
