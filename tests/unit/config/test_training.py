"""Recipes: what is new leaves old records alone, and what does not apply is not recorded as if it did."""

import json

import pytest

from layerlottery.config.recipes import Recipes
from layerlottery.config.training import FineTuningSettings, TrainingSettings

# the keys of training.json before there were others
FIRST = {
    "epochs", "batch_size", "learning_rate", "momentum", "nesterov", "weight_decay", "schedule", "milestones", "gamma",
    "warmup", "crop", "flip", "precision", "channels_last", "compile",
}  # fmt: skip
LATER = {
    "optimizer": "adamw", "beta2": 0.95, "decayed": "matrices", "clip_norm": 1.0, "label_smoothing": 0.1,
    "ema_decay": 0.99, "resized_crop": 0.5, "rand_augment": 2, "rand_magnitude": 5, "norm_images": 16,
}  # fmt: skip


def test_a_recipe_without_the_new_is_recorded_as_before():
    assert TrainingSettings().slice() == "{}"
    assert set(TrainingSettings().model_dump(mode="json")) == FIRST
    assert set(TrainingSettings.model_fields) == FIRST | set(LATER)
    # a default that is written out is none that counts
    off = {name: TrainingSettings.model_fields[name].default for name in LATER}
    assert TrainingSettings(epochs=3, **off).slice() == '{"epochs":3}'
    assert set(TrainingSettings(**off).model_dump(mode="json")) == FIRST


def test_a_recipe_reads_back_as_the_same():
    recipe = TrainingSettings(**LATER, crop=0, schedule="warmup_cosine")
    assert json.loads(recipe.slice()) == LATER | {
        "crop": 0, "schedule": "warmup_cosine", "milestones": [], "nesterov": False
    }  # fmt: skip
    assert TrainingSettings.model_validate_json(recipe.slice()) == recipe
    assert TrainingSettings.model_validate_json(recipe.shortened(0.5).slice()) == recipe.shortened(0.5)


def test_what_does_not_apply_is_recorded_as_off():
    adamw, warm = TrainingSettings(optimizer="adamw"), TrainingSettings(schedule="warmup_cosine")
    assert (adamw.nesterov, warm.milestones) == (False, [])
    assert (TrainingSettings().nesterov, TrainingSettings().milestones) == (True, [100, 150])
    # so that AdamW may do without a mean of gradients
    assert TrainingSettings(optimizer="adamw", momentum=0.0).momentum == 0


def test_numbers_of_the_command_line_come_as_text():
    given = {"optimizer": "adamw", "clip_norm": "1", "resized_crop": "null", "rand_augment": "2", "ema_decay": ".9"}
    assert TrainingSettings(**given) == TrainingSettings(
        optimizer="adamw", clip_norm=1.0, rand_augment=2, ema_decay=0.9
    )


def test_a_fine_tuning_has_defaults_of_its_own():
    chosen = FineTuningSettings()
    assert (chosen.slice(), chosen.epochs, chosen.learning_rate, chosen.schedule) == ("{}", 40, 0.01, "cosine")
    like_a_training = FineTuningSettings(epochs=200, learning_rate=0.1, schedule="step", milestones=[100, 150])
    assert like_a_training.slice() != "{}"
    assert TrainingSettings.model_validate(like_a_training.model_dump()) == TrainingSettings()


def test_new_settings_pass_from_a_fine_tuning_to_the_stage_that_trains():
    recipes = Recipes(fine_tuning=FineTuningSettings(**LATER, crop=0))
    assert json.loads(recipes.tuning("any").slice()).items() >= LATER.items()


def test_a_network_s_recipe_is_laid_over_the_default_one():
    recipes = Recipes(
        training={
            "default": {"epochs": 20, "schedule": "step", "nesterov": True, "milestones": [10]},
            "vit_tiny": {"optimizer": "adamw", "nesterov": False, "schedule": "warmup_cosine", "milestones": []},
        }
    )
    own, others = recipes.recipe("vit_tiny"), recipes.recipe("resnet20")
    assert (own.epochs, own.optimizer, own.milestones) == (20, "adamw", [])
    assert (others.optimizer, others.nesterov, others.milestones) == ("sgd", True, [10])


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_milestones_of_a_fine_tuning_are_at_a_training_s_shares(share):
    chosen, training = FineTuningSettings(schedule="step"), TrainingSettings()
    assert [one / chosen.epochs for one in chosen.milestones] == [one / 200 for one in training.milestones]
    assert chosen.shortened(share).epochs == round(40 * share)


@pytest.mark.parametrize(
    ("given", "copies"),
    [({}, 1), ({"ema_decay": 0.9}, 2), ({"optimizer": "adamw"}, 2), ({"optimizer": "adamw", "ema_decay": 0.9}, 3)],
)
def test_what_a_training_holds_beside_the_parameters(given, copies):
    assert TrainingSettings(**given).held_copies == copies
