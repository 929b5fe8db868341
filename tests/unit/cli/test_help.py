"""Help texts: every command and setting, with choices, units and defaults."""

import re

import pytest
from click.testing import CliRunner

from layerlottery.cli import settings
from layerlottery.cli.main import cli
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.data import Digits, ImageFolder, ParquetImages, TorchvisionImages
from layerlottery.config.evaluation import (
    AttackSettings,
    CorruptionSettings,
    EvaluationSettings,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.config.networks import (
    NetworkSettings,
    PreactResNetSettings,
    TimmSettings,
    TorchvisionSettings,
    VisionTransformerSettings,
    WideResNetSettings,
)
from layerlottery.config.results import ProfileSettings, ReportSettings
from layerlottery.config.stages import STAGES as TABLE
from layerlottery.config.training import TrainingSettings

STAGES = {
    "prepare": [Digits, ParquetImages, ImageFolder, TorchvisionImages],
    "corrupt": [CorruptionSettings],
    "outliers": [OutlierSettings],
    "initialize": [
        *(NetworkSettings, WideResNetSettings, PreactResNetSettings),
        *(VisionTransformerSettings, TorchvisionSettings, TimmSettings),
    ],
    "score": [CriterionSettings],
    "prune": [],
    "train": [TrainingSettings],
    "attack": [AttackSettings],
    "shift": [ShiftSettings],
    "evaluate": [EvaluationSettings],
    "profile": [ProfileSettings],
    "aggregate": [],
    "report": [ReportSettings],
}


@pytest.mark.parametrize("stage", STAGES)
def test_help_shows_every_setting_with_its_default(stage):
    answer = CliRunner().invoke(cli, [stage, "--help"], terminal_width=120)
    assert answer.exit_code == 0
    shown = " ".join(answer.output.split())
    assert " ".join(cli.commands[stage].help.split()) in shown
    fields = {name: field for model in STAGES[stage] for name, field in model.model_fields.items()}
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')} " in shown
        if not field.is_required():
            assert f"[default: {settings._shown(field.default)}]" in shown


def test_help_names_the_choices_and_units():
    shown = " ".join(CliRunner().invoke(cli, ["train", "--help"], terminal_width=120).output.split())
    assert "--schedule <step|cosine|onecycle|warmup_cosine> " in shown
    assert "--epochs <INTEGER> passes over the training set [default: 200]" in shown


def test_every_command_is_listed_once_with_all_of_its_sentences():
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    listed = re.findall(r"^  ([a-z]+) ", shown, re.MULTILINE)
    assert sorted(listed) == sorted(name for name, command in cli.commands.items() if not command.hidden)
    # the group of stages is in their order
    assert [name for name in listed if name in TABLE and name != "report"] == [
        name for name in TABLE if name != "report"
    ]
    # people ask for it, too
    assert listed[0] == "report"
    words = " ".join(shown.split())
    for name in listed:
        first = " ".join(cli.commands[name].help.split("\n\n")[0].split())
        assert first in words
        assert first.endswith(".")
    assert "…" not in shown


def test_common_options_come_last():
    shown = CliRunner().invoke(cli, ["score", "--help"], terminal_width=80).output
    common = shown.partition("Common options:")[2]
    assert re.findall(r"^  (?:-h, )?--(\w+)", common, re.MULTILINE) == ["help", "log", "threads", "device"]
    assert not re.search(r"^  --(log|threads|device)", shown.partition("Common options:")[0], re.MULTILINE)
