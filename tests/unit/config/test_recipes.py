"""Recipes: one for all networks or one for each, their level of the path, and what is refused."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from layerlottery.config.benchmark import Benchmark
from layerlottery.config.recipes import Recipes, check_recipe
from layerlottery.config.training import FineTuningSettings, TrainingSettings
from layerlottery.errors import LayerLotteryError


def recipes(**given):
    return Recipes.model_validate(given)


def test_one_recipe_is_the_default_one_of_all_networks():
    one = recipes(training={"epochs": 3})
    assert one.recipe("resnet20") == one.recipe("vit_tiny") == TrainingSettings(epochs=3)
    digest = hashlib.sha256(json.dumps(json.dumps({"epochs": 3}, separators=(",", ":"))).encode()).hexdigest()
    assert one.level("resnet20") == f"default-{digest[:8]}"


def test_settings_that_are_written_out_and_are_defaults_change_no_path():
    assert recipes().level("a") == recipes(training={"epochs": 200}).level("a")
    assert recipes().level("a") != recipes(training={"epochs": 201}).level("a")


def test_a_networks_own_recipe_is_laid_over_the_default_one():
    both = recipes(training={"default": {"epochs": 7, "batch_size": 16}, "vit_tiny": {"learning_rate": 0.5}})
    assert both.recipe("vit_tiny") == TrainingSettings(epochs=7, batch_size=16, learning_rate=0.5)
    assert both.recipe("resnet20") == TrainingSettings(epochs=7, batch_size=16)
    assert both.level("vit_tiny").startswith("vit_tiny-")
    assert both.level("resnet20").startswith("default-")


def test_an_own_recipe_alone_leaves_the_default_one_as_it_is():
    assert recipes(training={"vit_tiny": {"epochs": 7}}).recipe("resnet20") == TrainingSettings()


def test_fine_tuning_has_defaults_of_its_own_and_is_a_training():
    tuning = recipes().tuning("resnet20")
    assert type(tuning) is TrainingSettings
    assert tuning.model_dump() == FineTuningSettings().model_dump()
    assert tuning.epochs < TrainingSettings().epochs
    # a job is told what differs from a training's defaults, and reads it as a training
    assert TrainingSettings.model_validate_json(tuning.slice()) == tuning


def test_the_start_of_fine_tuned_tickets_names_their_recipe():
    short, long = recipes(fine_tuning={"epochs": 1}), recipes(fine_tuning={"epochs": 2})
    assert short.start("a", "trained") != long.start("a", "trained")
    assert short.start("a", "trained").startswith("trained-")
    assert [short.start("a", one) for one in (0, 5, "random")] == ["0", "5", "random"]


@pytest.mark.parametrize(
    ("folder", "fits"),
    [
        ("results/networks/dataset=d/network=n/seed=0/recipe={level}", True),
        ("results/networks/dataset=d/network=n/seed=0/recipe=default-00000000", False),
        # a fine-tuned ticket's own recipe is that of its start
        ("results/networks/dataset=d/network=n/seed=0/recipe=default-00000000/removed=1/rewind={start}", True),
        ("results/networks/dataset=d/network=n/seed=0/recipe={level}/removed=1/rewind=trained-00000000", False),
        # a training by hand, outside of any results folder
        ("somewhere", True),
    ],
)
def test_a_training_by_another_recipe_than_its_path_names_is_refused(tmp_path, folder, fits):
    recipe = TrainingSettings(epochs=3)
    level = recipes(training={"epochs": 3}).level("n")
    start = f"trained-{level.rpartition('-')[2]}"
    output = tmp_path / folder.format(level=level, start=start)
    if fits:
        check_recipe(output, recipe)
    else:
        with pytest.raises(
            LayerLotteryError, match=r"found settings of recipe .*; allowed there: those of recipe 00000000"
        ):
            check_recipe(output, recipe)


@pytest.mark.parametrize("training", [{"compile": "always"}, {"default": {}, "resnet20": {"compile": "always"}}])
def test_a_training_over_several_gpus_is_not_compiled(training):
    study = {"name": "s", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": [], "removed": []}
    given = {"datasets": {"digits": {"source": "digits"}}, "studies": [study | {"criteria": ["snip"]}]}
    given["training"] = training
    Benchmark.model_validate(given)
    with pytest.raises(ValidationError, match="gpus_per_training: found 2 beside compile: always; allowed: 1, or"):
        Benchmark.model_validate(given | {"resources": {"gpus_per_training": 2}})
